"""What single units of a network see, answer and look for, as pictures."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from resnets.cost import ReceptiveField, measure
from resnets.errors import ConfigError
from resnets.explanation.colours import Picture, diverging, overlay, ramp
from resnets.explanation.explaining import Explainer
from resnets.explanation.maps import exact, find_point, point_shapes
from resnets.explanation.pictures import side_by_side
from resnets.models import Network

MOST = 64
"""Channels that are shown: those with the largest values."""
KERNELS = 16
"""Rows and columns of kernels that are shown of a convolution inside the network."""
TILE, GAP = 48, 3
BOX = (0, 200, 255)
PAPER = 255


@dataclass(frozen=True, slots=True)
class Unit:
    """One place of the map at a point."""

    point: str
    row: int
    column: int


def find_unit(network: Network, image: Tensor, told: str) -> Unit:
    """The unit that ``POINT`` or ``POINT:ROW,COLUMN`` names; without a place, the middle one.

    Args:
        image: (1, C, H, W), any of the size that the network is asked about.

    Raises ``UnknownName`` and ``ConfigError``.
    """
    match = re.fullmatch(r"([^:]+)(?::(\d+),(\d+))?", told)
    if not match:
        raise ConfigError(
            f"{told!r} names no unit", fix="write POINT or POINT:ROW,COLUMN, as in layer3:4,5"
        )
    point = find_point(network, image, match[1])
    _, height, width = point_shapes(network, image)[point]
    if match[2] is None:
        return Unit(point, height // 2, width // 2)
    row, column = int(match[2]), int(match[3])
    if row >= height or column >= width:
        raise ConfigError(
            f"{point} has no unit {row},{column}",
            fix=f"choose a row of 0 to {height - 1} and a column of 0 to {width - 1}",
        )
    return Unit(point, row, column)


def field_of(network: Network, size: tuple[int, int, int], point: str) -> ReceptiveField:
    """The receptive field of the units at a point, for images of (C, H, W)."""
    blocks = [block for block in measure(network, size).blocks if block.point == point]
    return blocks[-1].receptive_field


def box_of(field: ReceptiveField, unit: Unit) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what a unit sees, in pixels; it may reach beyond the image."""
    centres = [
        start + place * stride
        for start, place, stride in zip(
            field.start, (unit.row, unit.column), field.stride, strict=True
        )
    ]
    (top, bottom), (left, right) = (
        (centre - size / 2, centre + size / 2)
        for centre, size in zip(centres, field.size, strict=True)
    )
    return left, top, right, bottom


def influence(network: Network, image: Tensor, unit: Unit) -> NDArray[np.float32]:
    """How much each pixel (H, W) moves a unit: its effective receptive field.

    The absolute gradient of the sum of its channels, summed over the image's
    (arXiv:1701.04128, Section 2).

    Args:
        image: (1, C, H, W), preprocessed.
    """
    image = image.detach().clone().requires_grad_()
    with torch.enable_grad(), exact():
        values = network.features(image, at=[unit.point])[unit.point]
        (gradient,) = torch.autograd.grad(values[0, :, unit.row, unit.column].sum(), image)
    return gradient[0].abs().sum(dim=0).cpu().numpy()


