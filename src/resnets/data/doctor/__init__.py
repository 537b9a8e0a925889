"""What is wrong with this data, named before training starts.

open_dataset -> read_images -> examine -> Findings. The facts come from the ledger that reading
filled; nothing is read here again.
"""

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from resnets.console import Progress
from resnets.data.catalogue import NAMES
from resnets.data.datasets import open_dataset
from resnets.data.doctor.classes import classes
from resnets.data.doctor.copies import Entry, exact, near, two_labels
from resnets.data.doctor.files import names, odd, passed_over, rotten, unreadable
from resnets.data.doctor.findings import Finding, Findings, Item, check_allowed
from resnets.data.doctor.kinds import ALLOWED_IN_TRAINING, KINDS
from resnets.data.folders import EMPTY
from resnets.data.ledger import Ledger
from resnets.data.reading import TOO_MANY, read_images, reading_bar
from resnets.data.sources import Dataset, FileImages

__all__ = [
    "ALLOWED_IN_TRAINING",
    "KINDS",
    "Finding",
    "Findings",
    "Item",
    "check_allowed",
    "check_up",
    "examine",
]


def check_up(
    source: str | Path | Dataset,
    *,
    data_dir: Path | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> tuple[Findings, Dataset]:
    """Open, read and decode every image of a data set, and say what is the matter with it.

    Args:
        source: what ``open_dataset`` takes.
        verify: read again what is known already, and compare.

    Returns the findings and the data set without what is unreadable.
    Raises ``UnknownName`` or ``DataError`` for what is no data set.
    """
    bar = progress or Progress(quiet=True)
    dataset = open_dataset(source, data_dir=data_dir)
    ledger = Ledger.of(dataset, trust=not verify)
    with reading_bar(bar, dataset) as tell:
        dataset = read_images(
            dataset,
            seconds=float("inf"),
            progress=tell,
            memory=0,
            ledger=ledger,
            too_many=1.0,
            lose_classes=True,
        )
    found = examine(dataset, ledger)
    ledger.save()
    return found, dataset


def examine(dataset: Dataset, ledger: Ledger, *, seconds: float = float("inf")) -> Findings:
    """What is the matter with a data set that ``read_images`` has read into the ledger.

    Args:
        seconds: for pixels in memory and near duplicates, which are the dear part.

    Duplicates across the splits of a published data set are told and stop nothing: there the
    splits are what others' figures are about.
    """
    deadline = time.monotonic() + seconds
    _look(dataset, ledger, deadline)
    entries = [
        Entry(part, name, dataset.classes[label], ledger.facts[name])
        for part, split in dataset.splits.items()
        for name, label in zip(split.names, split.labels, strict=True)
        if name in ledger.facts
    ]
    source = dataset.source
    met = dict(dataset.passed_over)
    empty = met.pop(EMPTY, ())
    total = len(dataset.left_out) + sum(map(len, dataset.splits.values()))
    too_many = total >= 5 and len(dataset.left_out) > TOO_MANY * total
    copies, their_labels = exact(entries, source, stops=source not in NAMES)
    alike, more_labels, left = near(entries, source, deadline=deadline)
    found = [
        *copies,
        *two_labels(their_labels + more_labels, source),
        *rotten(ledger.changed, ledger.compared, source),
        *unreadable(dataset.left_out, source, stops=too_many),
        *alike,
        *classes(dataset, empty),
        *odd(entries, source),
        *names(entries, source),
        *passed_over(met, source),
    ]
    order = list(KINDS)
    found.sort(key=lambda each: (each.weight != "stops", order.index(each.kind)))
    sides = np.array([entry.facts.shape for entry in entries]).ravel()
    return Findings(
        name=dataset.name,
        source=source,
        images={part: len(split) for part, split in dataset.splits.items()},
        classes=len(dataset.classes),
        formats=_counted(entry.facts.format for entry in entries),
        modes=_counted(entry.facts.mode for entry in entries),
        sides=(int(sides.min()), int(np.median(sides)), int(sides.max())) if len(sides) else None,
        findings=tuple(found),
        unchecked=_unchecked(entries, left, ledger),
    )


def _look(dataset: Dataset, ledger: Ledger, deadline: float) -> None:
    """Take in the pixels of images that are in memory."""
    for split in dataset.splits.values():
        if isinstance(split.images, FileImages):
            continue
        for index, name in enumerate(split.names):
            if time.monotonic() > deadline:
                return
            digest = split.digests[index] if split.digests else ""
            ledger.look(name, split.images[index], digest)


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(word for word in words if word).most_common())


def _unchecked(entries: list[Entry], left: int, ledger: Ledger) -> tuple[str, ...]:
    sentences = []
    files = sum(entry.facts.inode is not None for entry in entries)
    if not ledger.trust and files > ledger.compared:
        sentences.append(
            f"not verified: {files - ledger.compared:,} of {files:,} files, which were not known "
            "before or changed since"
        )
    if late := sum(not entry.facts.pixels for entry in entries):
        sentences.append(
            f"not checked for want of time: the pixels of {late:,} of {len(entries):,} images, "
            "for damage behind the header and for copies saved anew or changed"
        )
    if left:
        sentences.append(f"not checked for want of time: near duplicates of {left:,} images")
    return tuple(sentences)
