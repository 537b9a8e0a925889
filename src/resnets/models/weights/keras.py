"""Weights of Keras's own ResNets -> ours, exactly.

``keras.applications`` has ResNet50/101/152, the paper's v1, whose convolutions have biases, and
their V2. Two things of theirs are taken up by our batch norms: the biases before them, and an
epsilon of 1.001e-5 where ours is 1e-5.
"""

import re

import torch
from torch import Tensor

from resnets.errors import ModelFileError

EPSILON_AND_A_BIT = 1.001e-5 - 1e-5
"""What Keras adds to a variance beyond what we add."""
DEPTHS = {6: 50, 23: 101, 36: 152}
"""Blocks of the stage conv4 -> the network's number."""
NAMES = "conv2_block1_1_conv, conv2_block1_1_bn"
SHORTCUT = "0"
NORM = {"gamma", "beta", "moving_mean", "moving_variance"}


def is_keras(tensors: dict[str, Tensor]) -> bool:
    """Whether these are a Keras model's variables."""
    return any(name.endswith((".kernel", ".moving_variance")) for name in tensors)


def from_keras(variables: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Tensors by our names, and our network's name, of ``layer.variable`` tensors of Keras.

    Kernels are (height, width, in, out) for convolutions and (in, out) for dense layers. Raises
    ``ModelFileError`` for layers that Keras's ResNets do not have.
    """
    v2 = "post_bn.gamma" in variables
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in variables.items():
        layer, _, variable = name.rpartition(".")
        layers.setdefault(layer, {})[variable] = tensor
    tensors: dict[str, Tensor] = {}
    for layer, held in layers.items():
        dense = "kernel" in held and held["kernel"].ndim == 2
        ours = "fc" if dense else _ours(layer, v2=v2)
        whole = held.keys() in ({"kernel"}, {"kernel", "bias"}, NORM)
        if ours is None or f"{ours}.weight" in tensors or not whole:
            raise ModelFileError(
                f"the layer {layer!r} is none of a Keras ResNet with one dense layer behind it",
                fix=f"import a ResNet of keras.applications, whose layers are called {NAMES}, ...",
            )
        if "kernel" in held:
            order = (1, 0) if dense else (3, 2, 0, 1)
            tensors[f"{ours}.weight"] = held["kernel"].permute(order).contiguous()
            if "bias" in held and (dense or v2):
                tensors[f"{ours}.bias"] = held["bias"]
        else:
            before = layers.get(layer.removesuffix("_bn") + "_conv", {}) if not v2 else {}
            tensors |= {f"{ours}.{key}": value for key, value in _norm(held, before).items()}
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("layer3.")})
    depth = DEPTHS.get(blocks, blocks)
    return tensors, f"keras_resnet{depth}v2" if v2 else f"resnet{depth}_v1"


def _norm(held: dict[str, Tensor], before: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our batch norm that equals Keras's behind the bias of the convolution before it."""
    mean, variance = held["moving_mean"].double(), held["moving_variance"].double()
    bias = before.get("bias", torch.zeros(1)).double()
    dtype = held["gamma"].dtype
    return {
        "weight": held["gamma"],
        "bias": held["beta"],
        "running_mean": (mean - bias).to(dtype),
        "running_var": (variance + EPSILON_AND_A_BIT).to(dtype),
    }


def _ours(layer: str, *, v2: bool) -> str | None:
    """Our name for a layer of Keras's, where it is one."""
    stem = {"conv1_conv": "conv1", "conv1_bn": "bn1", "post_bn": "norm"}
    match = re.fullmatch(r"conv([2-5])_block(\d+)_(preact|\d)_(conv|bn)", layer)
    if match is None:
        return stem.get(layer)
    stage, block, place, kind = match.groups()
    home = f"layer{int(stage) - 1}.{int(block) - 1}"
    if place == SHORTCUT:
        return f"{home}.downsample.{0 if kind == 'conv' else 1}"
    if kind == "bn" and v2:  # a norm comes before its convolution, and the first is "preact"
        return f"{home}.bn{1 if place == 'preact' else int(place) + 1}"
    return f"{home}.{kind}{place}"