def receptive_field_picture(
    network: Network, seen: Picture, image: Tensor, unit: Unit
) -> Image.Image:
    """The image with the box that a unit can see, beside how much each pixel moves the unit.

    Args:
        seen: (H, W, 3), the image to draw on.
        image: (1, C, H, W), the same preprocessed.
    """
    _, channels, height, width = image.shape
    field = field_of(network, (channels, height, width), unit.point)
    left, top, right, bottom = (round(side) for side in box_of(field, unit))
    factor = max(1, -(-224 // min(height, width)))  # a line of one pixel is too coarse for CIFAR
    boxed = Image.fromarray(seen).resize(
        (width * factor, height * factor), Image.Resampling.NEAREST
    )
    inside = (max(0, left), max(0, top), min(width, right), min(height, bottom))
    corners = [side * factor for side in inside]
    ImageDraw.Draw(boxed).rectangle(
        (corners[0], corners[1], corners[2] - 1, corners[3] - 1), outline=BOX, width=2
    )
    moved = overlay(seen, influence(network, image, unit)).repeat(factor, 0).repeat(factor, 1)
    where = f"{unit.point}, unit {unit.row},{unit.column}"
    size = "x".join(map(str, field.size))
    return side_by_side(
        [
            (np.asarray(boxed), (where, f"can see {size} pixels")),
            (moved, ("what moves it", "its gradient in this image")),
        ]
    )


@torch.no_grad()
def activations_picture(network: Network, image: Tensor, point: str) -> Image.Image:
    """The channels of a map with the largest values, largest first, on one scale.

    Args:
        image: (1, C, H, W), preprocessed.
    """
    with exact():
        maps = network.features(image, at=[point])[point][0].cpu().numpy()
    order = np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:MOST]
    largest = max(float(maps.max()), 1e-12)
    return _grid([ramp(maps[channel] / largest) for channel in order])


def filters_picture(network: Network, image: Tensor, point: str) -> Image.Image:
    """The kernels of the first convolution on the way to a point.

    Those that read the image in its colours, grey at zero; others as rows of outputs and columns
    of inputs, red above and blue below zero. Raises ``ConfigError`` where there is no convolution.
    """
    first = _first_convolution(network, image, point)
    weights = first.weight.detach().cpu().numpy()
    if weights.shape[1] in (1, 3) and first.groups == 1:
        spread = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
        shown = 0.5 + weights / (2 * np.where(spread > 0, spread, 1))
        pictures = np.round(255 * shown.transpose(0, 2, 3, 1)).astype(np.uint8)
        return _grid([np.broadcast_to(each, (*each.shape[:2], 3)) for each in pictures[:MOST]])
    some = weights[:KERNELS, :KERNELS]
    some = some / max(float(np.abs(some).max()), 1e-12)
    return _grid([diverging(kernel) for row in some for kernel in row], columns=some.shape[1])


def _first_convolution(network: Network, image: Tensor, point: str) -> nn.Conv2d:
    """By running it: a point may be a method, and its layers have no order of their own."""
    before = network.points[: network.points.index(point)]
    ran: list[nn.Conv2d] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, nn.Conv2d):
            ran.append(module)

    with torch.no_grad():
        x = image
        for name in before:
            x = getattr(network, name)(x)
        hooks = [module.register_forward_hook(note) for module in network.modules()]
        try:
            getattr(network, point)(x)
        finally:
            for hook in hooks:
                hook.remove()
    if not ran:
        raise ConfigError(
            f"no convolution leads to {point}", fix=f"choose one of {', '.join(network.points)}"
        )
    return ran[0]


def _grid(pictures: list[Picture], columns: int | None = None) -> Image.Image:
    """Small pictures of one size in rows, enlarged by a whole factor to ``TILE`` pixels or more."""
    height, width = pictures[0].shape[:2]
    factor = -(-TILE // max(height, width))
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = -(-len(pictures) // columns)
    down, right = height * factor + GAP, width * factor + GAP
    sheet = np.full((rows * down + GAP, columns * right + GAP, 3), PAPER, np.uint8)
    for number, each in enumerate(pictures):
        top, left = (number // columns) * down + GAP, (number % columns) * right + GAP
        large = each.repeat(factor, 0).repeat(factor, 1)
        sheet[top : top + large.shape[0], left : left + large.shape[1]] = large
    return Image.fromarray(sheet)


class Units:
    """The pictures of units that were asked for."""

    def __init__(
        self,
        explainer: Explainer,
        receptive_field: str | None = None,
        activations: str | None = None,
        filters: str | None = None,
    ) -> None:
        self.explainer = explainer
        self.network = network = explainer.network
        self.blank = blank = explainer.blank()
        self.unit = find_unit(network, blank, receptive_field) if receptive_field else None
        self.activations = find_point(network, blank, activations) if activations else None
        self.filters = find_point(network, blank, filters) if filters else None

    def of_network(self) -> Iterator[tuple[str, Image.Image]]:
        """Kinds and pictures that are the same for every image."""
        if self.filters:
            yield f"filters-{self.filters}", filters_picture(self.network, self.blank, self.filters)

    def of(self, pixels: Picture) -> Iterator[tuple[str, Image.Image]]:
        """Kinds and pictures of one image, (H, W, 3) uint8 RGB."""
        seen, image = self.explainer.batch(pixels)
        if self.unit:
            kind = f"receptive-field-{self.unit.point}-{self.unit.row}-{self.unit.column}"
            yield kind, receptive_field_picture(self.network, seen, image, self.unit)
        if self.activations:
            kind = f"activations-{self.activations}"
            yield kind, activations_picture(self.network, image, self.activations)
