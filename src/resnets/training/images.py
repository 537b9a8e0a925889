"""What training images are like: their size, their mean and spread, their pixels."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from resnets.config import Preprocess, TrainConfig
from resnets.data.sources import ArrayImages, FileImages, Split
from resnets.data.transforms import to_pixels
from resnets.decoding import read_header

MEASURED = 1_000
"""Images of many shapes of which mean and std are measured."""


def mean_image_of(split: Split, preprocess: Preprocess) -> Tensor:
    """The per-pixel mean of preprocessed training images, (C, H, W) (He et al., Section 4.2)."""
    plain = dataclasses.replace(preprocess, mean_image=False)
    channels, height, width = preprocess.input_size
    total = torch.zeros(channels, height, width, dtype=torch.float64)
    mean = torch.tensor(preprocess.mean)[:, None, None]
    std = torch.tensor(preprocess.std)[:, None, None]
    for pixels in pixels_of(split, plain, most=len(split)):
        total += ((pixels.double() / 255 - mean) / std).sum(0)
    return (total / len(split)).float()


def typical_side(split: Split) -> int:
    """The median over the images of the longer side, in pixels (at most 1,000 are looked at)."""
    if isinstance(split.images, ArrayImages):
        return max(split.images.array.shape[1:3])
    chosen = spread(len(split), MEASURED)
    return int(np.median([max(_shape(split, int(index))) for index in chosen]))


def is_grey(split: Split) -> bool:
    """Whether the images have one channel in memory."""
    return isinstance(split.images, ArrayImages) and split.images.array.shape[3] == 1


def statistics_of(
    config: TrainConfig, train: Split, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in [0, 1], of the preprocessed images."""
    assert config.image_size  # noqa: S101
    plain = Preprocess(
        input_size=(channels, config.image_size, config.image_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    values, total, squares = 0, torch.zeros(channels).double(), torch.zeros(channels).double()
    for pixels in pixels_of(train, plain, most=MEASURED):
        shares = pixels.double() / 255
        values += shares.numel() // channels
        total += shares.sum((0, 2, 3))
        squares += (shares**2).sum((0, 2, 3))
    mean = total / values
    std = (squares / values - mean**2).clamp_min(1e-6).sqrt()
    return tuple(round(one, 4) for one in mean.tolist()), tuple(
        round(one, 4) for one in std.tolist()
    )


def pixels_of(split: Split, preprocess: Preprocess, *, most: int) -> Iterator[Tensor]:
    """Preprocessed pixels in batches: of a split in memory all, else of at most ``most`` images."""
    if isinstance(split.images, ArrayImages):
        for start in range(0, len(split), 1_000):
            part = torch.from_numpy(split.images.array[start : start + 1_000])
            yield to_pixels(part, preprocess)
        return
    for index in spread(len(split), most):
        yield to_pixels(torch.from_numpy(split.images[int(index)])[None], preprocess)


def spread(count: int, most: int) -> np.ndarray:
    """At most so many places of ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _shape(split: Split, index: int) -> tuple[int, int]:
    if isinstance(split.images, FileImages):
        header = read_header(split.images.root / split.images.paths[index])
        return header.height, header.width
    image = split.images[index]
    return image.shape[0], image.shape[1]
