"""Photos decoded, resized and augmented per second: ours and torchvision's, in turns.

    python benchmarks/photos.py --data FLOWERS_DIR              # two workers
    python benchmarks/photos.py --data FLOWERS_DIR --trivial    # with TrivialAugment, on all sides

Photos of 500x375 and of 4000x3000 are put together from those in FLOWERS_DIR. Each way then hands
batches to this process, with random crops of 224 pixels (at least 0.35 of the area), flips and
normalisation done: ``ours`` as ``resnets train`` does, ``ours, cached`` with --cache and the cache
filled, ``torchvision`` with ImageFolder and transforms.v2 on Pillow images, and ``torchvision,
tensors`` on those of torchvision.io.decode_image. Prints and appends to results/photos.csv the
median, least and greatest images per second over three rounds. About three and a half minutes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torchvision
from pictures import training_split, write_mosaics
from recording import append, refuse_if_busy
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.io import decode_image
from torchvision.transforms import v2

from resnets.config import Preprocess, TrainConfig
from resnets.data import cache
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Order
from resnets.data.sources import Split
from resnets.data.workers import WorkerBatches
from resnets.training.loop import Task, augmented

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, SMALLEST = 224, 0.35
PHOTOS = {(500, 375): 400, (4000, 3000): 60}
"""How many of each width and height: the large ones still fit into the file cache."""
BATCH = {(500, 375): 32, (4000, 3000): 8}
ROUNDS = 3
SECONDS = 5.0


def ours(split: Split, given: argparse.Namespace, batch_size: int) -> Iterator[Tensor]:
    """Batches as the training loop gives them to the network."""
    config = TrainConfig(
        crop="resized",
        crop_scale=SMALLEST,
        flip=True,
        auto_augment="trivial" if given.trivial else "none",
        device="cpu",
    )
    preprocess = Preprocess(input_size=(3, SIDE, SIDE), mean=MEAN, std=STD)
    augmentation = Augmentation.of(config)
    task = Task(config, preprocess, augmentation, classes=2)
    order = Order(0, split.labels)
    batches = WorkerBatches(split, preprocess, augmentation, order, batch_size, given.workers)
    for step, batch in enumerate(batches.starting_at(0)):
        yield augmented(task, batch.pixels.float(), batch.labels, step)[0]


def theirs(
    folder: Path, given: argparse.Namespace, batch_size: int, *, tensors: bool
) -> Iterator[Tensor]:
    """Batches of ImageFolder and the usual DataLoader, epoch after epoch."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=(SMALLEST, 1)),
            v2.RandomHorizontalFlip(),
            *([v2.TrivialAugmentWide()] if given.trivial else []),
            *([] if tensors else [v2.ToImage()]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    read = {"loader": partial(decode_image, mode="RGB")} if tensors else {}
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(folder), transform, **read),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=given.workers,
        persistent_workers=True,
    )
    while True:
        for images, _ in loader:
            yield images


def rate(batches: Iterator[Tensor], workers: int) -> float:
    """Images per second, from where every worker has handed over its first batch."""
    for _ in range(workers):
        next(batches)
    began, count = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < SECONDS:
        count += len(next(batches))
    batches.close()  # type: ignore[attr-defined]  # its workers end with it
    return count / took


def compare(
    size: tuple[int, int],
    folder: Path,
    given: argparse.Namespace,
    record: Callable[[str, dict[str, object]], None],
) -> None:
    photos, cached = folder / "photos", folder / "cache"
    write_mosaics(given.data, photos, size, PHOTOS[size])
    split = training_split(photos)
    preprocess = Preprocess(input_size=(3, SIDE, SIDE))
    crops = Augmentation(crop="resized", crop_scale=SMALLEST)
    kept = cache.for_training(split, preprocess, crops, cached)
    began = time.perf_counter()
    cache.fill([kept])
    filling = time.perf_counter() - began
    ways: dict[str, Callable[[], Iterator[Tensor]]] = {
        "torchvision": lambda: theirs(photos, given, BATCH[size], tensors=False),
        "torchvision, tensors": lambda: theirs(photos, given, BATCH[size], tensors=True),
        "ours": lambda: ours(split, given, BATCH[size]),
        "ours, cached": lambda: ours(kept, given, BATCH[size]),
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, batches in ways.items():
            found[way].append(rate(batches(), given.workers))
    peer = statistics.median(found["torchvision"])
    command = f"python benchmarks/photos.py --data FLOWERS_DIR --workers {given.workers}"
    for way, rates in found.items():
        middle = statistics.median(rates)
        row = {
            "size": "{}x{}".format(*size),
            "way": way,
            "command": command + " --trivial" * given.trivial,
            "kilobytes": round(sum(p.stat().st_size for p in photos.rglob("*.jpg")) / 1e3)
            // PHOTOS[size],
            "workers": given.workers,
            "rounds": ROUNDS,
            "median_images_per_second": round(middle, 1),
            "min": round(min(rates), 1),
            "max": round(max(rates), 1),
            "times_torchvision": round(middle / peer, 2),
            "seconds_to_fill": round(filling, 1) if "cached" in way else "",
            "torchvision": torchvision.__version__,
        }
        record("photos", row)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True, help="a folder with JPEG photos")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--trivial", action="store_true", help="TrivialAugment, on all sides")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    refuse_if_busy(force=given.force)
    torch.set_num_threads(1)  # the cores are the workers'
    for size in PHOTOS:
        with tempfile.TemporaryDirectory() as folder:
            compare(size, Path(folder), given, partial(append, force=given.force))


if __name__ == "__main__":
    main()
