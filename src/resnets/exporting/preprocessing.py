"""``Preprocess`` as nodes of an ONNX graph, so that no program has to write it again.

The arithmetic is that of ``resnets.data.transforms``: (height, width, 3) uint8 of any size,
resized by one matrix product along each side, their weights computed from the image's shape.
OpenVINO ignores ``antialias`` of ONNX's own ``Resize``.

Distances between pixel centres are differences of whole numbers until the last division, so that
float32 weights are as good as float64 ones, and so is a runtime that has no float64.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resnets.config import Preprocess
from resnets.data.transforms import LUMA
from resnets.errors import require

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

SUPPORT = {"bilinear": 1, "bicubic": 2}
"""How far the kernel reaches, in pixels of the coarser grid."""


class Nodes:
    """Nodes and constants of a graph as they are written down, one operation after the other."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._helper = require("onnx.helper", extra="onnx")
        self._numpy = require("onnx.numpy_helper", extra="onnx")

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One operation; returns what its output is called."""
        name = name or f"{self.prefix}/{kind.lower()}_{len(self.nodes)}"
        node = self._helper.make_node(kind, list(inputs), [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def constant(self, values: Any, kind: type = np.float32) -> str:
        """A constant; returns its name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(self._numpy.from_array(np.asarray(values, kind), name))
        return name

    def whole(self, *values: int) -> str:
        """An int64 constant, a vector."""
        return self.constant(values, np.int64)


def add_preprocessing(
    nodes: Nodes, image: str, preprocess: Preprocess, mean_image: np.ndarray | None, *, out: str
) -> None:
    """Lead ``image``, (height, width, 3) uint8, to ``out``, (1, channels, height, width) float32.

    Args:
        mean_image: (channels, height, width), where ``preprocess`` subtracts one.
    """
    channels, high, wide = preprocess.input_size
    shape = nodes.add("Shape", image)
    height = nodes.add("Slice", shape, nodes.whole(0), nodes.whole(1))
    width = nodes.add("Slice", shape, nodes.whole(1), nodes.whole(2))
    tall, broad = _resized(nodes, height, width, preprocess)
    rows, top, bottom = _weights(nodes, height, tall, high, preprocess)
    columns, left, right = _weights(nodes, width, broad, wide, preprocess)

    starts, ends = (
        nodes.add("Concat", top, left, axis=0),
        nodes.add("Concat", bottom, right, axis=0),
    )
    pixels = nodes.add("Slice", image, starts, ends, nodes.whole(0, 1))
    pixels = nodes.add("Cast", pixels, to=1)
    if channels == 1:
        pixels = nodes.add("MatMul", pixels, nodes.constant(np.array(LUMA)[:, None]))
    breadth = nodes.add("Sub", right, left)
    flat = nodes.add(
        "Reshape",
        pixels,
        nodes.add("Concat", nodes.add("Sub", bottom, top), nodes.whole(-1), axis=0),
    )
    pixels = nodes.add("MatMul", rows, flat)
    depth = nodes.add("Concat", nodes.whole(high), breadth, nodes.whole(channels), axis=0)
    pixels = nodes.add("Transpose", nodes.add("Reshape", pixels, depth), perm=[2, 0, 1])
    pixels = nodes.add("MatMul", pixels, nodes.add("Transpose", columns, perm=[1, 0]))
    pixels = nodes.add("Clip", pixels, nodes.constant(0), nodes.constant(255))

    scaled = nodes.add("Div", pixels, nodes.constant(255))
    centred = nodes.add("Sub", scaled, nodes.constant(_column(preprocess.mean)))
    batch = nodes.add("Div", centred, nodes.constant(_column(preprocess.std)))
    if mean_image is not None:
        batch = nodes.add("Sub", batch, nodes.constant(mean_image))
    nodes.add("Unsqueeze", batch, nodes.whole(0), name=out)


