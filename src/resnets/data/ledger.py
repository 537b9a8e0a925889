"""What reading each image told, kept from one start to the next.

A file is known again by its path, size, modification time and inode; then nothing of it is read.
One file per data set in the user's cache: rows of fixed size behind their own hash, no pickle. A
ledger that is missing, damaged or cannot be written costs time and changes no result.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import PIL
import platformdirs

from resnets.data.likeness import SIDE, small_picture
from resnets.data.sources import Dataset, FileImages
from resnets.decoding import read_header

MOST_BYTES = 10**9
"""Of all ledgers together; those used longest ago go first."""
JUST_NOW = 2 * 10**9
"""Nanoseconds. A file changed so shortly before it was read may change again and keep its time:
file systems count in steps of up to two seconds (FAT)."""
_FORMAT = 1
_ROW = np.dtype(
    [
        ("key", "V16"),
        ("stamp", "<i8", (4,)),
        ("digest", "V32"),
        ("shape", "<u4", (2,)),
        ("format", "S5"),
        ("mode", "S8"),
        ("orientation", "u1"),
        ("grey", "?"),
        ("pixels", "V32"),
        ("small", f"V{SIDE * SIDE}"),
    ]
)

Stamp = tuple[int, int, int, int]
"""Bytes, modification time in ns, inode, device: by these a file is known again."""


class Facts(NamedTuple):
    """What is known of one image."""

    digest: str
    """SHA-256 of the file's bytes, or of an array's."""
    shape: tuple[int, int]
    """Height and width, upright."""
    format: str = ""
    """Pillow's name; empty for an array."""
    mode: str = "RGB"
    """Pillow's mode, as stored."""
    orientation: int = 1
    """EXIF's, 1 to 8."""
    grey: bool = False
    """All three channels are the same."""
    inode: tuple[int, int] | None = None
    """Device and inode of the file."""
    pixels: str = ""
    """SHA-256 of shape and upright RGB pixels; empty until they are decoded."""
    small: bytes = b""
    """``small_picture`` of them."""


class Ledger:
    """The facts of a data set's images by their names; safe in threads."""

    def __init__(self, path: Path | None = None, *, trust: bool = True) -> None:
        """A ledger kept at ``path``, or kept nowhere.

        Args:
            trust: take what is known of a file without reading it again.
        """
        self.facts: dict[str, Facts] = {}
        self.changed: list[str] = []
        """Files whose bytes are not what they were, under the same size and time."""
        self.compared = 0
        """Files that were read again and compared with what was known."""
        self.path, self.trust = path, trust
        self._kept = _read(path) if path else {}
        self._met: dict[str, tuple[bytes, Stamp]] = {}
        self._news = False

    @classmethod
    def of(cls, dataset: Dataset, *, folder: Path | None = None, trust: bool = True) -> Self:
        """The ledger of a data set of files; of another one, a ledger that is kept nowhere."""
        for split in dataset.splits.values():
            if isinstance(split.images, FileImages):
                depends = (_FORMAT, PIL.__version__, dataset.source, split.images.background)
                name = hashlib.blake2b(_bytes(repr(depends)), digest_size=16).hexdigest()
                folder = folder or Path(platformdirs.user_cache_dir("resnets")) / "data"
                return cls(folder / f"{name}.rows", trust=trust)
        return cls()

    def inspect(self, name: str, path: str) -> Facts:
        """What a file's bytes and header tell. Raises ``OSError`` or ``UnreadableImage``."""
        status, now = os.stat(path), time.time_ns()
        key = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
        inode, device = status.st_ino % 2**63, status.st_dev % 2**63  # Windows uses all 64 bits
        stamp = status.st_size, status.st_mtime_ns, inode, device
        if status.st_mtime_ns < now - JUST_NOW:
            self._met[name] = key, stamp
        known, facts = self._kept.get(key, (None, None))
        if facts is None or known != stamp or not self.trust:
            facts = self._read(name, path, facts, unchanged=known == stamp)
            self._news |= known != stamp
        facts = facts._replace(inode=(device, inode))
        self.facts[name] = facts
        return facts

    def _read(self, name: str, path: str, known: Facts | None, *, unchanged: bool) -> Facts:
        """The facts of a file that is not taken on trust; those of its pixels if it is the same."""
        with open(path, "rb") as file:
            data = file.read()
        digest = hashlib.sha256(data).hexdigest()
        self.compared += unchanged
        if known and known.digest == digest:
            return known
        if unchanged:
            self.changed.append(name)
        header = read_header(data)
        return Facts(
            digest,
            (header.height, header.width),
            header.format,
            header.mode,
            header.orientation if header.orientation in range(1, 9) else 1,
            header.grey,
        )

    def look(self, name: str, image: np.ndarray, digest: str = "") -> None:
        """Take in the pixels of an image (H, W, C), C 1 or 3, where they are not known.

        Args:
            digest: of an image that is no file.
        """
        mode = "L" if image.shape[2] == 1 else "RGB"
        facts = self.facts.get(name) or Facts(digest, image.shape[:2], mode=mode)
        if not facts.pixels:
            small = small_picture(image).tobytes()
            self.facts[name] = facts._replace(pixels=pixels_digest(image), small=small)
            self._news = True

    def save(self) -> None:
        """Keep what is known of the files that were met, where anything of it is new.

        Of a file that changed silently, what it was: it is told again until it is put back.
        """
        if self.path and self._news:
            before = {
                name: self._kept[self._met[name][0]][1]
                for name in self.changed
                if name in self._met
            }
            facts = self.facts | before
            rows = [_row(*met, facts[name]) for name, met in self._met.items() if name in facts]
            with contextlib.suppress(OSError):  # a full or read-only disk ends nothing
                _write(self.path, np.array(rows, _ROW))
            self._news = False


