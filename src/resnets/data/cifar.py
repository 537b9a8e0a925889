"""The two official versions of CIFAR-10 and CIFAR-100 (cs.toronto.edu/~kriz/cifar.html)."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data.idx import damaged

PIXELS = 3 * 32 * 32
"""Bytes of an image: all red, then all green, then all blue values, each row by row."""


def read_binary(
    files: list[Path], *, records: int, label_bytes: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 of the binary version.

    Args:
        files: with ``records`` records each: the label, then the pixels.
        label_bytes: 1, or CIFAR-100's 2: coarse label, then fine label, which is the one used.
    """
    images = np.empty((records * len(files), 32, 32, 3), np.uint8)
    labels = np.empty(records * len(files), np.int64)
    for number, file in enumerate(files):
        data = np.fromfile(file, np.uint8)
        if len(data) != records * (label_bytes + PIXELS):
            expected = records * (label_bytes + PIXELS)
            raise damaged(file, f"has {len(data):,} bytes, not the {expected:,} it should have")
        rows = data.reshape(records, label_bytes + PIXELS)
        part = slice(number * records, (number + 1) * records)
        labels[part] = rows[:, label_bytes - 1]
        images[part] = _upright(rows[:, label_bytes:])
        if labels[part].max(initial=0) >= classes:
            raise damaged(file, f"has the label {labels[part].max()}, beyond {classes} classes")
    return images, labels


def read_python(
    files: list[tuple[Path, str]], *, labels_key: str, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 of the python version.

    Args:
        files: with their MD5s, without which nothing is unpickled.
        labels_key: under which a batch keeps its labels.
    """
    images, labels = [], []
    for file, md5 in files:
        data = file.read_bytes()
        if (found := md5_of(data)) != md5:
            raise damaged(file, f"has the MD5 {found}, not the official {md5}")
        batch = unpickle(data, file)
        images.append(_upright(batch["data"]))
        labels.append(np.array(batch[labels_key], dtype=np.int64))
        if labels[-1].max(initial=0) >= classes or len(labels[-1]) != len(images[-1]):
            raise damaged(file, f"has labels that do not fit its images or {classes} classes")
    return np.concatenate(images), np.concatenate(labels)


def md5_of(data: bytes) -> str:
    """The MD5 that the publishers of data sets state; it tells damage, not an attacker."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def unpickle(data: bytes, file: Path) -> Any:
    """What a pickle of numpy arrays and plain values holds; raises ``DataError`` for any other."""
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except Exception as cause:  # the pickle machine raises whatever a stray opcode leads to
        raise damaged(file, f"is no pickle of arrays: {cause}") from cause


class _ArraysOnly(pickle.Unpickler):
    """Knows numpy arrays and nothing else that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]  # its module differs between numpy 1 and 2
        known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]


def _upright(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
