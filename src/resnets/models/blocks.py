"""Stems, residual blocks and shortcuts. Shapes: N images, C channels, H x W pixels.

A new idea is a new class here and a new word in ``specs.py``. Parameter names are torchvision's,
because the field's weight files use them. Sums and ReLUs are made in place where nothing that
the backward pass needs is overwritten.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import specs


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


Stem = tuple[nn.Module, nn.Module, nn.Module, nn.Module]
"""What a network calls ``conv1``, ``bn1``, ``relu`` and ``maxpool``."""


def imagenet_stem(in_channels: int, width: int) -> Stem:
    """7x7 convolution and 3x3 max pool, each of stride 2 (arXiv:1512.03385, Table 1).

    (N, in_channels, H, W) -> (N, width, H / 4, W / 4)
    """
    conv = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True), pool


def cifar_stem(in_channels: int, width: int) -> Stem:
    """One 3x3 convolution and no pool (arXiv:1512.03385, Section 4.2).

    (N, in_channels, H, W) -> (N, width, H, W)
    """
    conv = conv3x3(in_channels, width)
    return conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Identity()


def tutorial_stem(in_channels: int, width: int) -> Stem:
    """The ImageNet stem, its convolution with a bias and unpadded: 96 -> 45 -> 23 pixels.

    (N, in_channels, H, W) -> (N, width, (H - 6) / 4, (W - 6) / 4), rounded up
    """
    conv = nn.Conv2d(in_channels, width, 7, stride=2)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return conv, nn.BatchNorm2d(width, eps=1e-3), nn.ReLU(inplace=True), pool


class PadShortcut(nn.Module):
    """Option A, a shortcut without parameters (arXiv:1512.03385, Section 3.3).

    (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride): every ``stride``-th pixel,
    the channels that are new are zero and come last.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Every ``stride``-th pixel, then zeros as the new channels."""
        # a 1x1 pool is x[:, :, ::stride, ::stride] whose gradient stays channels_last
        x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))


def project(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """Option B, 1x1 convolution and batch norm; torchvision's ``downsample``."""
    return nn.Sequential(
        conv1x1(in_channels, out_channels, stride=stride), nn.BatchNorm2d(out_channels)
    )


def project_bare(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    """1x1 convolution with a bias and without batch norm, as the d2l book has it."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride=stride))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (arXiv:1512.03385, Fig. 2 and Fig. 5 left).

    (N, in_channels, H, W) -> (N, width, H / stride, W / stride)
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        stride_on: specs.StrideOn,
        downsample: nn.Module,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
        self.conv1 = conv3x3(in_channels, width, stride=first)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, stride=second)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        residual += self.downsample(x)
        return self.relu(residual)


class TutorialBlock(BasicBlock):
    """A basic block with a second ReLU before the addition, so its residual is never negative."""

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(ReLU(residual) + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        return self.relu(
            residual + self.downsample(x)
        )  # += would overwrite what ReLU's gradient reads


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, beside a shortcut (arXiv:1512.03385, Section 4.1, Fig. 5 right).

    (N, in_channels, H, W) -> (N, 4 * width, H / stride, W / stride)

    ``stride_on="conv2"`` is "ResNet v1.5", the placement of torchvision's weights;
    ``"conv1"`` is the paper's, which leaves three pixels in four unread.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        stride_on: specs.StrideOn,
        downsample: nn.Module,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
        self.conv1 = conv1x1(in_channels, width, stride=first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride=second)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        residual += self.downsample(x)
        return self.relu(residual)


STEMS: dict[specs.Stem, Callable[[int, int], Stem]] = {
    "imagenet": imagenet_stem,
    "cifar": cifar_stem,
    "tutorial": tutorial_stem,
}
SHORTCUTS: dict[specs.Shortcut, Callable[..., nn.Module]] = {
    "pad": PadShortcut,
    "project": project,
    "project_bare": project_bare,
}
BLOCKS: dict[specs.Block, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "tutorial": TutorialBlock,
}
