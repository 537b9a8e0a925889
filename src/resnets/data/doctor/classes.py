"""What is the matter with classes: empty, tiny, missing in a split, unequal."""

from collections.abc import Sequence

import numpy as np

from resnets.data.doctor.findings import Finding, Item, counted, finding
from resnets.data.sources import Dataset

TINY = 10
"""Fewer training images than this are few, even with other weights to start from."""
UNEQUAL = 10.0
"""The largest class has so many times the images of the smallest."""


def classes(dataset: Dataset, empty: Sequence[str]) -> list[Finding]:
    """The findings about classes.

    Args:
        empty: folders without images.
    """
    names, source = dataset.classes, dataset.source
    counts = {
        part: np.bincount(split.labels, minlength=len(names))
        for part, split in dataset.splits.items()
    }
    found = []
    if empty:
        items = [Item((path,)) for path in empty]
        what = counted(len(empty), "folder holds no image", "folders hold no image")
        found.append(finding("empty-class", what, items, source=source))
    missing = [
        Item((f"{part}: {names[label]}",))
        for part, each in counts.items()
        for label in np.flatnonzero(each == 0)
    ]
    if missing:
        what = counted(
            len(missing), "class is missing in a split", "classes are missing in a split"
        )
        found.append(finding("missing-class", what, missing, source=source))
    if "train" in counts:
        train = counts["train"]
        order = np.argsort(train, kind="stable")
        tiny = [
            Item((names[label],), f"{train[label]}") for label in order if 0 < train[label] < TINY
        ]
        if tiny:
            few = f"fewer than {TINY} training images"
            what = counted(len(tiny), f"class has {few}", f"classes have {few}")
            found.append(finding("tiny-class", what, tiny, source=source))
        least, most = order[train[order] > 0][0], order[-1]
        if train[most] > UNEQUAL * train[least]:
            what = (
                f"{names[most]} has {train[most]:,} training images, "
                f"{names[least]} has {train[least]:,}"
            )
            pair = [Item((names[label],), f"{train[label]:,}") for label in (most, least)]
            found.append(finding("imbalance", what, pair, source=source))
    return found
