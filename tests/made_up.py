"""Folders of tiny images for tests, each image of a shade that its path decides."""

import io
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from resnets.data import Dataset


def shade(path: str) -> int:
    """The grey value that the image written under this path has."""
    return zlib.crc32(path.encode("utf-8", "surrogateescape")) % 256


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(root: Path, paths: Iterable[str]) -> Path:
    """A folder with these files, images where they end in .png; a last slash: an empty folder."""
    for path in paths:
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("L", (2, 2), shade(path))
        target.write_bytes(encoded(picture) if path.endswith(".png") else b"text")
    return root


def numbered(folder: str, count: int) -> list[str]:
    """The paths folder/0.png, folder/1.png, ..."""
    return [f"{folder}/{number}.png" for number in range(count)]


def by_name(dataset: Dataset) -> dict[str, str]:
    """Split and name -> class name, after looking at the pixels of every image."""
    found = {}
    for part, split in dataset.splits.items():
        assert split.labels.dtype == np.int64
        for index, name in enumerate(split.names):
            assert (split.images[index] == shade(name)).all(), name
            found[f"{part} {name}"] = dataset.classes[split.labels[index]]
    return found
