"""What a run was trained on, written down (``data.json``) and found again."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data import hold_out, open_dataset, without_validation
from resnets.data.datasets import joined
from resnets.data.listing import told
from resnets.data.sources import ArrayImages, Dataset, LeftOut, Split
from resnets.errors import DataError

HELD_OUT = 0.1
"""The share of the training images that validates where nothing else is said."""


def manifest(
    dataset: Dataset, *, validation: float | None, data_dir: Path | None, asked: dict[str, Any]
) -> dict[str, Any]:
    """The contents of ``data.json``.

    Args:
        dataset: read, with its validation part held out.
        validation: the share that was asked for, so that ``reopen`` can do it again.
        asked: the settings that were named when the run was set up.
    """
    return {
        "name": dataset.name,
        "source": dataset.source,
        "data_dir": str(data_dir) if data_dir else None,
        "validation": validation,
        "asked": asked,
        "in_memory": any(isinstance(s.images, ArrayImages) for s in dataset.splits.values()),
        "classes": list(dataset.classes),
        "splits": {name: _split(split, dataset.classes) for name, split in dataset.splits.items()},
        "left_out": [dataclasses.asdict(item) for item in dataset.left_out],
        "notes": list(dataset.notes),
    }


def reopen(recorded: dict[str, Any], data_dir: Path | None = None) -> Dataset:
    """The data set of a run, each part with the very images it had.

    Images that are gone are told in the notes; those that came since belong to no part.

    Args:
        data_dir: where a named data set lies now, if not where it did.

    Raises ``DataError`` where the data is gone.
    """
    source = recorded["source"]
    if source.startswith("("):
        raise DataError(
            f"the run was trained on {source}, which no name or folder leads back to",
            fix="give the data to score",
        )
    dataset = open_dataset(source, data_dir=data_dir or _path(recorded["data_dir"]))
    if dataset.classes != tuple(recorded["classes"]):
        raise DataError(
            f"{source} had the classes {recorded['classes']} and has {list(dataset.classes)}",
            fix="put the folders back, or give the data to score",
        )
    opened = dict(dataset.splits)
    if dataset.split_by_hash:  # the border between its parts moves with every file
        opened = {"all": joined(*opened.values())}
    place = {
        name: (part, i) for part, split in opened.items() for i, name in enumerate(split.names)
    }
    notes = list(recorded["notes"])
    splits = {}
    for part, wanted in recorded["splits"].items():
        found = [place[name] for name in wanted["images"] if name in place]
        if len(found) < wanted["count"]:
            notes.append(
                f"{wanted['count'] - len(found):,} of {wanted['count']:,} images of {part} "
                "are gone since the run"
            )
        if found:
            (home,) = {opened_part for opened_part, _ in found}
            splits[part] = opened[home].take(np.array([index for _, index in found]))
    left_out = tuple(LeftOut(**item) for item in recorded["left_out"])
    return replace(dataset, splits=splits, left_out=left_out, notes=tuple(notes))


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def before_reading(dataset: Dataset, validation: float | None) -> Dataset:
    """The data set with nothing held out yet where ``validation`` says how much that will be."""
    made_here = dataset.split_by_hash and "val" in dataset.splits
    return without_validation(dataset) if made_here and validation is not None else dataset


def after_reading(dataset: Dataset, validation: float | None) -> Dataset:
    """The data set with its validation part: its own, or held out of the readable images.

    A part that is made here holds no copies of images of another one.
    """
    made = {"val", "test"} if dataset.split_by_hash else set()
    share = HELD_OUT if validation is None else validation
    if "val" not in dataset.splits and share:
        dataset = hold_out(dataset, share)
        made.add("val")
    for part, others in (("test", ("train",)), ("val", ("train", "test"))):
        if part in made & dataset.splits.keys():
            dataset = _without_copies(dataset, part, others)
    return dataset


def _without_copies(dataset: Dataset, part: str, others: Sequence[str]) -> Dataset:
    """The data set, a part of it without the images that others have byte for byte."""
    split = dataset.splits[part]
    known = {
        digest
        for other in others
        if other in dataset.splits
        for digest in dataset.splits[other].digests or ()
    }
    copies = np.array([digest in known for digest in split.digests or ()], dtype=bool)
    if not copies.any() or copies.all():
        return dataset
    names = [split.names[index] for index in np.flatnonzero(copies)]
    note = (
        f"left out of {part}, for {' or '.join(others)} has them byte for byte: {len(names):,} "
        f"({told(names)})"
    )
    splits = {**dataset.splits, part: split.take(np.flatnonzero(~copies))}
    return replace(dataset, splits=splits, notes=(*dataset.notes, note))


def leave_out(dataset: Dataset, recorded: dict[str, Any]) -> Dataset:
    """The data set without the files that were found unreadable before, and with its notes."""
    left_out = tuple(LeftOut(**item) for item in recorded["left_out"])
    if not left_out:
        return replace(dataset, notes=tuple(recorded["notes"]))
    gone = {(item.split, item.path) for item in left_out}
    splits = {
        part: split.take(np.flatnonzero([(part, name) not in gone for name in split.names]))
        for part, split in dataset.splits.items()
    }
    kept = {part: split for part, split in splits.items() if len(split)}
    return replace(dataset, splits=kept, left_out=left_out, notes=tuple(recorded["notes"]))


def differences(recorded: dict[str, Any], now: dict[str, Any]) -> str | None:
    """A sentence on what was added, removed or changed since, or ``None``."""
    if recorded["classes"] != now["classes"]:
        return f"the classes were {recorded['classes']} and are {now['classes']}"
    before, after = _digests(recorded), _digests(now)
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    parts = [
        f"{len(names)} {word} ({', '.join(sorted(names)[:10])}{', ...' if len(names) > 10 else ''})"
        for names, word in ((added, "added"), (removed, "removed"), (changed, "changed"))
        if names
    ]
    return ", ".join(parts) or None


def _split(split: Split, classes: tuple[str, ...]) -> dict[str, Any]:
    counts = {name: int((split.labels == label).sum()) for label, name in enumerate(classes)}
    digests = split.digests or ("",) * len(split)
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {
        "count": len(split),
        "per_class": counts,
        "sha256": whole,
        "images": dict(zip(split.names, digests, strict=True)),
    }


def _digests(recorded: dict[str, Any]) -> dict[str, str]:
    return {
        f"{part}: {name}": digest
        for part, split in recorded["splits"].items()
        for name, digest in split["images"].items()
    }
