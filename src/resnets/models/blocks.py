"""Residual blocks. Shapes: N images, C channels, H x W pixels.

A new idea is a new class here and a new word in ``specs.residual``. Parameter names are
torchvision's. Sums and ReLUs are made in place where nothing that the backward pass needs is
overwritten.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models.layers import DropPath, SqueezeExcitation, conv1x1, conv3x3, norm
from resnets.models.specs import residual
from resnets.models.specs.residual import ResNetSpec


class Block(nn.Module):
    """A residual beside a shortcut: (N, in_channels, H, W) -> (N, expansion * width, H', W').

    H' and W' are H and W divided by the stride, rounded up. ``dilations`` are those of the 3x3
    convolutions up to the one that strides, and of the ones after it.
    """

    expansion = 1
    """Output channels for each channel inside."""

    def __init__(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        *,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        downsample: nn.Module | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self._residual(spec, in_channels, width, stride, dilations)
        out_channels = width * self.expansion
        self.se: nn.Module = nn.Identity()
        if spec.squeeze:
            self.se = SqueezeExcitation(out_channels, spec.squeeze)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = downsample or nn.Identity()

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        """Make the layers of the residual."""
        raise TypeError("a block is one of the classes below")

    def scale_residual(self, factor: float) -> None:
        """Multiply the residual by a factor, in the weights that set its size."""
        raise TypeError("a block is one of the classes below")


class BasicBlock(Block):
    """Two 3x3 convolutions (arXiv:1512.03385, Fig. 2 and Fig. 5 left)."""

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        first, second = (stride, 1) if spec.stride_on == "conv1" else (1, stride)
        before, after = dilations if spec.stride_on == "conv1" else dilations[:1] * 2
        self.conv1 = conv3x3(in_channels, width, stride=first, dilation=before)
        self.bn1 = norm(spec, width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(width, width, stride=second, dilation=after)
        self.bn2 = norm(spec, width)

    def scale_residual(self, factor: float) -> None:
        """In the second norm."""
        _scale(self.bn2, factor)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.drop_path(self.se(self.bn2(self.conv2(residual))))
        residual += self.downsample(x)
        return self.relu(residual)


class PlainBlock(BasicBlock):
    """A basic block without its shortcut, layer for layer (arXiv:1512.03385, Section 3.3)."""

    def forward(self, x: Tensor) -> Tensor:
        """ReLU of what would be the residual."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class TutorialBlock(BasicBlock):
    """A basic block with a second ReLU before the addition, so its residual is never negative."""

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(ReLU(residual) + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        # += would overwrite what ReLU's gradient reads
        return self.relu(residual + self.downsample(x))


class SingleBlock(Block):
    """One 3x3, which reads what the shortcut gives: all that changes shape is in the shortcut."""

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        self.conv1 = conv3x3(width, width, dilation=dilations[1])
        self.bn1 = norm(spec, width)
        self.relu = nn.ReLU(inplace=True)

    def scale_residual(self, factor: float) -> None:
        """In the norm."""
        _scale(self.bn1, factor)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        x = self.downsample(x)
        residual = self.drop_path(self.se(self.bn1(self.conv1(x))))
        residual += x
        return self.relu(residual)


class Bottleneck(Block):
    """1x1 reduce, 3x3, 1x1 expand (arXiv:1512.03385, Section 4.1, Fig. 5 right).

    ``stride_on="conv2"`` is "ResNet v1.5", the placement of torchvision's weights;
    ``"conv1"`` is the paper's, which leaves three pixels in four unread. With groups it is
    ResNeXt's block (arXiv:1611.05431, Fig. 3c).
    """

    expansion = 4

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        first, second = (stride, 1) if spec.stride_on == "conv1" else (1, stride)
        inner = int(width * spec.width_per_group / 64) * spec.groups
        wide = dilations[spec.stride_on == "conv1"]
        self.conv1 = conv1x1(in_channels, inner, stride=first)
        self.bn1 = norm(spec, inner)
        self.conv2 = conv3x3(inner, inner, stride=second, groups=spec.groups, dilation=wide)
        self.bn2 = norm(spec, inner)
        self.conv3 = conv1x1(inner, width * self.expansion)
        self.bn3 = norm(spec, width * self.expansion)
        self.relu = nn.ReLU(inplace=True)

    def scale_residual(self, factor: float) -> None:
        """In the third norm."""
        _scale(self.bn3, factor)

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(residual + shortcut)."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.drop_path(self.se(self.bn3(self.conv3(residual))))
        residual += self.downsample(x)
        return self.relu(residual)


class PreActBasic(Block):
    """Norm and ReLU before each of two 3x3 (arXiv:1603.05027, Fig. 1b and Appendix).

    Where the shape changes the shortcut reads what the first ReLU gives, elsewhere the block's
    input as it is. A network's first block has no ``bn1`` and no first ReLU where the stem ends
    in them (Appendix: "before splitting into two paths").
    """

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        first, second = (stride, 1) if spec.stride_on == "conv1" else (1, stride)
        before, after = dilations if spec.stride_on == "conv1" else dilations[:1] * 2
        self.bn1: nn.Module = norm(spec, in_channels)
        self.conv1 = conv3x3(in_channels, width, stride=first, dilation=before)
        self.bn2 = norm(spec, width)
        self.conv2 = conv3x3(width, width, stride=second, dilation=after)

    def scale_residual(self, factor: float) -> None:
        """In the second convolution: behind a norm of zero no gradient would pass the ReLU."""
        _scale(self.conv2, factor)

    def activated(self, x: Tensor) -> Tensor:
        """ReLU of the normed input; the input itself where the stem did both."""
        return x if isinstance(self.bn1, nn.Identity) else F.relu(self.bn1(x), inplace=True)

    def shortcut(self, x: Tensor, activated: Tensor) -> Tensor:
        """A projection of the activated input, or the input itself."""
        return x if isinstance(self.downsample, nn.Identity) else self.downsample(activated)

    def forward(self, x: Tensor) -> Tensor:
        """residual + shortcut."""
        activated = self.activated(x)
        residual = self.conv1(activated)
        residual = self.conv2(F.relu(self.bn2(residual), inplace=True))
        residual = self.drop_path(self.se(residual))
        return residual + self.shortcut(x, activated)


class PreActBottleneck(PreActBasic):
    """Norm and ReLU before each of 1x1, 3x3, 1x1 (arXiv:1603.05027, Appendix)."""

    expansion = 4

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        first, second = (stride, 1) if spec.stride_on == "conv1" else (1, stride)
        inner = int(width * spec.width_per_group / 64) * spec.groups
        wide = dilations[spec.stride_on == "conv1"]
        self.bn1: nn.Module = norm(spec, in_channels)
        self.conv1 = conv1x1(in_channels, inner, stride=first)
        self.bn2 = norm(spec, inner)
        self.conv2 = conv3x3(inner, inner, stride=second, groups=spec.groups, dilation=wide)
        self.bn3 = norm(spec, inner)
        self.conv3 = conv1x1(inner, width * self.expansion)

    def scale_residual(self, factor: float) -> None:
        """In the third convolution, as there."""
        _scale(self.conv3, factor)

    def forward(self, x: Tensor) -> Tensor:
        """residual + shortcut."""
        activated = self.activated(x)
        residual = self.conv1(activated)
        residual = self.conv2(F.relu(self.bn2(residual), inplace=True))
        residual = self.conv3(F.relu(self.bn3(residual), inplace=True))
        residual = self.drop_path(self.se(residual))
        return residual + self.shortcut(x, activated)


class KerasBottleneck(PreActBottleneck):
    """Keras's V2 form: the last 1x1 has a bias, and a shortcut that only skips pixels reads x."""

    def _residual(
        self,
        spec: ResNetSpec,
        in_channels: int,
        width: int,
        stride: int,
        dilations: tuple[int, int],
    ) -> None:
        super()._residual(spec, in_channels, width, stride, dilations)
        self.conv3 = conv1x1(self.conv3.in_channels, self.conv3.out_channels, bias=True)

    def shortcut(self, x: Tensor, activated: Tensor) -> Tensor:
        """A projection of the activated input, or pixels of the input itself."""
        projects = isinstance(self.downsample, nn.Sequential)
        return self.downsample(activated if projects else x)


@torch.no_grad()
def _scale(layer: nn.Module, factor: float) -> None:
    for parameter in layer.parameters():
        parameter.mul_(factor)


BLOCKS: dict[residual.Block, type[Block]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "plain": PlainBlock,
    "preact_basic": PreActBasic,
    "preact_bottleneck": PreActBottleneck,
    "keras_v2": KerasBottleneck,
    "tutorial": TutorialBlock,
    "single": SingleBlock,
}
