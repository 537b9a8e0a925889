"""IDX files: the format of MNIST and of the sets that took its place (yann.lecun.com, 1998)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from resnets.errors import DataError

_UINT8 = 0x08
"""The type byte of the only kind of numbers that MNIST's files hold."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in ``.gz``."""
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as cause:
        raise damaged(path, f"cannot be unpacked: {cause}") from cause


def parse_idx(data: bytes, path: Path) -> np.ndarray:
    """The uint8 array of an IDX file's bytes; ``path`` is its name in messages.

    Four bytes (0, 0, type, dimensions), one big-endian uint32 per dimension, then the values.
    """
    magic = data[:4]
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UINT8]) or not 1 <= magic[3] <= 4:
        raise damaged(path, f"does not start as an IDX file of bytes does, but with {magic.hex()}")
    start = 4 + 4 * magic[3]
    if len(data) < start:
        raise damaged(path, f"is cut short: {len(data)} bytes")
    shape = struct.unpack(f">{magic[3]}I", data[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise damaged(path, f"has {len(data):,} bytes where its header promises {expected:,}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def damaged(path: Path, how: str) -> DataError:
    """The error for a data file that is not what it should be."""
    return DataError(f"{path} {how}", fix=f"remove {path.name} and fetch it again")
