"""The one way in: a folder, a table or a name becomes a ``Dataset``; and parts held out of it."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnets.data.catalogue import NAMES
from resnets.data.folders import open_folder
from resnets.data.listing import BY_HASH, TESTED_BY_HASH, by_hash
from resnets.data.named import open_named
from resnets.data.sources import Dataset, FileImages, Split
from resnets.data.tables import open_table
from resnets.errors import DataError, UnknownName, did_you_mean


def open_dataset(
    source: str | Path | Dataset, *, data_dir: Path | None = None, whole: str | None = None
) -> Dataset:
    """Images with named classes and named splits; of folders and tables nothing is decoded.

    Args:
        source: a folder with one subfolder per class, or with such below ``train``, ``val`` and
            ``test``; a CSV file with the columns path, label and perhaps split; a name such as
            ``sample`` or ``cifar10``; or a data set, which is returned.
        data_dir: where named data sets are kept; see ``named.default_data_dir``.
        whole: for data to be scored and not trained on: what comes without splits is this one as
            a whole, and no train split is needed.

    A name stands for the data set even where a folder is called so; ``./name`` is the folder.
    Raises ``UnknownName`` or ``DataError``.
    """
    if isinstance(source, Dataset):
        return source
    text = os.fspath(source)
    path = Path(os.path.expanduser(text))
    written_as_path = text.startswith(("~", ".")) or any(mark in text for mark in ("/", os.sep))
    name = _known(text)
    if name and not written_as_path and not (isinstance(source, Path) and os.path.isdir(path)):
        dataset = open_named(name, data_dir)
        if os.path.isdir(path):
            note = f"a folder {text}/ is here too; ./{text} would open that"
            return replace(dataset, notes=(*dataset.notes, note))
        return dataset
    if text and os.path.isdir(path):
        return open_folder(path, whole=whole)
    if os.path.isfile(path):
        return _open_file(path, whole)
    if written_as_path or path.suffix.lower() == ".csv":
        raise DataError(f"there is no folder or file {text}", fix=_near(path))
    raise UnknownName(
        "data set or folder",
        text,
        [*NAMES, *_neighbours(path)],
        listing=f"data sets are {', '.join(NAMES)}; anything else is the path of a folder "
        "with one subfolder per class",
    )


def hold_out(dataset: Dataset, fraction: float) -> Dataset:
    """Move a share of each class from train to val, chosen by a hash of the images' names.

    Args:
        fraction: in (0, 1). A class of two or more images gives at least one and keeps at least
            one; a class of one image gives none.

    Raises ``DataError`` where there is a val split already.
    """
    if "val" in dataset.splits:
        raise DataError(
            f"{dataset.name} has a val split already", fix="use it, or leave it out of the data"
        )
    if not 0 < fraction < 1:
        raise DataError(f"a share of {fraction} cannot be held out", fix="choose one in (0, 1)")
    train = dataset.splits["train"]
    order = by_hash(train.names)
    held = np.zeros(len(train), dtype=bool)
    for label in np.unique(train.labels):
        members = order[train.labels[order] == label]
        count = min(max(1, int(fraction * len(members) + 0.5)), len(members) - 1)
        held[members[:count]] = True
    val, rest = np.flatnonzero(held), np.flatnonzero(~held)
    if not len(val):
        raise DataError(
            f"no class of {dataset.name} has two images: none can be held out",
            fix="add images, or validate on none: --validation 0",
        )
    splits = {**dataset.splits, "train": train.take(rest), "val": train.take(val)}
    return replace(dataset, splits=splits)


def without_validation(dataset: Dataset) -> Dataset:
    """A data set of files whose val split, made here by hash, is part of train again."""
    splits = {name: split for name, split in dataset.splits.items() if name != "val"}
    splits["train"] = joined(dataset.splits["train"], dataset.splits["val"])
    notes = [TESTED_BY_HASH if note == BY_HASH else note for note in dataset.notes]
    return replace(dataset, splits=splits, notes=tuple(notes))


def joined(first: Split, *others: Split) -> Split:
    """Splits of files of one data set as one."""
    assert isinstance(first.images, FileImages)  # noqa: S101
    paths = [path for split in (first, *others) for path in getattr(split.images, "paths", ())]
    return Split(
        replace(first.images, paths=tuple(paths)),
        np.concatenate([split.labels for split in (first, *others)]),
        tuple(name for split in (first, *others) for name in split.names),
    )


def _known(text: str) -> str | None:
    """The data set's name for what people write: CIFAR-10, cifar_10, FashionMNIST."""

    def plain(name: str) -> str:
        return re.sub(r"[-_ ]", "", name.lower())

    return {plain(name): name for name in NAMES}.get(plain(text))


def _open_file(path: Path, whole: str | None) -> Dataset:
    if path.suffix.lower() == ".csv":
        return open_table(path, whole=whole)
    if re.search(r"\.(zip|7z|rar|t?gz|tar|tar\.\w+)$", path.name.lower()):
        raise DataError(f"{path} is an archive", fix="unpack it and give the folder")
    raise DataError(
        f"{path} is neither a folder nor a CSV file",
        fix="give a folder with one subfolder per class, or a .csv with the columns path,label",
    )


def _near(path: Path) -> str:
    hint = did_you_mean(path.name, _neighbours(path))
    return f"{hint}give the path of a folder with one subfolder per class, or of a .csv"


def _neighbours(path: Path) -> list[str]:
    """The names beside a path that does not exist."""
    try:
        return os.listdir(path.parent)
    except OSError:
        return []
