"""What multiplies: the operations whose multiply-adds are counted, and the sight of all others."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from resnets.cost.fields import aten
from resnets.errors import ConfigError

COUNTED = {
    aten.convolution,
    aten.mm,
    aten.bmm,
    aten.mv,
    aten.dot,
    aten.addmm,
    aten.baddbmm,
    aten.addmv,
}
"""Convolutions and products of matrices."""
WITHOUT_PRODUCTS = {
    aten.cat,
    aten.stack,
    aten.copy_,
    aten.native_layer_norm,
    aten.native_group_norm,
    aten.native_batch_norm,
    aten._native_batch_norm_legit_no_training,
}
"""What else may take a matrix of weights and a map: it puts them together, or scales and shifts."""


def multiply_adds(operation: Any, args: tuple[Any, ...], output: Any) -> int:
    """Of a convolution or a product of matrices or vectors; 0 for every other operation."""
    if operation is aten.convolution:
        x, weight, transposed = args[0], args[1], args[6]
        return (x if transposed else output).numel() * math.prod(weight.shape[1:])
    if operation in COUNTED:
        first = args[1 if "add" in str(operation) else 0]
        return output.numel() * first.shape[-1]
    return 0


def check_counted(operation: Any, given: Sequence[Tensor], layer: str) -> None:
    """Raise ``ConfigError`` for a product of weights with a map that would count as nothing.

    Args:
        operation: one of ``torch.ops.aten`` that reads something of the image.
        given: its tensors.
        layer: who asks for it.
    """
    kind = operation.overloadpacket
    if kind in COUNTED or kind in WITHOUT_PRODUCTS or torch.Tag.pointwise in operation.tags:
        return
    if any(isinstance(each, nn.Parameter) and each.dim() > 1 for each in given):
        raise ConfigError(
            f"{layer} calls {kind}, and how often that uses its weights is not known",
            fix="leave that layer out, or write it with convolutions and matrix products",
        )


@contextmanager
def unfused() -> Iterator[None]:
    """Let attention and recurrent layers run as the matrix products that they are.

    torch has one operation for a whole such layer, on the CPU and on a GPU each its own.
    """
    mha = torch.backends.mha
    mkldnn: Any = torch.backends.mkldnn  # whose switches are declared as what makes them
    cudnn: Any = torch.backends.cudnn
    before = mha.get_fastpath_enabled(), mkldnn.enabled, cudnn.enabled
    mha.set_fastpath_enabled(False)
    mkldnn.enabled = cudnn.enabled = False  # torch's own contexts for them change precisions too
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before[0])
        mkldnn.enabled, cudnn.enabled = before[1:]
