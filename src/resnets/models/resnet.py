"""One row -> stem, stages, head: residual networks and their plain twins."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.config import Initialisation
from resnets.models.blocks import BLOCKS, Block
from resnets.models.checkpointing import Stage
from resnets.models.layers import norm
from resnets.models.network import Network, head_layer
from resnets.models.specs.residual import ResNetSpec
from resnets.models.stems import SHORTCUTS, STEMS


class ResNet(Network):
    """(N, in_channels, H, W) images -> (N, num_classes) logits.

    Parameters and children have torchvision's names and order: ``conv1``, ``bn1``, ``relu``,
    ``maxpool``, ``layer1`` ..., ``avgpool``, ``fc``. With ``num_classes=0`` there is no head:
    ``fc`` passes the pooled features on.
    """

    spec: ResNetSpec

    def __init__(self, spec: ResNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        stages = [f"layer{stage}" for stage in range(1, len(spec.depths) + 1)]
        self.points = ("stem", *stages, "pooled", "logits")
        self.conv1, self.bn1, self.relu, self.maxpool = STEMS[spec.stem](spec, in_channels)
        channels = self._add_stages(stages)
        self.avgpool = nn.AvgPool2d(spec.pool) if spec.pool else nn.AdaptiveAvgPool2d(1)
        self.fc = head_layer(channels, num_classes)

    def _add_stages(self, names: list[str]) -> int:
        """Make the stages; returns the channels they put out."""
        spec, channels, dilation, made = self.spec, self.spec.stem_width, 1, 0
        for index, (name, depth) in enumerate(zip(names, spec.depths, strict=True)):
            stride, before = _stage_stride(spec, index), dilation
            if index and spec.replace_stride_with_dilation[index - 1]:
                dilation, stride = dilation * stride, 1
            blocks: list[nn.Module] = []
            for place in range(depth):
                strides = place == (0 if spec.stride_in == "first" else depth - 1)
                block = make_block(
                    spec,
                    channels,
                    spec.widths[index],
                    stride=stride if strides else 1,
                    dilations=(dilation if place else before, dilation),
                    drop_path=spec.drop_path * (made + 1) / sum(spec.depths),
                )
                channels, made = spec.widths[index] * block.expansion, made + 1
                blocks.append(block)
            self.add_module(name, Stage(*blocks))
        return channels

    def stem(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) images -> (N, C, h, w), what the first stage reads."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last stage's output -> (N, C), its mean."""
        return torch.flatten(self.avgpool(x), 1)

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """As every network; with ``zero_init_residual`` each block begins as its shortcut."""
        super().initialise(initialisation)
        if self.spec.zero_init_residual:
            for block in self.modules():
                if isinstance(block, Block):
                    block.scale_residual(0.0)


class PreActResNet(ResNet):
    """A residual network of pre-activation blocks: norm and ReLU after the last (v2).

    Its point ``layer4`` (``layer3`` for CIFAR) is before them, as the block left it.
    """

    def __init__(self, spec: ResNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec, num_classes=num_classes, in_channels=in_channels)
        self.norm = norm(spec, spec.widths[-1] * BLOCKS[spec.block].expansion)
        if not isinstance(self.bn1, nn.Identity):  # the first activation is the stem's
            self.get_submodule("layer1.0").bn1 = nn.Identity()

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last stage's output -> (N, C), its mean once normed and activated."""
        return super().pooled(F.relu(self.norm(x), inplace=True))


def make_block(
    spec: ResNetSpec,
    in_channels: int,
    width: int,
    *,
    stride: int,
    dilations: tuple[int, int] = (1, 1),
    drop_path: float = 0.0,
) -> Block:
    """A row's block with the shortcut its row asks for."""
    block = BLOCKS[spec.block]
    out_channels = width * block.expansion
    changes = stride != 1 or in_channels != out_channels
    shortcut: nn.Module | None = None
    if spec.shortcut == "C" or (changes and spec.shortcut != "none"):
        shortcut = SHORTCUTS[spec.shortcut](spec, in_channels, out_channels, stride)
    return block(
        spec,
        in_channels,
        width,
        stride=stride,
        dilations=dilations,
        downsample=shortcut,
        drop_path=drop_path,
    )


def resnet(spec: ResNetSpec, *, num_classes: int, in_channels: int) -> ResNet:
    """The network of a row."""
    preact = spec.block in ("preact_basic", "preact_bottleneck", "keras_v2")
    kind = PreActResNet if preact else ResNet
    return kind(spec, num_classes=num_classes, in_channels=in_channels)


def _stage_stride(spec: ResNetSpec, index: int) -> int:
    """Every stage but the first halves its input; Keras's V2 counts from the end."""
    kept = 0 if spec.stride_in == "first" else len(spec.depths) - 1
    return 1 if index == kept else 2
