"""One Spec -> stem, stages, head: the network, its named points and its first weights."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from resnets.config import Initialisation
from resnets.errors import ConfigError, UnknownName
from resnets.models.blocks import BLOCKS, SHORTCUTS, STEMS
from resnets.models.specs import Spec


class ResNet(nn.Module):
    """(N, in_channels, H, W) images -> (N, num_classes) logits.

    Parameters and children have torchvision's names and order: ``conv1``, ``bn1``, ``relu``,
    ``maxpool``, ``layer1`` ..., ``avgpool``, ``fc``. With ``num_classes=0`` there is no head:
    ``fc`` passes the pooled features on.
    """

    points: tuple[str, ...]
    """Where ``features`` can look, shallow to deep: stem, layer1, ..., pooled, logits.

    Each is also the attribute that leads there from the point before it.
    """

    def __init__(self, spec: Spec, *, num_classes: int | None = None, in_channels: int = 3) -> None:
        super().__init__()
        classes = spec.classes if num_classes is None else num_classes
        stages = [f"layer{stage}" for stage in range(1, len(spec.depths) + 1)]
        self.points = ("stem", *stages, "pooled", "logits")
        self.sides = spec.sides

        channels = spec.widths[0]
        self.conv1, self.bn1, self.relu, self.maxpool = STEMS[spec.stem](in_channels, channels)
        for name, depth, width in zip(stages, spec.depths, spec.widths, strict=True):
            stride = 1 if name == "layer1" else 2
            stage, channels = _stage(spec, channels, width, depth=depth, stride=stride)
            self.add_module(name, stage)
        self.avgpool = nn.AvgPool2d(spec.pool) if spec.pool else nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes) if classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch; no point on the way is kept alive."""
        for point in self.points:
            x = getattr(self, point)(x)
        return x

    def features(self, x: Tensor, at: Collection[str] | None = None) -> dict[str, Tensor]:
        """The named points asked for, all of them when nothing is, shallow to deep.

        Nothing beyond the deepest of them is computed. Maps are (N, C, h, w), ``pooled`` is
        (N, C), ``logits`` (N, num_classes). Raises ``UnknownName`` for a point there is not.
        """
        wanted = set(self.points if at is None else [at] if isinstance(at, str) else at)
        for name in sorted(wanted.difference(self.points)):
            raise UnknownName("point", name, self.points, listing=f"use {', '.join(self.points)}")
        found: dict[str, Tensor] = {}
        for point in self.points:
            if len(found) == len(wanted):
                break
            x = getattr(self, point)(x)
            if point in wanted:
                found[point] = x
        return found

    def stem(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) images -> (N, C, h, w), what the first stage reads.

        Raises ``ConfigError`` for images of a size that the last pool cannot take.
        """
        if self.sides is not None:
            _check_sides(x, *self.sides)
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last stage's output -> (N, C), its mean."""
        return torch.flatten(self.avgpool(x), 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, num_classes)."""
        return self.fc(x)


def _stage(
    spec: Spec, in_channels: int, width: int, *, depth: int, stride: int
) -> tuple[nn.Sequential, int]:
    """``depth`` blocks, the first with ``stride``, and the channels they put out."""
    block = BLOCKS[spec.block]
    out_channels = width * block.expansion
    blocks: list[nn.Module] = []
    for _ in range(depth):
        shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            shortcut = SHORTCUTS[spec.shortcut](in_channels, out_channels, stride=stride)
        blocks.append(
            block(in_channels, width, stride=stride, stride_on=spec.stride_on, downsample=shortcut)
        )
        in_channels, stride = out_channels, 1
    return nn.Sequential(*blocks), out_channels


def _check_sides(x: Tensor, smallest: int, largest: int) -> None:
    height, width = x.shape[-2:]
    if min(height, width) < smallest or max(height, width) > largest:
        raise ConfigError(
            f"this network cannot take images of {height}x{width} pixels",
            fix=f"give images with sides of {smallest} to {largest} pixels",
        )


@torch.no_grad()
def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights from torch's global generator; biases stay as torch drew them.

    he: convolutions normal with std sqrt(2 / fan_out) (arXiv:1502.01852, Eq. 14), the linear
    layer as torch draws it, both as torchvision does. xavier: convolutions and linear layers
    uniform within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, Eq. 16), as the d2l book.
    """
    for module in network.modules():
        if initialisation == "xavier" and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
