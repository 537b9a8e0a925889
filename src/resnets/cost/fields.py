"""The receptive field: the pixels of an image that one unit of a map can see.

A window of k units, d apart, moving by s, turns a field of ``size`` that moves by ``stride`` into
one of size + (k - 1) * d * stride that moves by stride * s. Where branches meet, a unit sees what
any of them sees. A field of stride 0 is the whole image, and stays so under any window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

Pair = tuple[int, int]
"""Along the height and along the width."""

aten = torch.ops.aten
VIEWS = {
    aten.view,
    aten._unsafe_view,
    aten.permute,
    aten.transpose,
    aten.t,
    aten.unsqueeze,
    aten.squeeze,
    aten.clone,
}
"""The same values in another order: each is of the pixels it was of."""
MIXERS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.native_group_norm}
"""Every value that comes out is of all that go in, though the shape may stay."""


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What the units of a map see, in pixels along (height, width).

    Padding counts as pixels, so a field may be larger than the image.
    """

    size: Pair
    """Sides of the box around all pixels that a unit sees."""
    stride: Pair
    """Pixels from one unit's box to the next one's; 0 where every unit sees the whole image."""
    start: tuple[float, float]
    """Centre of the first unit's box; the centre of the image's first pixel is at 0.5."""

    @classmethod
    def pixel(cls) -> Self:
        """Of the image itself."""
        return cls((1, 1), (1, 1), (0.5, 0.5))

    @classmethod
    def whole(cls, height: int, width: int) -> Self:
        """Of units that each see all of an image."""
        return cls((height, width), (0, 0), (height / 2, width / 2))

    def under(self, window: "Window") -> "ReceptiveField":
        """Of the units that a moving window over this map makes."""
        axes = [
            (
                size + (kernel - 1) * dilation * stride,
                stride * step,
                start + ((kernel - 1) * dilation / 2 - padding) * stride,
            )
            for size, stride, start, kernel, step, padding, dilation in zip(
                self.size,
                self.stride,
                self.start,
                window.kernel,
                window.stride,
                window.padding,
                window.dilation,
                strict=True,
            )
        ]
        (high, wide), (down, right), (top, left) = zip(*axes, strict=True)
        return ReceptiveField((high, wide), (down, right), (top, left))


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A convolution's or a pool's window, along the height and along the width."""

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    """Before the first unit; what is behind the last one moves nothing."""
    dilation: Pair = (1, 1)


def field_after(
    operation: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    maps: Sequence[Tensor],
    fields: Sequence[ReceptiveField],
    output: Tensor,
    whole: ReceptiveField,
) -> ReceptiveField:
    """What an operation's output sees; the whole image where that cannot be told more closely.

    Args:
        operation: one of ``torch.ops.aten``, called with ``args`` and ``kwargs``.
        maps: those of the arguments that depend on the image, with what they see as ``fields``.
    """
    kind = operation.overloadpacket
    if kind in VIEWS:
        return union(fields, whole)
    if kind in MIXERS:
        return whole
    if kind in WINDOWS:
        window = WINDOWS[kind](_by_name(operation, args, kwargs), maps[0])
        return union(fields, whole).under(window) if window else whole
    sides = output.shape[-2:]
    alike = any(each.shape[-2:] == sides for each in maps)
    return union(fields, whole) if alike else whole


def union(fields: Sequence[ReceptiveField], whole: ReceptiveField) -> ReceptiveField:
    """What a unit sees where branches meet."""
    if len({field.stride for field in fields}) > 1:
        return whole  # a map beside the mean of one, as in squeeze and excitation
    axes = []
    for axis in (0, 1):
        low = min(field.start[axis] - field.size[axis] / 2 for field in fields)
        high = max(field.start[axis] + field.size[axis] / 2 for field in fields)
        axes.append((int(high - low), (low + high) / 2))
    (high, top), (wide, left) = axes
    return ReceptiveField((high, wide), fields[0].stride, (top, left))


def _convolution(given: dict[str, Any], x: Tensor) -> Window | None:
    if x.dim() != 4 or given["transposed"]:
        return None
    return Window(
        kernel=_pair(given["weight"].shape[2:]),
        stride=_pair(given["stride"]),
        padding=_pair(given["padding"]),
        dilation=_pair(given["dilation"]),
    )


def _pool(given: dict[str, Any], x: Tensor) -> Window:
    return Window(
        kernel=_pair(given["kernel_size"]),
        stride=_pair(given["stride"] or given["kernel_size"]),
        padding=_pair(given["padding"]),
        dilation=_pair(given.get("dilation", 1)),
    )


def _pad(given: dict[str, Any], x: Tensor) -> Window:
    left, _, top, _ = [*given["pad"], 0, 0][:4]  # told from the last dimension on
    return Window(padding=(top, left))


def _slice(given: dict[str, Any], x: Tensor) -> Window:
    """``x[..., first::step]``, a window of one unit that begins later."""
    axis = given["dim"] % x.dim() - (x.dim() - 2)  # 0 is the height, 1 the width
    first, step = given["start"] or 0, given["step"]
    first += x.shape[given["dim"]] if first < 0 else 0
    if axis == 0:
        return Window(stride=(step, 1), padding=(-first, 0))
    if axis == 1:
        return Window(stride=(1, step), padding=(0, -first))
    return Window()


WINDOWS: dict[Any, Callable[[dict[str, Any], Tensor], Window | None]] = {
    aten.convolution: _convolution,
    aten.max_pool2d_with_indices: _pool,
    aten.avg_pool2d: _pool,
    aten.constant_pad_nd: _pad,
    aten.slice: _slice,
}
"""What moves a window over the last two dimensions, from its arguments by name and the map."""


def _by_name(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments, those left out as well."""
    declared = operation._schema.arguments
    defaults = {each.name: each.default_value for each in declared if each.has_default_value()}
    given = {each.name: value for each, value in zip(declared, args, strict=False)}
    return defaults | given | kwargs


def _pair(value: int | Sequence[int]) -> Pair:
    if isinstance(value, int):
        return value, value
    return value[0], value[-1]
