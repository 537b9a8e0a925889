"""The whole job beside its steps alone: what data, augmentation, logging and saving add.

    python benchmarks/epoch.py --case cifar --data CIFAR10_DIR        # resnet20@32, in memory
    python benchmarks/epoch.py --case resnet50@224 --data FLOWERS_DIR    # photos of 500x375
    python benchmarks/epoch.py --case resnet18@96 --data FLOWERS_DIR     # from a filled cache

``whole`` is ``resnets train`` with the default recipe, by the images per second of its rows in
metrics.csv, the first one left out; ``steps`` is the same number of calls of ``take_step``, which
moves and mixes a batch, on batches that lie ready. Three rounds of fresh processes in turns.
Prints and appends to results/epoch.csv both medians, and how much longer the whole job takes. Two
to four minutes a case.
"""

import argparse
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pictures import training_split, write_mosaics
from recording import append, refuse_if_busy

from resnets.data import open_dataset, read_images
from resnets.data.sources import Dataset
from resnets.machine import available_cores, keep_memory
from resnets.training.loop import take_step
from resnets.training.preparing import batches_of, state_of, task_of
from resnets.training.run import train
from resnets.training.runfolder import RunFolder
from resnets.training.scoring import build_network
from resnets.training.stopping import StopWatch


class Case(NamedTuple):
    """A network, the side of its input, its batch, and how long one process trains."""

    model: str
    side: int
    batch_size: int
    steps: int
    cache: bool = False


CASES = {
    "cifar": Case("resnet20", 32, 128, 250),
    "resnet50@224": Case("resnet50", 224, 16, 30),
    "resnet18@96": Case("resnet18", 96, 64, 100, cache=True),
}
ROUNDS = 3
PHOTOS = 480
READY = 8
"""Batches that lie ready."""


def dataset_of(case: Case, data: Path) -> Dataset:
    """Training images alone: nothing is validated or scored meanwhile."""
    if case.model == "resnet20":
        dataset = open_dataset(data)
        splits = {"train": dataset.splits["train"]}
        return read_images(dataclasses.replace(dataset, splits=splits))
    split = training_split(data)
    return Dataset(
        "photos", str(data), tuple(map(str, sorted(set(split.labels)))), {"train": split}
    )


def whole(case: Case, given: argparse.Namespace) -> float:
    """Images per second of a run, in the folder that ``steps`` then reads the settings from."""
    run = given.out / "run"
    with contextlib.redirect_stderr(io.StringIO()):
        train(
            dataset_of(case, given.data),
            out=run,
            fresh=True,
            model=case.model,
            image_size=case.side,
            batch_size=case.batch_size,
            steps=case.steps,
            threads=given.threads,
            cache=case.cache or None,
            validation=0.0,
        )
    with open(run / "metrics.csv", newline="") as file:
        first, *rows = csv.DictReader(file)
    taken = int(rows[-1]["step"]) - int(first["step"])
    return taken * case.batch_size / sum(float(row["seconds"]) for row in rows)


def steps(case: Case, given: argparse.Namespace) -> float:
    """Images per second of as many steps of that run on batches that lie ready."""
    config = RunFolder(given.out / "run").read_config()
    torch.set_num_threads(given.threads)
    keep_memory()  # as `resnets train` does
    dataset = dataset_of(case, given.data)
    task = task_of(config, dataset, None, None)
    state = state_of(task, build_network(task), steps_per_epoch=1.0)
    split = dataset.splits["train"]
    with contextlib.closing(batches_of(task, split, None).starting_at(0)) as stream:
        ready = list(itertools.islice(stream, READY))
    stop = StopWatch(lambda: None)
    skipped = case.steps // 5
    for number in range(case.steps):
        if number == skipped:
            began = time.perf_counter()
        take_step(task, state, ready[number % READY], 0.01, stop)
    return (case.steps - skipped) * case.batch_size / (time.perf_counter() - began)


WAYS = {"whole": whole, "steps": steps}


def in_a_process(way: str, given: argparse.Namespace, data: Path, out: Path) -> float:
    arguments = ["--case", given.case, "--threads", str(given.threads)]
    arguments += ["--data", str(data), "--out", str(out), "--way", way]
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"XDG_CACHE_HOME": str(out / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{way}:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def compare(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    data = given.data
    if given.case != "cifar":
        data = folder / "photos"
        write_mosaics(given.data, data, (500, 375), PHOTOS)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            rates[way].append(in_a_process(way, given, data, folder))
    case, middle = CASES[given.case], {way: statistics.median(rates[way]) for way in WAYS}
    longer = [alone / job - 1 for job, alone in zip(rates["whole"], rates["steps"], strict=True)]
    return {
        "case": given.case,
        "command": f"python benchmarks/epoch.py --case {given.case} --threads {given.threads}",
        "threads": given.threads,
        "batch_size": case.batch_size,
        "rounds": ROUNDS,
        "steps_images_per_second": round(middle["steps"], 1),
        "whole_images_per_second": round(middle["whole"], 1),
        "longer": round(statistics.median(longer), 3),
        "min": round(min(longer), 3),
        "max": round(max(longer), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--case", choices=CASES, required=True)
    arguments.add_argument("--data", type=Path, required=True, help="CIFAR-10, or JPEG photos")
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    arguments.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.way:
        print(json.dumps(WAYS[given.way](CASES[given.case], given)))
        return
    refuse_if_busy(force=given.force)
    with tempfile.TemporaryDirectory() as folder:
        row = compare(given, Path(folder))
    append("epoch", row, force=given.force)


if __name__ == "__main__":
    main()
