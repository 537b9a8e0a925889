"""Answers per second of a model in each exported form, and how soon the first one comes.

    python benchmarks/exporting.py
    python benchmarks/exporting.py --batch-size 1
    python benchmarks/exporting.py --startup

ResNet-50 with drawn weights on images of 224x224, preprocessed, in batches of 16 or of one. Every
form that ``resnets export`` writes takes turns with torchvision's network as most run it (eager,
fp32, the default layout). Prints, and appends to results/exporting.csv, a row for each: the
median, least and greatest images per second over the rounds, and how many times the eager median
that is. About three minutes, writing the forms included.

With --startup: whole processes of ``resnets predict MODEL.onnx PHOTO`` in a warm file cache, fp32
and int8, a photo of 500x375 pixels. About half a minute; rows go to results/startup.csv.

    --force     prints only, busy or not
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from recording import append, refuse_if_busy
from startup import take_turns

from resnets.config import Preprocess
from resnets.data.sources import ListImages, Split
from resnets.engines import Pipeline
from resnets.exporting.forms import Form, Precision, write_form
from resnets.machine import available_cores
from resnets.models import create_model
from resnets.prediction import Classifier, load
from resnets.sealing import CARD, as_json, replace_folder

MODEL, SIDE = "resnet50", 224
FORMS: list[tuple[Form, Precision]] = [
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("safetensors", "fp32"),
    ("safetensors", "bf16"),
]
ROUNDS = 5
SECONDS = 2.5
"""The least that each form runs in a round."""
RUNS = 9

Record = Callable[[str, dict[str, object]], None]
Answer = Callable[[], object]


def sealed(folder: Path) -> Classifier:
    from resnets.checkpoint import seal

    preprocess = Preprocess(
        input_size=(3, SIDE, SIDE), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    card = {
        "architecture": MODEL,
        "options": {},
        "num_classes": 1000,
        "input_size": [3, SIDE, SIDE],
        "label_names": [f"class {index}" for index in range(1000)],
        "preprocess": preprocess.to_dict(),
    }
    seal(folder / "model", create_model(MODEL, seed=0).state_dict(), card)
    return load(folder / "model")


def exported(classifier: Classifier, form: Form, precision: Precision, folder: Path) -> Classifier:
    """The form without its proof: drawn weights have no accuracy to keep."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(32)]
    training = Split(ListImages(noise), np.zeros(32, np.int64), tuple(map(str, range(32))))
    files, told = write_form(classifier, form, precision, training)
    card = classifier.card | told | {"export": {"format": form, "precision": precision}}
    replace_folder(folder, {**files, CARD: as_json(card)})
    return load(folder)


def answer_of(classifier: Classifier, batch: torch.Tensor) -> Answer:
    engine = classifier.engine
    if isinstance(engine, Pipeline):
        pixels = batch.numpy()
        return lambda: engine.logits(pixels)
    return lambda: engine(batch)


def eager(batch: torch.Tensor) -> Answer:
    import torchvision

    network = torchvision.models.get_model(MODEL, weights=None).eval()

    @torch.no_grad()
    def answer() -> object:
        return network(batch)

    return answer


def rate(answer: Answer, images: int) -> float:
    """Images per second, of the median batch."""
    answer()  # threads of the one before may still be turning
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(took) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        answer()
        took.append(time.perf_counter() - began)
    return images / statistics.median(took)


def speed(folder: Path, batch_size: int, threads: int, record: Record) -> None:
    classifier = sealed(folder)
    batch = torch.randn(batch_size, 3, SIDE, SIDE)
    ways: dict[tuple[str, str, str], Answer] = {("eager", "fp32", "pytorch"): eager(batch)}
    for form, precision in FORMS:
        made = exported(classifier, form, precision, folder / f"{form}-{precision}")
        runtime = getattr(made.engine, "runtime", "pytorch")
        ways[form, precision, runtime] = answer_of(made, batch)
    rates: dict[tuple[str, str, str], list[float]] = {way: [] for way in ways}
    for answer in ways.values():
        answer()  # compiles or folds, and warms up
    for _ in range(ROUNDS):
        for way, answer in ways.items():
            rates[way].append(rate(answer, batch_size))
    plain = statistics.median(rates["eager", "fp32", "pytorch"])
    for (form, precision, runtime), found in rates.items():
        row = {
            "model": MODEL,
            "form": form,
            "precision": precision,
            "runtime": runtime,
            "command": f"python benchmarks/exporting.py --batch-size {batch_size}",
            "threads": threads,
            "batch_size": batch_size,
            "side": SIDE,
            "rounds": ROUNDS,
            "median_images_per_second": round(statistics.median(found), 1),
            "min": round(min(found), 1),
            "max": round(max(found), 1),
            "times_eager": round(statistics.median(found) / plain, 2),
        }
        record("exporting", row)


def startup(folder: Path, record: Record) -> None:
    classifier = sealed(folder)
    photo = folder / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    commands = {}
    for precision in ("fp32", "int8"):
        place = folder / f"onnx-{precision}"
        exported(classifier, "onnx", precision, place)  # type: ignore[arg-type]
        name = f"resnets predict {MODEL}-{precision}.onnx photo.jpg"
        commands[name] = ["-m", "resnets", "predict", str(place / "model.onnx"), str(photo)]
    take_turns(record, commands, RUNS)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--batch-size", type=int, default=16)
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--startup", action="store_true", help="whole commands instead")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    refuse_if_busy(force=given.force)
    torch.set_num_threads(given.threads)
    record: Record = partial(append, force=given.force)
    with tempfile.TemporaryDirectory() as folder:
        if given.startup:
            startup(Path(folder), record)
        else:
            speed(Path(folder), given.batch_size, given.threads, record)


if __name__ == "__main__":
    main()
