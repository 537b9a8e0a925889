"""Small CIFAR and MNIST sets in the official formats, written by hand under the real names."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from resnets.data import ArrayImages, Dataset
from resnets.data.catalogue import NAMED, CifarSet, IdxSet, Version
from resnets.data.fetching import Remote

RECORDS = 7
"""Images per file of the made-up CIFAR sets; the real files have thousands."""


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def pictures(seed: int, count: int, shape: tuple[int, ...] = (32, 32, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def binary_file(images: np.ndarray, labels: list[int], *, coarse: bool) -> bytes:
    """CIFAR's binary version: per image the label (before it the coarse one), then R, G, B."""
    rows = []
    for image, label in zip(images, labels, strict=True):
        rows.append(bytes([99, label] if coarse else [label]))
        rows += [image[..., channel].tobytes() for channel in range(3)]
    return b"".join(rows)


def python_2_pickle(images: np.ndarray, labels_key: str, labels: list[int]) -> bytes:
    """A batch of CIFAR's python version, opcode by opcode as Python 2 and numpy 1 wrote it."""

    def text(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    data = images.transpose(0, 3, 1, 2).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    )
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"K" + bytes([len(images)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array += b"(K\x01" + shape + dtype + b"\x89" + text(data) + b"tb"
    numbers = b"]" + b"".join(b"K" + bytes([label]) + b"a" for label in labels)
    return b"\x80\x02}" + text(b"data") + array + b"s" + text(labels_key.encode()) + numbers + b"s."


@dataclass
class MadeUp:
    """A small set in the official format, under the name of the real one."""

    name: str
    images: dict[str, np.ndarray]
    labels: dict[str, list[int]]
    files: dict[str, bytes]
    """What may be put into the data folder, or onto a server."""

    def check(self, dataset: Dataset) -> None:
        assert (dataset.name, dataset.source) == (self.name, self.name)
        assert dataset.classes == NAMED[self.name].classes
        for part, split in dataset.splits.items():
            assert isinstance(split.images, ArrayImages)
            np.testing.assert_array_equal(split.images.array, self.images[part])
            assert split.labels.tolist() == self.labels[part]
            assert split.labels.dtype == np.int64
            assert split.names[1] == f"{part}/00001"
            assert split.images.array.flags.writeable
            assert split.labels.flags.writeable


def make_cifar(name: str, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    record = NAMED[name]
    assert isinstance(record, CifarSet)
    images: dict[str, np.ndarray] = {}
    labels: dict[str, list[int]] = {}
    binary, python, md5s = {}, {}, {}
    for seed, (part, files) in enumerate(record.binary.files.items()):
        images[part] = pictures(seed, RECORDS * len(files))
        labels[part] = [
            (3 * index + seed) % len(record.classes) for index in range(len(images[part]))
        ]
        pairs = zip(files, record.python.files[part], strict=True)
        for number, (binary_name, python_name) in enumerate(pairs):
            here = slice(number * RECORDS, (number + 1) * RECORDS)
            some, some_labels = images[part][here], labels[part][here]
            binary[binary_name] = binary_file(some, some_labels, coarse=name == "cifar100")
            python[python_name] = python_2_pickle(some, record.labels_key, some_labels)
            md5s[python_name] = md5(python[python_name])

    def packed(version: Version, files: dict[str, bytes]) -> bytes:
        return tar_gz({f"{version.folder}/{name}": data for name, data in files.items()})

    def with_md5(version: Version, archive: bytes) -> Version:
        files = {part: {f: md5s.get(f) for f in names} for part, names in version.files.items()}
        return replace(version, archive=replace(version.archive, md5=md5(archive)), files=files)

    archives = packed(record.binary, binary), packed(record.python, python)
    small = replace(
        record,
        binary=with_md5(record.binary, archives[0]),
        python=with_md5(record.python, archives[1]),
        records=dict.fromkeys(record.records, RECORDS),
    )
    monkeypatch.setitem(NAMED, name, small)
    everything = {f"{record.binary.folder}/{file}": data for file, data in binary.items()}
    everything |= {f"{record.python.folder}/{file}": data for file, data in python.items()}
    everything[record.binary.archive.name], everything[record.python.archive.name] = archives
    return MadeUp(name, images, labels, everything)


def make_idx(name: str, monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    record = NAMED[name]
    assert isinstance(record, IdxSet)
    images, labels, files = {}, {}, {}
    remotes, contents = {}, {}
    for seed, (part, pair) in enumerate(record.files.items()):
        images[part] = pictures(seed, 9 - seed, (28, 28, 1))
        labels[part] = [(index + seed) % 10 for index in range(9 - seed)]
        plain = [
            struct.pack(">IIII", 2051, 9 - seed, 28, 28) + images[part].tobytes(),
            struct.pack(">II", 2049, 9 - seed) + bytes(labels[part]),
        ]
        packed = [gzip.compress(data, mtime=0) for data in plain]
        for remote, data, squeezed in zip(pair, plain, packed, strict=True):
            files[remote.name], files[remote.name.removesuffix(".gz")] = squeezed, data
        first, second = (replace(r, md5=md5(data)) for r, data in zip(pair, packed, strict=True))
        remotes[part], contents[part] = (first, second), (md5(plain[0]), md5(plain[1]))
    monkeypatch.setitem(NAMED, name, replace(record, files=remotes, contents=contents, also_in=()))
    return MadeUp(name, images, labels, files)


def serve_from(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(remote: Remote) -> Remote:
        return replace(remote, urls=(url + remote.name,))

    for name, record in list(NAMED.items()):
        if isinstance(record, CifarSet):
            binary = replace(record.binary, archive=moved(record.binary.archive))
            monkeypatch.setitem(NAMED, name, replace(record, binary=binary))
        else:
            files = {part: (moved(a), moved(b)) for part, (a, b) in record.files.items()}
            monkeypatch.setitem(NAMED, name, replace(record, files=files, also_in=()))


def place(made: MadeUp, root: Path, where: Callable[[str], str | None]) -> Path:
    """Write the files for which ``where`` gives a path."""
    for name, data in made.files.items():
        if path := where(name):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    return root
