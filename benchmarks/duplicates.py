"""How many near duplicates the data doctor finds, and how often it is wrong.

    python benchmarks/duplicates.py --data DIR            # rows go to results/duplicates.csv
    python benchmarks/duplicates.py --data DIR --print    # prints only
    python benchmarks/duplicates.py --data DIR --times    # rows go to results/doctor.csv

DIR holds the folders cifar10/ and flowers/. Three measures:

* recall: copies of photos, changed in one way each, stand as test images beside all originals as
  training images; a copy counts as found when its own original is among its near duplicates.
* false alarms: near duplicates of different classes among all pairs of train and test, with the
  classes hidden from the doctor. Some are real, so this is an upper bound.
* known: what it finds between train and test of CIFAR-10, where people found near duplicates of
  3.3 % of the test images (Barz and Denzler 2020, arXiv:1902.00423, Table 1).

About three minutes. ``--times`` says how long all files of CIFAR-10 take to be read at first and
again, on a quiet machine; about one minute.
"""

import argparse
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from recording import append, refuse_if_busy

from resnets.data import open_dataset, read_images
from resnets.data.doctor import check_up, examine
from resnets.data.doctor.copies import Entry, near
from resnets.data.ledger import Facts, Ledger
from resnets.data.likeness import small_picture

Change = Callable[[Image.Image], Image.Image]
MOST = 1_000
"""Copies of each data set; evenly taken from its test images."""


def jpeg(quality: int) -> Change:
    def saved(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return saved


def resized(factor: float) -> Change:
    return lambda image: image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))),
        Image.Resampling.BICUBIC,
    )


def cropped(image: Image.Image, *, corner: bool = False) -> Image.Image:
    """5 % of each side less, at least two pixels: around the middle, or right and bottom."""
    less = [max(2, round(0.05 * side)) for side in image.size]
    left, top = (0, 0) if corner else (less[0] // 2, less[1] // 2)
    return image.crop((left, top, left + image.width - less[0], top + image.height - less[1]))


CHANGES: dict[str, Change] = {
    "saved as JPEG, quality 75": jpeg(75),
    "saved as JPEG, quality 50": jpeg(50),
    "half the size": resized(0.5),
    "0.7 times the size": resized(0.7),
    "1.5 times the size": resized(1.5),
    "twice the size": resized(2.0),
    "cropped by 5 %, the middle": cropped,
    "cropped by 5 %, a corner": lambda image: cropped(image, corner=True),
    "mirrored": ImageOps.mirror,
    "brightness 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "contrast 1.5": lambda image: ImageEnhance.Contrast(image).enhance(1.5),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "upside down": ImageOps.flip,
}


def entry(part: str, name: str, label: str, image: Image.Image) -> Entry:
    pixels = np.asarray(image)
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    small = small_picture(pixels).tobytes()
    return Entry(part, name, label, Facts(digest, pixels.shape[:2], pixels=digest, small=small))


def pictures(root: Path, part: str) -> list[tuple[str, str, Image.Image]]:
    """Name, class and pixels of the images of a split."""
    split = open_dataset(root).splits[part]
    classes = [Path(name).parts[-2] for name in split.names]
    return [
        (name, label, Image.fromarray(split.images[index]))
        for index, (name, label) in enumerate(zip(split.names, classes, strict=True))
    ]


def twins(entries: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """Image of the test part -> its near duplicates."""
    found, _, _ = near(list(entries), "benchmark")
    return {item.paths[0]: item.paths[1:] for each in found for item in each.items}


def row(measure: str, data: str, change: str, of: int, found: int) -> dict[str, Any]:
    """Of images in recall and known, of pairs in false alarms."""
    return {
        "measure": measure,
        "data": data,
        "change": change,
        "of": of,
        "found": found,
        "share": f"{found / of:.6g}",
    }


def measure(root: Path, data: str) -> Iterable[dict[str, Any]]:
    train, test = pictures(root, "train"), pictures(root, "test")
    originals = [entry("train", *picture) for picture in train]
    tests = [entry("test", *picture) for picture in test]
    step = -(-len(test) // MOST)
    some, as_they_were = test[::step], tests[::step]
    beside = originals + [each._replace(part="train") for each in tests]
    for change, changed in CHANGES.items():
        copies = {
            original.name: entry("test", f"copy of {original.name}", label, changed(image))
            for (_, label, image), original in zip(some, as_they_were, strict=True)
        }
        for original in as_they_were:  # a grey photo made grey is no near duplicate
            if copies[original.name].facts.pixels == original.facts.pixels:
                del copies[original.name]
        found = twins(beside + list(copies.values()))
        count = sum(name in found.get(copy.name, ()) for name, copy in copies.items())
        yield row("recall", data, change, len(copies), count)
    label = {each.name: each.label for each in originals + tests}
    hidden = [each._replace(label="any") for each in originals + tests]
    wrong = sum(
        label[name] != label[other] for name, others in twins(hidden).items() for other in others
    )
    different = sum(
        sum(1 for other in originals if other.label != kind)
        * sum(1 for each in tests if each.label == kind)
        for kind in set(label.values())
    )
    yield row("false alarms", data, "pairs of different classes", different, wrong)


def known(root: Path, data: str) -> Iterable[dict[str, Any]]:
    findings, dataset = check_up(root)
    tested = len(dataset.splits["test"])
    by_kind = {each.kind: each for each in findings.findings}
    exact = by_kind["duplicates"].count if "duplicates" in by_kind else 0
    alike = by_kind["near-duplicates"].items if "near-duplicates" in by_kind else ()
    mirrored = sum("mirrored" in item.note for item in alike)
    yield row("known", data, "test images in train, the same pixels", tested, exact)
    yield row("known", data, "test images near one of train", tested, len(alike) - mirrored)
    yield row("known", data, "test images near a mirrored one of train", tested, mirrored)


def times(root: Path) -> Iterable[dict[str, Any]]:
    """Reading, hashing and decoding all files, and the second time; in a warm file cache."""
    with tempfile.TemporaryDirectory() as folder:
        for what in ("warming up", "first start", "second start", "second start, comparing too"):
            if what == "first start":
                for file in Path(folder).iterdir():
                    file.unlink()
            began = time.monotonic()
            dataset = open_dataset(root)
            ledger = Ledger.of(dataset, folder=Path(folder))
            dataset = read_images(dataset, seconds=1e9, memory=0, ledger=ledger)
            ledger.save()
            if "comparing" in what:
                examine(dataset, ledger)
            if what != "warming up":
                took = time.monotonic() - began
                yield {"files": len(ledger.facts), "what": what, "seconds": round(took, 2)}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--print", action="store_true", help="record nothing")
    arguments.add_argument("--times", action="store_true")
    given = arguments.parse_args()
    if given.times:
        refuse_if_busy(force=given.print)
        table, rows = "doctor", times(given.data / "cifar10")
    else:
        table = "duplicates"
        rows = (
            each
            for data in ("flowers", "cifar10")
            for measured in (measure, known)
            for each in measured(given.data / data, data)
        )
    for each in rows:
        if given.print:
            print(each)
        else:
            append(table, each)


if __name__ == "__main__":
    main()
