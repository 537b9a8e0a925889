"""Where images come from: one interface over arrays and files, and the data set around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from resnets.decoding import Box, decode, decode_part, whole_pixels

SPLITS = ("train", "val", "test")
"""The names a split can have, in the order they are told."""


class Images(Protocol):
    """N images, each (H, W, C) uint8 and upright; C is 3, or 1 for grey sets."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...

    def take(self, indices: np.ndarray) -> Self:
        """The images at (M,) positions, in that order."""


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images of one shape, in memory."""

    array: np.ndarray
    """(N, H, W, C) uint8."""

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.array[index]

    def take(self, indices: np.ndarray) -> Self:
        """The images at (M,) positions, copied."""
        return type(self)(self.array[indices])


@dataclass(frozen=True, eq=False)
class ListImages:
    """Images of many shapes, in memory."""

    arrays: Sequence[np.ndarray]
    """N arrays, (H, W, C) uint8 each."""

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.arrays[index]

    def take(self, indices: np.ndarray) -> Self:
        """The images at (M,) positions, not copied."""
        return type(self)([self.arrays[index] for index in indices])


@dataclass(frozen=True)
class FileImages:
    """Image files, decoded at each access."""

    root: Path
    paths: tuple[str, ...]
    """Relative to ``root`` with ``/`` between folders, or absolute."""
    background: tuple[int, int, int] = (255, 255, 255)
    """The RGB colour under transparent pixels."""

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3). Raises ``UnreadableImage``."""
        return decode(self.root / self.paths[index], background=self.background)

    def part(
        self, index: int, choose: Callable[[int, int], Box], at_least: tuple[int, int]
    ) -> np.ndarray:
        """What ``decode_part`` gives of one file. Raises ``UnreadableImage``."""
        path = self.root / self.paths[index]
        return decode_part(path, choose, at_least, background=self.background)

    def take(self, indices: np.ndarray) -> Self:
        """The files at (M,) positions."""
        paths = tuple(self.paths[index] for index in indices)
        return type(self)(self.root, paths, self.background)


def part_of(
    images: Images, index: int, choose: Callable[[int, int], Box], at_least: tuple[int, int]
) -> np.ndarray:
    """The box (h, w, C) of an image that ``choose`` names, given its height and width.

    A large JPEG file may come smaller, but with no less than ``at_least`` (height, width) pixels
    where it has them. Raises ``UnreadableImage``.
    """
    if isinstance(images, FileImages):
        return images.part(index, choose, at_least)
    image = images[index]
    height, width = image.shape[:2]
    left, top, right, bottom = whole_pixels(choose(height, width), height, width)
    return image[top:bottom, left:right]


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels and names."""

    images: Images
    labels: np.ndarray
    """(N,) int64, indices into the data set's classes."""
    names: tuple[str, ...]
    """What a report calls each image: its path as the data set writes it, or "test/00012"."""
    digests: tuple[str, ...] | None = None
    """SHA-256 of each file's bytes, or of each array's; ``None`` until the images are read."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Self:
        """The part at (M,) positions, in that order."""
        digests = self.digests
        return type(self)(
            self.images.take(indices),
            self.labels[indices],
            tuple(self.names[index] for index in indices),
            tuple(digests[index] for index in indices) if digests is not None else None,
        )


@dataclass(frozen=True)
class LeftOut:
    """A file that is no image we can read, and why."""

    path: str
    """As the split names it."""
    reason: str
    split: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named classes and named splits; labels index ``classes``, in every split alike."""

    name: str
    source: str
    """An absolute path or a data set's name; in brackets what neither leads back to."""
    classes: tuple[str, ...]
    splits: dict[str, Split]
    """Keys: train, and where there are such, val and test."""
    notes: tuple[str, ...] = ()
    """What a person should know about this data."""
    left_out: tuple[LeftOut, ...] = ()
    split_by_hash: bool = False
    """Whether the parts were made here, of data that has none."""
    passed_over: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What lies there and is not used: in words what it is -> the paths."""
