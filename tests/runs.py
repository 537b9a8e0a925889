"""Runs on made images whose class is plain to see, and what to compare of them."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from resnets.checkpoint import newest_state
from resnets.data import from_arrays
from resnets.training.run import train

TIMES = ("images_per_second", "seconds")


def pictures(count, side, seed=0, classes=2):
    """Noise with a bright stripe whose place is the class: (N, side, side, 3) and labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % classes
    width = side // classes
    for image, label in zip(images, labels, strict=True):
        image[:, label * width : (label + 1) * width] += 100
    return images, labels


def save_folder(folder, count, side, *, odd=False):
    """The pictures as train/ and test/ folders; ``odd`` gives each another shape."""
    for split, number, seed in (("train", count, 0), ("test", 12, 1)):
        images, labels = pictures(number, side, seed)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = folder / split / ("left", "right")[label]
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(image)
            if odd:
                picture = picture.resize((side + index % 5, side + index % 3))
            picture.save(place / f"{index:03d}.png")
    return folder


def dataset(count=48, side=16):
    return from_arrays(pictures(count, side), test=pictures(20, side, 1), classes=("left", "right"))


def fit(data, **settings):
    """``train`` without output, on one thread: the suite runs a process per core."""
    return train(data, threads=1, quiet=True, **settings)


def rows_of(run):
    with open(Path(run) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_times(rows):
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def same_state(one, other):
    first, second = (newest_state(Path(run) / "state") for run in (one, other))
    assert first is not None and second is not None
    assert first.step == second.step and first.tensors.keys() == second.tensors.keys()
    return all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def command(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", "resnets", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # a process group, as a shell makes one
    )
