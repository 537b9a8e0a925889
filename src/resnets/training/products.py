"""Wide convolutions of small maps as matrix products, for training in bf16 on a CPU.

oneDNN, which computes torch's convolutions there, brings the weights into an order of its own in
every pass and their gradient out of it. Late in a network, where maps are small and weights many,
that takes as long as the multiplications do. As one matrix product over the pixels with their
neighbourhoods (im2col) nothing is put in order but the few pixels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, FunctionCtx, once_differentiable


class ProductConv2d(nn.Conv2d):
    """A square convolution without groups, dilation and bias; faster where maps are small.

    Anywhere but on a CPU in bf16, and where maps are large, it is ``nn.Conv2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H', W')."""
        if not self._gains(x):
            return super().forward(x)
        weight = self.weight.to(torch.bfloat16)  # as autocast would do
        y: Tensor = Product.apply(
            x.to(torch.bfloat16), weight, self.stride[0], int(self.padding[0])
        )
        return y

    def _gains(self, x: Tensor) -> bool:
        # Measured on ResNet-18 at 96 and ResNet-50 at 224 pixels; see docs/speed.md.
        pixels = len(x) * (x.shape[2] // self.stride[0]) * (x.shape[3] // self.stride[0])
        return (
            pixels <= 2 * max(self.in_channels, self.out_channels)
            and x.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )


def use_products(network: nn.Module) -> None:
    """Make every convolution that can be one a ``ProductConv2d``; weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = ProductConv2d  # what torch's parametrizations do too


def _is_plain(conv: nn.Conv2d) -> bool:
    one_each = (conv.kernel_size, conv.stride, conv.padding)
    return (
        all(not isinstance(pair, str) and pair[0] == pair[1] for pair in one_each)
        and int(conv.padding[0]) < conv.kernel_size[0]
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and conv.padding_mode == "zeros"
    )


class Product(Function):
    """A convolution of (N, C, H, W) with (O, C, k, k) weights, forward and backward."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: FunctionCtx, x: Tensor, weight: Tensor, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding  # type: ignore[attr-defined]
        out_channels, _, size, _ = weight.shape
        height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[2:])
        rows = weight.permute(0, 2, 3, 1).reshape(out_channels, -1)
        y = neighbourhoods(x, size, stride, padding) @ rows.T
        return y.view(len(x), height, width, out_channels).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102
        ctx: Any, slope: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        out_channels, channels, size, _ = weight.shape
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _slope_of_input(slope, x, weight, stride, padding)
        if ctx.needs_input_grad[1]:
            slopes = slope.permute(0, 2, 3, 1).reshape(-1, out_channels)
            product = slopes.T @ neighbourhoods(x, size, stride, padding)
            of_weight = product.view(out_channels, size, size, channels).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None


def neighbourhoods(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """(N, C, H, W) -> (N H' W', k k C): what a k x k convolution reads for each of its outputs."""
    x = x.permute(0, 2, 3, 1)
    if padding:
        x = F.pad(x, (0, 0, padding, padding, padding, padding))
    if size == 1:
        return x[:, ::stride, ::stride].reshape(-1, x.shape[3])
    windows = x.unfold(1, size, stride).unfold(2, size, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, size * size * x.shape[3])


def _slope_of_input(slope: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the input: a convolution of the output's with the weights turned around."""
    if stride > 1:
        found: Tensor = torch.ops.aten.convolution_backward(
            *(slope, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1),
            [True, False, False],
        )[0]
        return found
    channels, size = weight.shape[1:3]
    turned = weight.permute(2, 3, 0, 1).flip(0, 1).reshape(-1, channels)
    of_x = neighbourhoods(slope, size, 1, size - 1 - padding) @ turned
    return of_x.view(len(x), *x.shape[2:], channels).permute(0, 3, 1, 2)
