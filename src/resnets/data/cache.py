"""Photos that were decoded once, on disk: what every later epoch and run reads in their place.

A file of the cache holds one picture as an array, under the hash of all that it depends on: the
photo's bytes, what was made of them, and the versions that made it. So a changed photo or another
preprocessing has another name, and nothing kept is ever stale. What is missing or damaged is made
from the photo, so that the pixels are the same whatever the cache holds.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import shutil
import struct
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import PIL
import platformdirs
import torch
from PIL import Image
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.augmentation import RATIO, Augmentation
from resnets.data.reading import in_threads
from resnets.data.sources import FileImages, Images, Split
from resnets.data.transforms import to_pixels
from resnets.decoding import decode_part, read_header
from resnets.errors import UnreadableImage

MOST_BYTES = 20 * 10**9
"""What the cache may hold, and never more than half of the disk that is free without it; beyond
that the pictures that were used longest ago are removed."""
LOOKED_AT = 50
"""Photos of which the size is read to say how much disk the cache needs."""
ABANDONED = 3600.0
"""Seconds after which a half-written file has nobody left who writes it."""
_FORMAT = 1
_HEADER = struct.Struct("<4sI3I")
"""Magic, CRC-32 of what follows it, shape; then the array, C-contiguous."""
_MAGIC = b"rnpx"


def default_cache_dir() -> Path:
    """Where decoded photos are kept: a folder of the user's cache."""
    return Path(platformdirs.user_cache_dir("resnets")) / "decoded"


@dataclass(frozen=True)
class _Cached(ABC):
    """Image files of which the cache may hold an array each."""

    kind: ClassVar[type[np.generic]]
    files: FileImages
    digests: tuple[str, ...]
    """SHA-256 of each file's bytes."""
    folder: Path

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: np.ndarray) -> Self:
        """The files at (M,) positions."""
        digests = tuple(self.digests[index] for index in indices)
        return dataclasses.replace(self, files=self.files.take(indices), digests=digests)

    @abstractmethod
    def rule(self) -> list[Any]:
        """What an array depends on beside the photo and its background, in plain values."""

    @abstractmethod
    def make(self, index: int) -> np.ndarray:
        """The array of one photo. Raises ``UnreadableImage``."""

    def array(self, index: int) -> np.ndarray:
        """The array of one photo, as it is kept or else made. Raises ``UnreadableImage``."""
        kept = _read(self.path(index), self.kind)
        return self.make(index) if kept is None else kept

    def unchanged(self, index: int) -> bool:
        """Whether a file still has the bytes of its digest."""
        try:
            data = (self.files.root / self.files.paths[index]).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == self.digests[index]

    def path(self, index: int) -> Path:
        """Where the array lies once it is kept."""
        depends = [_FORMAT, PIL.__version__, self.files.background, *self.rule()]
        text = json.dumps([self.digests[index], *depends])
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class CachedPhotos(_Cached):
    """Upright photos as uint8 images, shrunk where random crops need less."""

    kind = np.uint8
    side: int | None
    """The network's input, of which a crop keeps the size; ``None``: photos as they are."""
    smallest: float = 1.0
    """A crop's smallest share of the area."""

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3). Raises ``UnreadableImage``."""
        return self.array(index)

    def rule(self) -> list[Any]:
        """The size that crops need."""
        return ["photo", self.side, self.smallest]

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of what is kept of a photo. Raises ``UnreadableImage``."""
        header = read_header(self.files.root / self.files.paths[index])
        height, width = header.height, header.width
        if self.side is None:
            return height, width
        narrowest = math.sqrt(self.smallest * RATIO[0] * height * width)
        share = min(1.0, self.side / min(narrowest, height, width))
        return math.ceil(height * share), math.ceil(width * share)

    def make(self, index: int) -> np.ndarray:
        """The photo, shrunk with an antialiasing kernel. Raises ``UnreadableImage``."""
        if self.side is None:
            return self.files[index]
        height, width = self.size(index)
        photo = decode_part(
            self.files.root / self.files.paths[index],
            lambda whole_height, whole_width: (0, 0, whole_width, whole_height),
            (height, width),
            background=self.files.background,
        )
        if photo.shape[:2] == (height, width):
            return photo
        return np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class CachedPixels(_Cached):
    """Photos as the pixels that ``to_pixels`` makes of them."""

    kind = np.float32
    preprocess: Preprocess

    def __getitem__(self, index: int) -> np.ndarray:
        """The photo itself, (H, W, 3) uint8. Raises ``UnreadableImage``."""
        return self.files[index]

    def pixels(self, index: int) -> Tensor:
        """(C, h, w) float32, 0 to 255. Raises ``UnreadableImage``."""
        return torch.from_numpy(self.array(index))

    def rule(self) -> list[Any]:
        """The geometry of the preprocessing, not what is subtracted and divided by later."""
        geometry = dataclasses.replace(
            self.preprocess,
            mean=(0.0,) * self.preprocess.input_size[0],
            std=(1.0,) * self.preprocess.input_size[0],
            mean_image=False,
        )
        return ["pixels", torch.__version__, geometry.to_dict()]

    def make(self, index: int) -> np.ndarray:
        """The pixels of one photo. Raises ``UnreadableImage``."""
        image = torch.from_numpy(self.files[index])
        return np.ascontiguousarray(to_pixels(image[None], self.preprocess)[0])


