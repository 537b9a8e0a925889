"""Data sets that have a name: found, fetched where they may be, and read."""

import hashlib
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnets.data.catalogue import FASHION, IDX_NAMES, NAMED, CifarSet, IdxSet, Version
from resnets.data.cifar import read_binary, read_python
from resnets.data.fetching import Remote, fetch, unpack
from resnets.data.folders import open_folder
from resnets.data.idx import damaged, parse_idx, read_bytes
from resnets.data.sources import ArrayImages, Dataset, Split
from resnets.errors import DataError

SAMPLE = Path(__file__).parent / "sample"
"""10,000 + 2,000 images of Fashion-MNIST, made by tools/make_sample.py."""
SAMPLE_SHA256 = {
    "train": "e1427044c614fabc29feeff0f27e6b68f88a9ee2f2cfe7d783b9157159864883",
    "test": "96315b1732ab731e68b8def3c284f34b605f7deb7a61e683c7d786265c827c83",
}
"""SHA-256 of the pixels of each split of the sample."""

ALL_WNIDS = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""SHA-256 of the 1,000 WordNet ids of ILSVRC 2012, sorted, one a line."""

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
"""Split -> (N, H, W, C) uint8 images and (N,) labels."""


def open_named(name: str, data_dir: Path | None) -> Dataset:
    """The data set called ``name``, one of ``catalogue.NAMES``.

    Looked for in ``data_dir`` (by default ``default_data_dir()``), unpacked or packed, and
    downloaded into it where it is not there; sample is part of the package, and imagenet is
    never downloaded. Raises ``DataError``.
    """
    folder = Path(os.path.abspath(os.path.expanduser(data_dir or default_data_dir())))
    if name == "sample":
        return _dataset(name, FASHION, _read_sample())
    if name == "imagenet":
        return _open_imagenet(folder)
    record = NAMED[name]
    try:
        if isinstance(record, CifarSet):
            arrays = _read_cifar(name, record, folder)
        else:
            arrays = _read_idx(name, record, folder)
    except OSError as cause:
        raise DataError(
            f"{cause.filename} cannot be read: {cause.strerror}",
            fix="give yourself the right to read it, or name another folder with --data-dir",
        ) from cause
    return _dataset(name, record.classes, arrays)


def default_data_dir() -> Path:
    """RESNETS_DATA_DIR, or ``data`` in this user's cache folder."""
    import platformdirs

    if folder := os.environ.get("RESNETS_DATA_DIR"):
        return Path(folder).expanduser()
    return Path(platformdirs.user_cache_dir("resnets", appauthor=False)) / "data"


def _dataset(name: str, classes: tuple[str, ...], arrays: Arrays) -> Dataset:
    splits = {
        part: Split(
            ArrayImages(images),
            labels.astype(np.int64),
            tuple(f"{part}/{index:05}" for index in range(len(labels))),
        )
        for part, (images, labels) in arrays.items()
    }
    return Dataset(name, name, classes, splits)


def _read_sample() -> Arrays:
    arrays = {}
    for part, names in IDX_NAMES.items():
        images, labels = (SAMPLE / f"{name}.gz" for name in names)
        pixels = parse_idx(read_bytes(images), images)
        if hashlib.sha256(pixels.tobytes()).hexdigest() != SAMPLE_SHA256[part]:
            raise damaged(images, "has other pixels than it was made with")
        arrays[part] = (pixels[..., None], parse_idx(read_bytes(labels), labels))
    return arrays


def _read_idx(name: str, record: IdxSet, folder: Path) -> Arrays:
    arrays = {}
    for part, remotes in record.files.items():
        read = [
            _read_idx_file(name, record, remote, md5, folder)
            for remote, md5 in zip(remotes, record.contents[part], strict=True)
        ]
        images, labels = read
        if len(images) != len(labels) or labels.max(initial=0) >= len(record.classes):
            raise DataError(
                f"{name}: the {part} labels do not fit the images",
                fix=f"remove the files below {folder / record.folder} and fetch them again",
            )
        arrays[part] = (images[..., None], labels)
    return arrays


