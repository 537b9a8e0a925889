"""``Preprocess`` as arithmetic: from upright images to the network's input.

    images (N, H, W, C) -> to_pixels: grey, resize, crop, clamp -> normalise: mean, std, mean image

Resizing is two matrix products in float32, one along the height and one along the width, so that
training, evaluation, serving and exported models can all do the very same thing.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.config import Interpolation, Preprocess
from resnets.decoding import Box
from resnets.errors import ConfigError

LUMA = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in grey (ITU-R BT.601)."""

_BAND = 16
"""Rows of a resize matrix that are multiplied together: they touch only a band of the image."""


class _Side(NamedTuple):
    """One side of an image: ``size_out`` samples of ``[start, start + length)``, all in pixels."""

    size_in: int
    size_out: int
    start: float
    length: float
    interpolation: Interpolation

    @property
    def unchanged(self) -> bool:
        return self.size_in == self.size_out == self.length and self.start == 0


class _Band(NamedTuple):
    """``weights`` (rows, width): the part of a resize matrix from column ``first`` on."""

    first: int
    weights: Tensor


def resize_weights(
    size_in: int,
    size_out: int,
    *,
    start: float = 0.0,
    length: float | None = None,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """The matrix (size_out, size_in), float32, that resizes ``[start, start + length)`` of a side.

    Antialiased: pixel centres at halves, the kernel widened by the scale when shrinking, rows that
    sum to one, at the border too. The kernel is a triangle or the cubic with a = -0.5 of Keys,
    "Cubic convolution interpolation for digital image processing" (1981), as in Pillow.
    """
    length = size_in - start if length is None else length
    return _matrix(_Side(size_in, size_out, start, length, interpolation))


def geometry(height: int, width: int, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """Resize and crop of a (height, width) image as matrices: rows (out_h, H), columns (out_w, W).

    The resized image is ``rows @ channel @ columns.T``; identities where nothing changes.
    """
    rows, columns = _sides(height, width, preprocess)
    return _matrix(rows), _matrix(columns)


def seen_part(height: int, width: int, preprocess: Preprocess) -> Box:
    """What the network sees of a (height, width) image: left, top, right, bottom in its pixels."""
    rows, columns = _sides(height, width, preprocess)
    right, bottom = columns.start + columns.length, rows.start + rows.length
    return columns.start, rows.start, right, bottom


def to_pixels(images: Tensor, preprocess: Preprocess) -> Tensor:
    """(N, H, W, C) images, C 1 or 3, as (N, C', H', W') float32 in 0..255, not rounded.

    Colour becomes grey before the resize and grey becomes colour after it; what a cubic kernel
    throws beyond 0..255 is clamped. Without resize and crop the values stay as they are.
    """
    rows, columns = _sides(images.shape[1], images.shape[2], preprocess)
    channels = preprocess.input_size[0]
    with torch.autocast(images.device.type, enabled=False):  # it would multiply in bfloat16
        if channels == 1 and images.shape[3] == 3:
            images = images.float() @ images.new_tensor(LUMA, dtype=torch.float32)[:, None]
        if not (rows.unchanged and columns.unchanged):
            images = _resized(images, rows, columns)
    pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if images.dtype != torch.uint8:
        pixels = pixels.clamp(0, 255)
    return pixels if pixels.shape[1] == channels else pixels.repeat(1, channels, 1, 1)


def normalise(pixels: Tensor, preprocess: Preprocess, mean_image: Tensor | None = None) -> Tensor:
    """The network's input: (N, C, H, W) pixels / 255, minus mean, over std, minus ``mean_image``.

    Raises ``ConfigError`` where the preprocessing has a mean image and none is given.
    """
    if preprocess.mean_image and mean_image is None:
        raise ConfigError(
            "this preprocessing subtracts a mean image and none was given",
            fix="pass mean_image, the tensor preprocess.mean_image of the sealed model",
        )
    mean = pixels.new_tensor(preprocess.mean)[:, None, None]
    std = pixels.new_tensor(preprocess.std)[:, None, None]
    batch = (pixels / 255).sub_(mean).div_(std)
    return batch if mean_image is None else batch.sub_(mean_image.to(batch))


def preprocess_image(
    image: NDArray[np.uint8], preprocess: Preprocess, mean_image: Tensor | None = None
) -> Tensor:
    """(C, H, W) network input of one (H, W, C) uint8 image: ``to_pixels``, then ``normalise``."""
    batch = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None]
    return normalise(to_pixels(batch, preprocess), preprocess, mean_image)[0]


@lru_cache(maxsize=4096)
def _sides(height: int, width: int, preprocess: Preprocess) -> tuple[_Side, _Side]:
    """Where the input's rows and columns lie in the image."""
    _, out_height, out_width = preprocess.input_size
    tall, wide = round(out_height / preprocess.crop_pct), round(out_width / preprocess.crop_pct)
    if preprocess.crop_mode == "center":  # cover (tall, wide), keeping the image's shape
        if tall * width >= wide * height:
            wide = tall * width // height
        else:
            tall = wide * height // width
    return (
        _side(height, tall, out_height, preprocess.interpolation),
        _side(width, wide, out_width, preprocess.interpolation),
    )


def _side(size: int, resized: int, crop: int, interpolation: Interpolation) -> _Side:
    """The middle ``crop`` pixels of a side that is resized from ``size`` to ``resized``."""
    offset = round((resized - crop) / 2)  # as torchvision's center_crop
    scale = size / resized
    return _Side(size, crop, offset * scale, crop * scale, interpolation)


def _resized(images: Tensor, rows: _Side, columns: _Side) -> Tensor:
    """(N, H, W, C) -> (N, out_h, out_w, C) float32; columns that no sample needs are left out."""
    high, wide = _bands(rows), _bands(columns)
    first, end = wide[0].first, wide[-1].first + wide[-1].weights.shape[1]
    wide = tuple(band._replace(first=band.first - first) for band in wide)
    images = images[:, :, first:end]
    if rows.size_in < rows.size_out:  # what enlarges comes last: there is less to multiply
        return _product(high, _product(wide, images.transpose(1, 2)).transpose(1, 2))
    return _product(wide, _product(high, images).transpose(1, 2)).transpose(1, 2)


def _product(bands: tuple[_Band, ...], images: Tensor) -> Tensor:
    """The resize matrix times (N, size_in, B, C) images: (N, size_out, B, C)."""
    count, _, breadth, channels = images.shape
    parts = []
    for first, weights in bands:
        band = images[:, first : first + weights.shape[1]].float().flatten(2)
        parts.append(weights.to(band.device) @ band)
    return torch.cat(parts, dim=1).view(count, -1, breadth, channels)


@lru_cache(maxsize=256)
def _bands(side: _Side) -> tuple[_Band, ...]:
    """A resize matrix without most of its zeros."""
    scale = side.length / side.size_out
    stretch = max(scale, 1.0)
    kernel, support = (_triangle, 1.0) if side.interpolation == "bilinear" else (_keys, 2.0)
    bands = []
    step = max(1, min(_BAND, 2**14 // int(stretch)))  # fewer rows where a side is extremely long
    for row in range(0, side.size_out, step):
        centres = side.start + (np.arange(row, min(row + step, side.size_out)) + 0.5) * scale
        first = max(0, int(centres[0] - support * stretch))
        end = min(side.size_in, int(centres[-1] + support * stretch) + 1)
        weights = kernel(np.abs(np.arange(first, end) + 0.5 - centres[:, None]) / stretch)
        weights /= weights.sum(axis=1, keepdims=True)
        with torch.inference_mode(False):  # cached, and a later caller may need gradients
            bands.append(_Band(first, torch.from_numpy(weights.astype(np.float32))))
    return tuple(bands)


@lru_cache(maxsize=16)
def _matrix(side: _Side) -> Tensor:
    with torch.inference_mode(False):
        matrix = torch.zeros(side.size_out, side.size_in, dtype=torch.float32, device="cpu")
        row = 0
        for first, weights in _bands(side):
            matrix[row : row + len(weights), first : first + weights.shape[1]] = weights
            row += len(weights)
    return matrix


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - distance, 0)


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))
