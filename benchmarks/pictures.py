"""Photos of any size for benchmarks, put together from a folder of smaller ones.

A photo of 4000x3000 that is a small one enlarged has hardly any detail, and a JPEG of it a fifth of
the usual size, which decodes too fast. So each is a mosaic: with the tiles chosen here, JPEGs of
quality 90 take 2 to 3 bits a pixel, as those of cameras do.
"""

from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from resnets.data import read_images
from resnets.data.sources import Dataset, FileImages, Split

TILES = {(500, 375): 2, (4000, 3000): 8}
"""Tiles a side, by width and height."""


def write_mosaics(source: Path, folder: Path, size: tuple[int, int], count: int) -> None:
    """So many JPEGs in two class folders of ``folder``.

    Every other one lacks a row: images that all have one shape would be kept in memory.
    """
    side = TILES[size]
    tiles = cycle(sorted(path for path in source.rglob("*.jpg")))
    for number in range(count):
        width, height = size[0], size[1] - number % 2
        mosaic = Image.new("RGB", (width, height))
        for row in range(side):
            for column in range(side):
                left, right = width * column // side, width * (column + 1) // side
                top, bottom = height * row // side, height * (row + 1) // side
                with Image.open(next(tiles)) as tile:
                    fitted = tile.convert("RGB").resize((right - left, bottom - top))
                mosaic.paste(fitted, (left, top))
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        mosaic.save(place / f"{number:04}.jpg", quality=90)


def training_split(folder: Path, most: int | None = None) -> Split:
    """The photos in the class folders of a folder, read once, to be decoded in every epoch."""
    paths = sorted(folder.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // most)][:most] if most else paths
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    classes = tuple(sorted({path.parent.name for path in paths}))
    labels = np.array([classes.index(path.parent.name) for path in paths], dtype=np.int64)
    split = Split(FileImages(folder, names), labels, names)
    dataset = Dataset("photos", str(folder), classes, {"train": split})
    return read_images(dataset, seconds=0, memory=0).splits["train"]
