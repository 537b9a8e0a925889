"""How residual networks begin, and how a shortcut changes shape. N images, C channels, H x W.

A new idea is a new function here and a new word in ``specs.residual``. Parameter names are
torchvision's (``conv1``, ``bn1``, ``downsample``), because the field's weight files use them.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models.layers import conv1x1, conv3x3, norm
from resnets.models.specs import residual
from resnets.models.specs.residual import ResNetSpec

Stem = tuple[nn.Module, nn.Module, nn.Module, nn.Module]
"""What a network calls ``conv1``, ``bn1``, ``relu`` and ``maxpool``."""


def imagenet_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """7x7 convolution and 3x3 max pool, each of stride 2 (arXiv:1512.03385, Table 1).

    (N, in_channels, H, W) -> (N, width, H / 4, W / 4), rounded up
    """
    conv = nn.Conv2d(in_channels, spec.stem_width, 7, stride=2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return conv, norm(spec, spec.stem_width), nn.ReLU(inplace=True), pool


def deep_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """Three 3x3 convolutions in place of the 7x7 (ResNet-C; arXiv:1812.01187, Section 4.2, Fig. 2).

    (N, in_channels, H, W) -> (N, width, H / 4, W / 4), rounded up
    """
    half = spec.stem_width // 2
    conv = nn.Sequential(
        conv3x3(in_channels, half, stride=2),
        norm(spec, half),
        nn.ReLU(inplace=True),
        conv3x3(half, half),
        norm(spec, half),
        nn.ReLU(inplace=True),
        conv3x3(half, spec.stem_width),
    )
    return conv, *imagenet_stem(spec, in_channels)[1:]


def cifar_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """One 3x3 convolution and no pool (arXiv:1512.03385, Section 4.2).

    (N, in_channels, H, W) -> (N, width, H, W)
    """
    conv = conv3x3(in_channels, spec.stem_width)
    return conv, norm(spec, spec.stem_width), nn.ReLU(inplace=True), nn.Identity()


def bare_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """The ImageNet stem without norm and ReLU, which the first block begins with (timm's v2)."""
    conv, *_, pool = imagenet_stem(spec, in_channels)
    return conv, nn.Identity(), nn.Identity(), pool


def keras_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """Keras's V2: a 7x7 with a bias, then a max pool that sees a border of zeros."""
    conv = nn.Conv2d(in_channels, spec.stem_width, 7, stride=2, padding=3)
    pool = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    return conv, nn.Identity(), nn.Identity(), pool


def tutorial_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """The ImageNet stem, its convolution with a bias and unpadded: 96 -> 45 -> 23 pixels.

    (N, in_channels, H, W) -> (N, width, (H - 6) / 4, (W - 6) / 4), rounded up
    """
    conv = nn.Conv2d(in_channels, spec.stem_width, 7, stride=2)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return conv, nn.BatchNorm2d(spec.stem_width, eps=1e-3), nn.ReLU(inplace=True), pool


def same_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """The ImageNet stem with a max pool of stride 1.

    (N, in_channels, H, W) -> (N, width, H / 2, W / 2), rounded up
    """
    return *imagenet_stem(spec, in_channels)[:3], nn.MaxPool2d(3, stride=1, padding=1)


def whitened_stem(spec: ResNetSpec, in_channels: int) -> Stem:
    """A 2x2 convolution, which training may set to whiten, then a 3x3, a max pool and the norm.

    (N, in_channels, H, W) -> (N, width, (H - 1) / 2, (W - 1) / 2), rounded down
    """
    patches = 8 * in_channels  # each of 4 * in_channels directions with either sign
    conv = nn.Sequential(
        nn.Conv2d(in_channels, patches, 2, bias=False),
        nn.ReLU(inplace=True),
        conv3x3(patches, spec.stem_width),
        nn.MaxPool2d(2),  # before the norm, which then reads a quarter
    )
    return conv, norm(spec, spec.stem_width), nn.ReLU(inplace=True), nn.Identity()


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


def pad(spec: ResNetSpec, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option A."""
    return PadShortcut(in_channels, out_channels, stride=stride)


def project(spec: ResNetSpec, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Options B and C, 1x1 convolution and norm; torchvision's ``downsample``."""
    return nn.Sequential(
        conv1x1(in_channels, out_channels, stride=stride), norm(spec, out_channels)
    )


def pool_and_project(
    spec: ResNetSpec, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """ResNet-D: the average of each 2x2 instead of one pixel of it.

    arXiv:1812.01187, Section 4.2, Fig. 2; the names are timm's.
    """
    pool: nn.Module = nn.Identity()
    if stride != 1:
        pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, conv1x1(in_channels, out_channels), norm(spec, out_channels))


def project_alone(spec: ResNetSpec, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """1x1 convolution of what is normalised already (arXiv:1603.05027, Appendix)."""
    return nn.Sequential(conv1x1(in_channels, out_channels, stride=stride))


def project_with_bias(
    spec: ResNetSpec, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """1x1 convolution with a bias and without batch norm, as the d2l book has it."""
    return nn.Sequential(conv1x1(in_channels, out_channels, stride=stride, bias=True))


def keras_shortcut(spec: ResNetSpec, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Keras's V2: 1x1 convolution with a bias, or every ``stride``-th pixel as it is."""
    if in_channels == out_channels:
        return PadShortcut(in_channels, out_channels, stride=stride)
    return project_with_bias(spec, in_channels, out_channels, stride)


def convolve_and_pool(
    spec: ResNetSpec, in_channels: int, out_channels: int, stride: int
) -> nn.Module:
    """3x3 convolution, max pool, norm and ReLU: a step between stages more than a shortcut.

    The pool drops the last row and column of an odd map, as that of the whitened stem does.
    """
    pool = nn.MaxPool2d(stride) if stride != 1 else nn.Identity()
    return nn.Sequential(
        conv3x3(in_channels, out_channels), pool, norm(spec, out_channels), nn.ReLU(inplace=True)
    )


STEMS: dict[residual.Stem, Callable[[ResNetSpec, int], Stem]] = {
    "imagenet": imagenet_stem,
    "deep": deep_stem,
    "cifar": cifar_stem,
    "bare": bare_stem,
    "keras_v2": keras_stem,
    "tutorial": tutorial_stem,
    "same": same_stem,
    "whitened": whitened_stem,
}
SHORTCUTS: dict[residual.Shortcut, Callable[[ResNetSpec, int, int, int], nn.Module]] = {
    "A": pad,
    "B": project,
    "C": project,
    "D": pool_and_project,
    "projection": project_alone,
    "bias": project_with_bias,
    "keras_v2": keras_shortcut,
    "pooled": convolve_and_pool,
}