def _resized(nodes: Nodes, height: str, width: str, preprocess: Preprocess) -> tuple[str, str]:
    """Height and width of the resized image that the input is cut out of, (1,) int64 each."""
    sides = [round(side / preprocess.crop_pct) for side in preprocess.input_size[1:]]
    tall, broad = nodes.whole(sides[0]), nodes.whole(sides[1])
    if preprocess.crop_mode == "squash":
        return tall, broad
    across, down = nodes.add("Mul", tall, width), nodes.add("Mul", broad, height)
    lying = nodes.add("GreaterOrEqual", across, down)
    return (
        nodes.add("Where", lying, tall, nodes.add("Div", down, width)),
        nodes.add("Where", lying, nodes.add("Div", across, height), broad),
    )


def _weights(
    nodes: Nodes, size: str, resized: str, crop: int, preprocess: Preprocess
) -> tuple[str, str, str]:
    """The resize matrix of one side, and the pixels [first, end) that its columns stand for.

    Pixel j of the image and sample i of the crop are (2j + 1) / 2 and (2 (i + offset) + 1) / 2 *
    size / resized pixels from the border. Their distance times 2 * resized is whole.
    """
    support = SUPPORT[preprocess.interpolation]
    two = nodes.whole(2)
    # round halves to even, as Python does
    spare = nodes.add("Cast", nodes.add("Sub", resized, nodes.whole(crop)), to=1)
    offset = nodes.add(
        "Cast", nodes.add("Round", nodes.add("Div", spare, nodes.constant([2]))), to=7
    )
    once = nodes.add("Mul", two, resized)
    reach = nodes.add("Max", size, resized)  # 2 * resized times the scale where it shrinks

    def sample(index: str) -> str:
        """2 * resized times the place of a sample."""
        odd = nodes.add(
            "Add", nodes.add("Mul", two, nodes.add("Add", index, offset)), nodes.whole(1)
        )
        return nodes.add("Mul", odd, size)

    around = nodes.add("Mul", nodes.whole(2 * support), reach)
    low = nodes.add("Div", nodes.add("Sub", sample(nodes.whole(0)), around), once)
    high = nodes.add("Div", nodes.add("Add", sample(nodes.whole(crop - 1)), around), once)
    # one more on either side: the division cuts, and some runtimes divide in float32
    first = nodes.add("Max", nodes.add("Sub", low, nodes.whole(1)), nodes.whole(0))
    end = nodes.add("Min", nodes.add("Add", high, two), size)

    zero, one = nodes.constant(0, np.int64), nodes.constant(1, np.int64)
    here = nodes.add("Range", nodes.add("Squeeze", first), nodes.add("Squeeze", end), one)
    there = nodes.add("Range", zero, nodes.constant(crop, np.int64), one)
    pixel = nodes.add("Mul", nodes.add("Add", nodes.add("Mul", two, here), nodes.whole(1)), resized)
    apart = nodes.add("Sub", pixel, nodes.add("Unsqueeze", sample(there), nodes.whole(1)))
    span = nodes.add("Cast", nodes.add("Mul", two, reach), to=1)
    distance = nodes.add("Div", nodes.add("Abs", nodes.add("Cast", apart, to=1)), span)
    weights = (_triangle if support == 1 else _keys)(nodes, distance)
    total = nodes.add("ReduceSum", weights, nodes.whole(1), keepdims=1)
    return nodes.add("Div", weights, total), first, end


def _triangle(nodes: Nodes, distance: str) -> str:
    return nodes.add("Relu", nodes.add("Sub", nodes.constant(1), distance))


def _keys(nodes: Nodes, distance: str) -> str:
    """The cubic kernel with a = -0.5, Horner's way: |d| < 1, |d| < 2, beyond."""
    near = _polynomial(nodes, distance, (1.5, -2.5, 0, 1))
    far = _polynomial(nodes, distance, (-0.5, 2.5, -4, 2))
    beyond = nodes.add(
        "Where", nodes.add("Less", distance, nodes.constant(2)), far, nodes.constant(0)
    )
    return nodes.add("Where", nodes.add("Less", distance, nodes.constant(1)), near, beyond)


def _polynomial(nodes: Nodes, x: str, coefficients: Sequence[float]) -> str:
    value = nodes.constant(coefficients[0])
    for coefficient in coefficients[1:]:
        value = nodes.add("Add", nodes.add("Mul", value, x), nodes.constant(coefficient))
    return value


def _column(values: tuple[float, ...]) -> np.ndarray:
    return np.array(values)[:, None, None]
