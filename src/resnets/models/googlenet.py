"""GoogLeNet (arXiv:1409.4842), the paper's and torchvision's. N images, C channels, H x W pixels.

Children have torchvision's names and order; what its form leaves out has no parameters.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models.checkpointing import Recomputing
from resnets.models.layers import response_norm
from resnets.models.network import Network, head_layer
from resnets.models.specs.classic import GoogLeNetSpec, Widths


class GoogLeNet(Network):
    """Nine inception blocks between four max pools; every child on the way is a point.

    ``aux1`` reads ``inception4a`` and ``aux2`` reads ``inception4d``, in training only; there are
    none with ``auxiliary=False`` or without classes.
    """

    spec: GoogLeNetSpec

    def __init__(self, spec: GoogLeNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        pool = partial(nn.MaxPool2d, stride=2, ceil_mode=True)  # 112 -> 56 -> 28 -> 14 -> 7
        norm = response_norm if spec.response_norm else nn.Identity
        self.conv1 = Unit(spec, in_channels, 64, 7, stride=2)
        self.maxpool1 = nn.Sequential(pool(3), norm())
        self.conv2 = Unit(spec, 64, 64, 1)
        self.conv3 = Unit(spec, 64, 192, 3)
        self.maxpool2 = nn.Sequential(norm(), pool(3))
        channels = 192
        for name, widths in spec.inceptions:
            if name == "4a":
                self.maxpool3 = pool(3)
            if name == "5a":
                self.maxpool4 = pool(spec.last_pool)
            self.add_module(f"inception{name}", Inception(spec, channels, widths))
            channels = widths.out_channels
        self.points = (*(name for name, _ in self.named_children()), "pooled", "logits")
        self.aux1: AuxiliaryHead | None = None
        self.aux2: AuxiliaryHead | None = None
        if spec.auxiliary and num_classes:
            widths_of = dict(spec.inceptions)
            self.auxiliary_heads = ("aux1.fc2", "aux2.fc2")
            self.aux1 = AuxiliaryHead(spec, widths_of["4a"].out_channels, num_classes)
            self.aux2 = AuxiliaryHead(spec, widths_of["4d"].out_channels, num_classes)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(spec.dropout if num_classes else 0.0)
        self.fc = head_layer(channels, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last block's output -> (N, C), its mean."""
        return torch.flatten(self.avgpool(x), 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, num_classes); dropout belongs to the head."""
        return self.fc(self.dropout(x))

    def training_logits(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """The logits and, in training mode, at 0.3 those of the auxiliary heads (Section 5)."""
        if not self.training or self.aux1 is None or self.aux2 is None:
            return super().training_logits(x)
        points = self.features(x, at=["inception4a", "inception4d", "logits"])
        return [
            (1.0, points["logits"]),
            (0.3, self.aux2(points["inception4d"])),
            (0.3, self.aux1(points["inception4a"])),
        ]


class Unit(nn.Module):
    """Convolution, batch norm where the row has it, ReLU; the size changes by the stride only.

    (N, in_channels, H, W) -> (N, width, H / stride, W / stride), rounded up
    """

    def __init__(
        self, spec: GoogLeNetSpec, in_channels: int, width: int, kernel: int, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, width, kernel, stride, kernel // 2, bias=not spec.batch_norm
        )
        self.bn = nn.BatchNorm2d(width, eps=1e-3) if spec.batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolution, batch norm, ReLU."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(Recomputing):
    """1x1, 3x3, 5x5 and pooled branches side by side (arXiv:1409.4842, Fig. 2b).

    (N, in_channels, H, W) -> (N, sum of the branches' widths, H, W)
    """

    def __init__(self, spec: GoogLeNetSpec, in_channels: int, widths: Widths) -> None:
        super().__init__()
        unit = partial(Unit, spec)
        self.branch1 = unit(in_channels, widths.conv1, 1)
        self.branch2 = nn.Sequential(
            unit(in_channels, widths.reduce3, 1), unit(widths.reduce3, widths.conv3, 3)
        )
        self.branch3 = nn.Sequential(
            unit(in_channels, widths.reduce5, 1), unit(widths.reduce5, widths.conv5, spec.kernel)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), unit(in_channels, widths.pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Each branch reads all of x."""
        return self.run(self, self._branches, x)

    def _branches(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on a map half-way (arXiv:1409.4842, Section 5): (N, C, H, W) -> logits."""

    def __init__(self, spec: GoogLeNetSpec, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.windows = spec.auxiliary_pool == "windows"
        self.conv = Unit(spec, in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(spec.auxiliary_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """4x4 means, 1x1 convolution, a hidden layer with dropout, logits."""
        x = window_means(x) if self.windows else F.adaptive_avg_pool2d(x, 4)
        x = F.relu(self.fc1(torch.flatten(self.conv(x), 1)), inplace=True)
        return self.fc2(self.dropout(x))


def window_means(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 4, 4), means of equal windows: of a 14x14 map 5x5, 3 apart."""
    height, width = x.shape[-2:]
    if min(height, width) < 4:  # too few pixels for four windows
        return F.adaptive_avg_pool2d(x, 4)
    down, right = height // 4, width // 4
    return F.avg_pool2d(x, (height - 3 * down, width - 3 * right), (down, right))