def pixels_digest(image: np.ndarray) -> str:
    """SHA-256 of the shape and the RGB pixels of an image (H, W, C), C 1 or 3."""
    rgb = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    return hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a path that is not UTF-8 holds lone surrogates


def _row(key: bytes, stamp: Stamp, facts: Facts) -> tuple[Any, ...]:
    """One ``_ROW``."""
    return (
        *(key, stamp, bytes.fromhex(facts.digest), facts.shape, facts.format.encode()),
        *(facts.mode.encode(), facts.orientation, facts.grey),
        *(bytes.fromhex(facts.pixels) or bytes(32), facts.small or bytes(SIDE * SIDE)),
    )


def _facts(row: tuple[Any, ...]) -> Facts:
    """What one ``_ROW`` holds."""
    _, _, digest, shape, kind, mode, orientation, grey, pixels, small = row
    decoded = any(pixels)
    return Facts(
        digest.hex(),
        (int(shape[0]), int(shape[1])),
        kind.decode(),
        mode.decode(),
        orientation,
        grey,
        pixels=pixels.hex() if decoded else "",
        small=small if decoded else b"",
    )


def _read(path: Path) -> dict[bytes, tuple[Stamp, Facts]]:
    """Key -> stamp and facts; nothing where there is no ledger or a damaged one."""
    try:
        data = path.read_bytes()
        os.utime(path)
    except OSError:
        return {}
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return {}
    try:
        rows = np.frombuffer(data, _ROW, offset=32)
        return {bytes(row[0]): (tuple(row[1]), _facts(row)) for row in rows.tolist()}
    except ValueError:  # another program's, under a hash that holds
        return {}


def _write(path: Path, rows: np.ndarray) -> None:
    """Written aside and renamed; then the oldest ledgers go until all fit."""
    data = rows.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(hashlib.sha256(data).digest() + data)
    os.replace(aside, path)
    others = sorted(
        (entry.stat().st_mtime, entry.stat().st_size, entry.path)
        for entry in os.scandir(path.parent)
        if entry.path != str(path)
    )
    room = MOST_BYTES - path.stat().st_size
    for _, size, other in reversed(others):
        room -= size
        if room < 0:
            os.unlink(other)
