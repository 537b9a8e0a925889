"""Small sets of pictures that look like photos, into which faults are planted."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

OLD = 1_500_000_000
"""A modification time of long ago: files changed just now are read twice."""
PER_CLASS = {"train": 12, "val": 4, "test": 4}
LABELS = ("cat", "dog")


def photo(seed: int, size: tuple[int, int] = (72, 64)) -> Image.Image:
    """Soft blobs with some detail: like no other seed's."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    return blobs.resize(size, Image.Resampling.BICUBIC)


def bytes_of(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 90} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (OLD, OLD))
    return path


def clean(root: Path, *, first_seed: int = 0, splits: bool = True) -> Path:
    """A folder of 40 different JPEG photos, in which nothing is the matter."""
    seed = first_seed
    for part, count in PER_CLASS.items():
        for label in LABELS:
            for _ in range(count):
                place = root / part / label if splits else root / label
                put(place / f"{seed}.jpg", bytes_of(photo(seed)))
                seed += 1
    return root
