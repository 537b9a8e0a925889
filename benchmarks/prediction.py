"""Answers per second, and whether folded and bf16 answers are those of plain fp32.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --threads 1
    python benchmarks/prediction.py --run RUN --data DIR

Without a run: ResNet-50 on batches of 16 images of 224x224. Prints, and appends to
results/prediction.csv, a row each for torchvision's network as most run it (fp32, the default
layout), for what ``resnets predict`` runs in fp32, and in bf16: the median, least and greatest
images per second over the rounds, in which they take turns, and how many times the plain median
that is. About two minutes.

With a run: 1,000 images of the data, those of test first, through the run's network as it was
trained and through both engines. Prints, and appends to results/agreement.csv, a row for each
engine: how many images keep their likeliest class, the largest margin between the two best plain
probabilities of one that does not, both accuracies, and the largest difference of a logit over the
largest logit. About two minutes.

    --force     prints only, busy or not
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from recording import append, refuse_if_busy
from torch import Tensor

from resnets.data import open_dataset
from resnets.engines.pytorch import TorchEngine
from resnets.errors import UnreadableImage
from resnets.evaluation import match_classes, run_over
from resnets.machine import available_cores
from resnets.models import create_model
from resnets.prediction import load

MODEL = "resnet50"
SHAPE = (16, 3, 224, 224)
ROUNDS = 7
SECONDS = 3.0
"""The least that each way runs in a round."""
IMAGES = 1_000
WIDE_MARGIN = 0.25
"""No image whose two best probabilities lie further apart may change its class."""

Answer = Callable[[Tensor], Tensor]


def plainly(model: torch.nn.Module) -> Answer:
    """The module as it is, in fp32 and the default layout."""
    return torch.inference_mode()(model.eval())


def rate(answer: Answer, batch: Tensor) -> float:
    """Images per second, of the median batch."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(took) < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        answer(batch)
        took.append(time.perf_counter() - began)
    return len(batch) / statistics.median(took)


def speed(threads: int, record: Callable[[str, dict[str, object]], None]) -> None:
    import torchvision

    peer = torchvision.models.get_model(MODEL, weights=None)
    ours = create_model(MODEL)
    ours.load_state_dict(peer.state_dict())
    ways = {
        "plain": plainly(peer),
        "ours, fp32": TorchEngine(ours),
        "ours, bf16": TorchEngine(ours, precision="bf16"),
    }
    batch = torch.randn(SHAPE)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for answer in ways.values():
        answer(batch)  # folds, and warms up
    for _ in range(ROUNDS):
        for way, answer in ways.items():
            rates[way].append(rate(answer, batch))
    plain = statistics.median(rates["plain"])
    for way, found in rates.items():
        row = {
            "model": MODEL,
            "way": way,
            "command": f"python benchmarks/prediction.py --threads {threads}",
            "threads": threads,
            "batch_size": SHAPE[0],
            "side": SHAPE[-1],
            "rounds": ROUNDS,
            "median_images_per_second": round(statistics.median(found), 2),
            "min": round(min(found), 2),
            "max": round(max(found), 2),
            "times_plain": round(statistics.median(found) / plain, 2),
            "torchvision": torchvision.__version__,
        }
        record("prediction", row)


def agreement(
    run: Path, data: Path, threads: int, record: Callable[[str, dict[str, object]], None]
) -> None:
    plain, rounded = load(run), load(run, precision="bf16")
    dataset = match_classes(open_dataset(data), plain.classes)
    answers: dict[str, Answer] = {
        "plain": plainly(plain.model),
        "ours, fp32": plain.engine,
        "ours, bf16": rounded.engine,
    }

    def all_answers(batch: Tensor) -> Tensor:
        return torch.stack([answer(batch) for answer in answers.values()], 1)

    logits, labels = [], []
    for name in sorted(dataset.splits, key=lambda name: name != "test"):
        split = dataset.splits[name]
        # every nth, for a folder's images come class by class
        wanted = min(IMAGES - len(logits), len(split))
        few = split.take(np.linspace(0, len(split) - 1, wanted).round().astype(int))
        rows = run_over(all_answers, few.images, plain.preprocess, mean_image=plain.mean_image)
        for row, label in zip(rows, few.labels, strict=True):
            if not isinstance(row, UnreadableImage):
                logits.append(row)
                labels.append(label)
    found = dict(zip(answers, torch.stack(logits, 1).double(), strict=True))
    truth, expected = torch.tensor(np.array(labels)), found.pop("plain")
    best = expected.softmax(1).topk(2).values
    margins = best[:, 0] - best[:, 1]
    for way, answer in found.items():
        changed = answer.argmax(1) != expected.argmax(1)
        difference = (answer - expected).abs().max() / expected.abs().max()
        row = {
            "model": plain.card["architecture"],
            "data": dataset.name,
            "way": way,
            "command": "python benchmarks/prediction.py --run RUN --data DIR",
            "threads": threads,
            "images": len(truth),
            "same_class": int((~changed).sum()),
            "largest_margin_changed": f"{margins[changed].max():.2g}" if changed.any() else "",
            "changed_of_wide_margin": int((changed & (margins > WIDE_MARGIN)).sum()),
            "accuracy_plain": round((expected.argmax(1) == truth).double().mean().item(), 4),
            "accuracy": round((answer.argmax(1) == truth).double().mean().item(), 4),
            "largest_logit_difference": f"{difference:.2g}",
        }
        record("agreement", row)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--run", type=Path, help="a run folder or a sealed model")
    arguments.add_argument("--data", type=Path, help="images of the run's classes")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    if (given.run is None) != (given.data is None):
        arguments.error("--run and --data go together")
    refuse_if_busy(force=given.force)
    torch.set_num_threads(given.threads)
    record = partial(append, force=given.force)
    if given.run:
        agreement(given.run, given.data, given.threads, record)
    else:
        speed(given.threads, record)


if __name__ == "__main__":
    main()
