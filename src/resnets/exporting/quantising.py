"""Weights in fewer bits: bf16 by rounding, int8 with the ranges that training images show."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resnets.engines import BATCH, LOGITS
from resnets.errors import require
from resnets.exporting.network import quietly

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

TYPICAL = 0.9
"""The share of images that tell the ranges of int8; see ``typical``."""
WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operations whose second input may be weights."""


def quantise(
    network: "ModelProto", batches: Iterable[np.ndarray], *, first_layer: bool
) -> "ModelProto":
    """A network in int8: weights per output channel, maps by the range that these batches show.

    Static quantisation with scale and zero point (arXiv:1712.05877, Section 2), written as pairs
    of QuantizeLinear and DequantizeLinear: whoever runs it chooses the kernels. Maps are unsigned,
    which is what the dot products of x86 processors multiply with signed weights.

    Args:
        batches: (N, C, h, w) float32, preprocessed images such as the network was trained on.
        first_layer: whether the convolution that reads the image is quantised too.
    """
    quantization = require("onnxruntime.quantization", extra="onnx")
    onnx = require("onnx", extra="onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {BATCH: batch}

    with tempfile.TemporaryDirectory() as folder, quietly():
        float32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(network, float32)
        quantization.quantize_static(
            float32,
            int8,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[] if first_layer else _readers(network.graph, BATCH),
        )
        return onnx.load(int8)


@torch.no_grad()
def typical(network: nn.Module, images: Tensor, at_once: int) -> Tensor:
    """The images, in order, without the tenth that drive some layer's map the furthest.

    A network may answer one image in thirty with maps a thousand times larger than any other. A
    range that holds those leaves its 256 steps to them. What lies beyond a range is clamped.

    Args:
        images: (N, C, h, w), preprocessed.
    """
    peaks: list[Tensor] = []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        peaks.append(output.abs().flatten(1).amax(1))

    with contextlib.ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                hooks.callback(module.register_forward_hook(note).remove)
        rows = []
        for batch in images.split(at_once):
            peaks.clear()
            network(batch)
            rows.append(torch.stack(peaks, 1))
    peak = torch.cat(rows)
    furthest = (peak / peak.median(dim=0).values.clamp_min(1e-12)).amax(dim=1)
    kept = furthest.argsort()[: max(1, round(TYPICAL * len(images)))]
    return images[kept.sort().values]


def halve(network: "ModelProto") -> "ModelProto":
    """A network whose weights are kept as bf16, half the size, and cast before they are used.

    Those of the head stay float32, as everywhere (``docs/decisions/0009-numerics.md``).
    """
    onnx = require("onnx", extra="onnx")
    halved = onnx.ModelProto()
    halved.CopyFrom(network)
    graph = halved.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    casts: list[NodeProto] = []
    for name in sorted(set(_weights(graph)) & tensors.keys()):
        values = onnx.numpy_helper.to_array(tensors[name])
        bits = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy()
        kept = f"{name}.bf16"
        rounded = onnx.helper.make_tensor(
            kept, onnx.TensorProto.BFLOAT16, values.shape, bits.tobytes(), raw=True
        )
        tensors[name].CopyFrom(rounded)
        casts.append(onnx.helper.make_node("Cast", [kept], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved


def _weights(graph: Any) -> Iterator[str]:
    """The second inputs of the weighted operations that are not the head's."""
    for node in graph.node:
        if node.op_type in WEIGHTED and LOGITS not in node.output:
            yield node.input[1]


def _readers(graph: Any, value: str) -> list[str]:
    return [node.name for node in graph.node if value in node.input]