def _read_idx_file(name: str, record: IdxSet, remote: Remote, md5: str, folder: Path) -> np.ndarray:
    """One IDX file, found plain or packed, or fetched."""
    home = folder / record.folder
    places = [
        place / file
        for place in (home, folder / name / record.folder, folder / name, folder, *record.also_in)
        for file in (remote.name.removesuffix(".gz"), remote.name)
    ]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        every = [each for remotes in record.files.values() for each in remotes]
        path = fetch(remote, home, data_set=name, beside=every)
    data = read_bytes(path)
    array = parse_idx(data, path)
    if (found := hashlib.md5(data, usedforsecurity=False).hexdigest()) != md5:
        raise DataError(
            f"{path} is not {name}'s: its contents have the MD5 {found}, not {md5}",
            fix=f"put the original into {home}, or name another folder with --data-dir",
        )
    return array


def _read_cifar(name: str, record: CifarSet, folder: Path) -> Arrays:
    count = len(record.classes)
    for place in (folder, folder / name):
        if root := _unpacked(place, record.binary):
            return _read_cifar_binary(record, root)
        if root := _unpacked(place, record.python):
            return {
                part: read_python(
                    [(root / file, str(md5)) for file, md5 in files.items()],
                    labels_key=record.labels_key,
                    classes=count,
                )
                for part, files in record.python.files.items()
            }
    archive = fetch(record.binary.archive, folder, data_set=name)
    return _read_cifar_binary(record, unpack(archive, record.binary.archive, record.binary.folder))


def _read_cifar_binary(record: CifarSet, root: Path) -> Arrays:
    return {
        part: read_binary(
            [root / file for file in files],
            records=record.records[part],
            label_bytes=record.label_bytes,
            classes=len(record.classes),
        )
        for part, files in record.binary.files.items()
    }


def _unpacked(place: Path, version: Version) -> Path | None:
    """The folder with a version's files where ``place`` has it, unpacked or packed."""
    wanted = [file for files in version.files.values() for file in files]
    if all((place / file).is_file() for file in wanted):
        return place
    root, archive = place / version.folder, place / version.archive.name
    if root.is_dir():
        if missing := [file for file in wanted if not (root / file).is_file()]:
            raise DataError(
                f"{root} lacks {', '.join(missing)}",
                fix=f"remove that folder and unpack {version.archive.name} again",
            )
        return root
    return unpack(archive, version.archive, version.folder) if archive.is_file() else None


def _open_imagenet(folder: Path) -> Dataset:
    for root in (folder / "imagenet", folder):
        if (root / "train").is_dir():
            break
    else:
        raise DataError(
            f"imagenet is not in {folder}, and its terms forbid downloading it for you",
            fix=f"get it from image-net.org and unpack it to {folder}/imagenet/train/nXXXXXXXX/ "
            "and val/nXXXXXXXX/, or name its folder with --data-dir",
        )
    dataset = open_folder(root)
    if strange := [name for name in dataset.classes if not re.fullmatch(r"n\d{8}", name)]:
        raise DataError(
            f"{root} is not ImageNet: its class folders are no WordNet ids, e.g. {strange[0]}",
            fix=f"open it as a folder: {root}",
        )
    classes = _imagenet_classes(dataset.classes, root / "LOC_synset_mapping.txt")
    return replace(dataset, name="imagenet", source="imagenet", classes=classes)


def _imagenet_classes(wnids: tuple[str, ...], mapping: Path) -> tuple[str, ...]:
    """A word for each WordNet id where one is known, with the id where two share a word."""
    if hashlib.sha256("\n".join(wnids).encode()).hexdigest() == ALL_WNIDS:
        from torchvision.models import ResNet18_Weights

        words = list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])  # in the order of ids
    elif mapping.is_file():
        lines = mapping.read_text(encoding="utf-8").splitlines()
        table = dict(line.split(maxsplit=1) for line in lines if " " in line.strip())
        words = [table.get(wnid, wnid).partition(",")[0] for wnid in wnids]
    else:
        words = list(wnids)
    count = Counter(words)
    return tuple(
        f"{word} {wnid}" if count[word] > 1 else word
        for word, wnid in zip(words, wnids, strict=True)
    )