def pixels_at(images: Images, index: int, preprocess: Preprocess) -> Tensor:
    """``to_pixels`` of one image, (C, h, w) float32, from the cache where it has just that."""
    if isinstance(images, CachedPixels) and images.preprocess == preprocess:
        return images.pixels(index)
    image = np.require(images[index], requirements=["C", "W"])
    return to_pixels(torch.from_numpy(image)[None], preprocess)[0]


def for_training(
    split: Split, preprocess: Preprocess, augmentation: Augmentation, folder: Path
) -> Split:
    """The training split of image files, read with its digests, as it comes from the cache."""
    files, digests = _files_of(split)
    if augmentation.crop == "resized":
        side = max(preprocess.input_size[1:])
        images: Images = CachedPhotos(files, digests, folder, side, augmentation.crop_scale)
    elif augmentation.per_image:
        images = CachedPhotos(files, digests, folder, None)
    else:
        images = CachedPixels(files, digests, folder, preprocess)
    return dataclasses.replace(split, images=images)


def for_validation(split: Split, preprocess: Preprocess, folder: Path) -> Split:
    """A split of image files as it comes from the cache, to be scored: the same bits."""
    return dataclasses.replace(split, images=CachedPixels(*_files_of(split), folder, preprocess))


def _files_of(split: Split) -> tuple[FileImages, tuple[str, ...]]:
    assert isinstance(split.images, FileImages) and split.digests is not None  # noqa: S101
    return split.images, split.digests


def needed_bytes(split: Split) -> int:
    """About how much the cache takes for a split of it, by the sizes of a few photos."""
    images = split.images
    if isinstance(images, CachedPixels):
        return len(images) * math.prod(images.preprocess.input_size) * 4
    assert isinstance(images, CachedPhotos)  # noqa: S101
    chosen = np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).astype(int)
    sizes = [3 * math.prod(images.size(int(index))) for index in chosen]
    return len(images) * sum(sizes) // len(sizes)


def fill(splits: Sequence[Split], tell: Callable[[int], None] = lambda images: None) -> int:
    """Make and keep what is not yet in the cache, as far as there is room.

    Args:
        splits: of one cache, as ``for_training`` and ``for_validation`` make them.
        tell: told how many images more are done.

    Returns how many pictures found no room; they are made anew each time they are asked for.
    """
    wanted = [
        (split.images, index)
        for split in splits
        if isinstance(split.images, _Cached)
        for index in range(len(split))
    ]
    if not wanted:
        return 0
    room = _Room(wanted[0][0].folder, {images.path(index).name for images, index in wanted})
    return sum(not kept for kept in in_threads(lambda one: room.keep(*one), wanted, tell))


class _Room:
    """The files of a cache and what may still be written, without those that go for it."""

    def __init__(self, folder: Path, wanted: set[str]) -> None:
        entries = []
        with contextlib.suppress(OSError), os.scandir(folder) as found:
            for one in found:
                with contextlib.suppress(OSError):  # another run made room meanwhile
                    entries.append((one.stat().st_mtime, one.stat().st_size, one.name))
        self.folder = folder
        self.present = {name for _, _, name in entries if name in wanted}
        alive = time.time() - ABANDONED
        self.others = sorted(
            (changed, size, name)
            for changed, size, name in entries
            if name not in wanted and ("." not in name or changed < alive)  # of another run, by now
        )
        self.used = sum(size for _, size, _ in entries)
        self.lock, self.full = threading.Lock(), False
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self.most = min(MOST_BYTES, (_free(folder) + self.used) // 2)

    def keep(self, images: _Cached, index: int) -> bool:
        """Whether the picture is in the cache, perhaps from now on."""
        path = images.path(index)
        if path.name in self.present:
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
        if self.full:
            return False
        try:
            array = images.make(index)
        except UnreadableImage:  # said when it is asked for, not for want of room
            return True
        if not images.unchanged(index):  # since its digest was taken, which names the array
            return True
        if not self._make_for(_HEADER.size + array.nbytes):
            return False
        try:
            _write(path, array)
        except OSError:  # a full or read-only disk ends no run
            self.full = True
            return False
        self.present.add(path.name)  # for a second photo of the same bytes
        return True

    def _make_for(self, size: int) -> bool:
        with self.lock:
            while self.used + size > self.most and self.others:
                _, old, name = self.others.pop(0)
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
                self.used -= old
            self.full = self.full or self.used + size > self.most
            self.used += 0 if self.full else size
            return not self.full


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # it cannot be made
        return 0


_writes = itertools.count()


def _write(path: Path, array: np.ndarray) -> None:
    """Written aside and renamed, not synced: what a power cut tears is found out and made anew."""
    shape = struct.pack("<3I", *array.shape)
    data = np.ascontiguousarray(array).data
    header = _HEADER.pack(_MAGIC, zlib.crc32(data, zlib.crc32(shape)), *array.shape)
    aside = path.with_name(f"{path.name}.{os.getpid()}.{next(_writes)}")
    with open(aside, "wb") as file:
        file.write(header)
        file.write(data)
    os.replace(aside, path)


def _read(path: Path, kind: type[np.generic]) -> np.ndarray | None:
    """The array, writable; ``None`` where there is none or it is damaged, which removes it."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if len(data) >= _HEADER.size:
        magic, checksum, *shape = _HEADER.unpack_from(data.data)
        if magic == _MAGIC and checksum == zlib.crc32(data.data[8:]):
            return data[_HEADER.size :].view(kind).reshape(shape)
    with contextlib.suppress(OSError):
        path.unlink()
    return None
