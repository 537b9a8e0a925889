"""Listed images become a data set: classes by name, splits by name or by a hash of the paths."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnets.data.sources import SPLITS, Dataset, FileImages, Split
from resnets.errors import DataError, did_you_mean

NAMED_SPLITS = {name: name for name in SPLITS} | {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}
"""What people call a split -> what it is called here."""

BY_HASH = (
    "no split is given: of each class 70 % trains, 15 % validates and 15 % tests, "
    "chosen by a hash of the file names"
)

TESTED_BY_HASH = "no split is given: of each class 15 % tests, chosen by a hash of the file names"


class Listed(NamedTuple):
    """An image that a folder or a table names."""

    path: str
    label: str
    """The class's name."""


def natural_key(name: str) -> tuple[str, str]:
    """Sorts digits by their value, all else as text.

    >>> sorted(["10", "2", "b", "a"], key=natural_key)
    ['2', '10', 'a', 'b']
    """
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), name), name


def class_name(text: str) -> str:
    """One spelling per name: macOS writes an accent apart from its letter, others do not."""
    return unicodedata.normalize("NFC", text)


def told(names: Iterable[object], *, most: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def by_hash(names: Sequence[str]) -> np.ndarray:
    """(N,) positions in an order that depends on nothing but the names themselves."""

    def key(index: int) -> tuple[bytes, str]:
        # a name that is not UTF-8 holds lone surrogates, which "surrogatepass" lets through
        data = names[index].encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=16).digest(), names[index]

    return np.array(sorted(range(len(names)), key=key), dtype=np.int64)


def split_by_hash(listed: Sequence[Listed]) -> dict[str, list[Listed]]:
    """70 % train, 15 % val and 15 % test of each class, at least one image in each part.

    Raises ``DataError`` for classes with fewer than three images.
    """
    of_class: defaultdict[str, list[Listed]] = defaultdict(list)
    for image in listed:
        of_class[image.label].append(image)
    small = [f"{name!r} ({len(of_class[name])})" for name in of_class if len(of_class[name]) < 3]
    if small:
        raise DataError(
            f"too few images to train, validate and test on: {told(small)}",
            fix="give each class at least three images, or take these classes out",
        )
    part_of: dict[str, str] = {}
    for images in of_class.values():
        share = max(1, int(0.15 * len(images) + 0.5))
        parts = ["test"] * share + ["val"] * share + ["train"] * (len(images) - 2 * share)
        order = by_hash([image.path for image in images])
        part_of |= {images[index].path: part for index, part in zip(order, parts, strict=True)}
    return {part: [item for item in listed if part_of[item.path] == part] for part in SPLITS}


def assemble(
    root: Path,
    listed: dict[str, list[Listed]],
    *,
    source: Path,
    notes: Sequence[str],
    split_by_hash: bool = False,
    to_score: bool = False,
) -> Dataset:
    """The data set of listed files, its classes those of the training split.

    Args:
        root: what relative paths start from.
        listed: the images of each split.
        source: the folder or table, for messages and the data set's name.
        to_score: a training split is not needed, and one class is enough.

    Raises ``DataError`` for fewer than two classes and for a class that training lacks.
    """
    named = [listed["train"]] if listed.get("train") or not to_score else list(listed.values())
    classes = tuple(sorted({image.label for part in named for image in part}, key=natural_key))
    position = {name: index for index, name in enumerate(classes)}
    for part, images in listed.items():
        unknown = Counter(image.label for image in images if image.label not in position)
        if unknown:
            name = min(unknown, key=natural_key)
            example = next(image.path for image in images if image.label == name)
            raise DataError(
                f"{source}: {part} has images of {told(map(repr, unknown))}, of which train has "
                f"none: {sum(unknown.values()):,}, the first is {example}",
                fix=f"{did_you_mean(name, classes)}put images of {name!r} into train, "
                f"or take them out of {part}",
            )
    if len(classes) < (1 if to_score else 2):
        raise DataError(
            f"{source} has {len(classes)} class{'es' * (not classes)} to train on"
            f"{''.join(f', {name!r}' for name in classes)}; a classifier needs two",
            fix=_nested_fix(root, classes),
        )
    splits = {}
    notes = list(notes)
    for part in SPLITS:
        if images := listed.get(part, []):
            paths = tuple(image.path for image in images)
            labels = np.array([position[image.label] for image in images], dtype=np.int64)
            splits[part] = Split(FileImages(root, paths), labels, names=paths)
            if absent := position.keys() - {image.label for image in images}:
                names = sorted(absent, key=natural_key)
                notes.append(f"{part} has no image of {told(map(repr, names))}")
    name = source.stem if source.is_file() else source.name
    return Dataset(
        name or str(source),
        str(source),
        classes,
        splits,
        tuple(notes),
        split_by_hash=split_by_hash,
    )


def _nested_fix(root: Path, classes: Sequence[str]) -> str:
    """Archives often wrap their folder in another one."""
    fix = "make one folder per class, each with its images"
    if len(classes) == 1 and (root / classes[0]).is_dir():
        return f"{fix}; if the classes are folders inside it, give {root / classes[0]}"
    return fix
