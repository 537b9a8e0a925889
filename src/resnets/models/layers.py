"""The layers that stems, shortcuts and blocks are made of. Shapes: N images, C channels, H x W."""

import math

import torch
from torch import Tensor, nn

from resnets.models.specs.residual import ResNetSpec

GROUPS = 32
"""Of group norm (arXiv:1803.08494, Section 3.1)."""


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        3,
        stride=stride,
        padding=dilation,
        groups=groups,
        dilation=dilation,
        bias=False,
    )


def conv1x1(
    in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias)


def norm(spec: ResNetSpec, channels: int) -> nn.Module:
    """The row's normalisation; group norm has fewer groups where 32 do not divide the channels."""
    if callable(spec.norm_layer):
        return spec.norm_layer(channels)
    if spec.norm_layer == "group":
        return nn.GroupNorm(math.gcd(GROUPS, channels), channels)
    return nn.BatchNorm2d(channels)


def response_norm() -> nn.Module:
    """x / (2 + 1e-4 * sum of squares of five neighbouring channels)^0.75 (AlexNet, Section 3.3)."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)  # torch divides the sum by five


class SqueezeExcitation(nn.Module):
    """Each channel times a weight read from all channels' means (arXiv:1709.01507, Section 3).

    (N, channels, H, W) -> the same; the names are timm's.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = conv1x1(channels, channels // reduction, bias=True)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = conv1x1(channels // reduction, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze to means, excite to weights in (0, 1), scale."""
        weights = self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * weights.sigmoid()


class DropPath(nn.Module):
    """Drops a residual, image by image, with some probability (arXiv:1603.09382, Section 3).

    What is kept is divided by the probability of being kept, so that the mean stays; evaluating
    changes nothing.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, residual: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, whole images of it zero while training."""
        if not self.training:
            return residual
        kept = 1 - self.probability
        mask = torch.empty(len(residual), 1, 1, 1, dtype=residual.dtype, device=residual.device)
        return residual * mask.bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"{self.probability:g}"
