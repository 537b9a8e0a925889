"""LeNet-5, AlexNet, VGG, NiN: the road to ResNet. N images, C channels, H x W pixels.

A new member of a family is a new row of ``specs.classic``. AlexNet and VGG have torchvision's
names and take its weights.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models.googlenet import GoogLeNet
from resnets.models.layers import response_norm
from resnets.models.network import Network, head_layer
from resnets.models.specs import Spec
from resnets.models.specs.classic import (
    Conv,
    ConvNetSpec,
    GoogLeNetSpec,
    LeNet5Spec,
    MLPConv,
    NiNSpec,
)
from resnets.models.trunk import TrunkNetwork, numbered


class ConvNet(TrunkNetwork):
    """Stages of convolutions with a max pool behind each, then fully connected layers.

    AlexNet (Krizhevsky et al. 2012; arXiv:1404.5997), VGG (arXiv:1409.1556), and LeNet-5 as it is
    taught. The children are torchvision's: ``features``, ``avgpool``, ``classifier``.
    """

    spec: ConvNetSpec

    def __init__(self, spec: ConvNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        stages: dict[str, list[nn.Module]] = {}
        channels = in_channels
        for number, convolutions in enumerate(spec.stages, 1):
            layers = stages[f"stage{number}"] = []
            for convolution in convolutions:
                layers += self._layers(channels, convolution)
                channels = convolution.width
            layers.append(nn.MaxPool2d(spec.pool, stride=2))
        if spec.drop_maps:
            layers.append(nn.Dropout2d(spec.dropout))
        self.points = (*stages, "hidden", "logits")
        self.add_trunk(numbered(stages))
        self.avgpool = nn.AdaptiveAvgPool2d(spec.map_side) if spec.adaptive else nn.Identity()
        self.classifier = self._classifier(channels * spec.map_side**2, num_classes)
        self.head = f"classifier.{len(self.classifier) - 1}"

    def _layers(self, in_channels: int, convolution: Conv) -> list[nn.Module]:
        width, kernel, stride, padding, groups, normed = convolution
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, kernel, stride, padding, groups=groups)
        ]
        if self.spec.batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(self._activation())
        return [*layers, response_norm()] if normed else layers

    def _classifier(self, features: int, num_classes: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width, dropped in zip((*self.spec.hidden, 0), self.spec.dropped, strict=True):
            layers += [nn.Dropout(self.spec.dropout)] if dropped else []
            if width:
                layers += [nn.Linear(features, width), self._activation()]
                features = width
        return nn.Sequential(*layers, head_layer(features, num_classes))

    def _activation(self) -> nn.Module:
        return nn.Sigmoid() if self.spec.activation == "sigmoid" else nn.ReLU(inplace=True)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last stage's output -> (N, units), what the head reads."""
        x = torch.flatten(self.avgpool(x), 1)
        for layer in list(self.classifier)[:-1]:
            x = layer(x)
        return x


class LeNet5(Network):
    """LeNet-5 (LeCun et al. 1998, Section II.B), its layers called as in the paper.

    The output units are ``rbf``. Weights of C3 and of the subsamplings are drawn as torch draws
    those of convolutions, whatever the initialisation.
    """

    head = "rbf"
    spec: LeNet5Spec

    def __init__(self, spec: LeNet5Spec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        self.points = ("c1", "s2", "c3", "s4", "c5", "f6", "logits")
        maps = len(spec.connections)
        self.c1 = nn.Sequential(nn.Conv2d(in_channels, spec.maps, 5), Squash())
        self.s2 = nn.Sequential(Subsampling(spec.maps), Squash())
        self.c3 = nn.Sequential(PartialConv(spec.maps, spec.connections, 5), Squash())
        self.s4 = nn.Sequential(Subsampling(maps), Squash())
        self.c5 = nn.Sequential(nn.Conv2d(maps, spec.c5, 5), Squash())
        self.f6 = nn.Sequential(nn.Flatten(), nn.Linear(spec.c5, spec.f6), Squash())
        self.rbf: nn.Module = nn.Identity()
        if num_classes:
            self.rbf = RadialBasis(spec.f6, num_classes)


class Squash(nn.Module):
    """The scaled hyperbolic tangent (LeCun et al. 1998, Eq. 6 and Appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        """1.7159 tanh(2x / 3), which maps +1 and -1 to themselves."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sums over 2x2 pixels, times a weight, plus a bias; a pair for each map.

    (N, channels, H, W) -> (N, channels, H / 2, W / 2), rounded down
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = 4**-0.5  # torch's for four inputs
        self.weight = nn.Parameter(torch.empty(channels, 1, 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Four means, weighted, are the sum, weighted."""
        return F.avg_pool2d(x, 2) * (4 * self.weight) + self.bias


class PartialConv(nn.Module):
    """A convolution whose output maps each read only some input maps.

    (N, in_channels, H, W) -> (N, outputs, H - kernel + 1, W - kernel + 1), where ``inputs`` says
    for each output which maps it reads. There are no weights where nothing is read.
    """

    places: Tensor
    """(outputs, in_channels): which of ``weight`` joins the two, or one beyond the last."""

    def __init__(self, in_channels: int, inputs: Sequence[Sequence[int]], kernel: int) -> None:
        super().__init__()
        joined = [(output, read) for output, maps in enumerate(inputs) for read in maps]
        bound = (kernel**2 * len(joined) / len(inputs)) ** -0.5  # torch's for the mean fan-in
        weight = torch.empty(len(joined), kernel, kernel).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(len(inputs)).uniform_(-bound, bound))
        place = {pair: index for index, pair in enumerate(joined)}
        table = [
            [place.get((output, read), len(joined)) for read in range(in_channels)]
            for output in range(len(inputs))
        ]
        self.register_buffer("places", torch.tensor(table))

    def forward(self, x: Tensor) -> Tensor:
        """A convolution with zeros where nothing is read."""
        kernels = F.pad(self.weight, (0, 0, 0, 0, 0, 1))  # the one beyond the last
        return F.conv2d(x, kernels[self.places], self.bias)


class RadialBasis(nn.Module):
    """Minus the squared distance to each class's code of +1 and -1 (LeCun et al. 1998, Eq. 7).

    (N, bits) -> (N, num_classes)
    """

    codes: Tensor
    """(num_classes, bits), fixed."""

    def __init__(self, bits: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.tensor(codes(num_classes, bits)))

    def forward(self, x: Tensor) -> Tensor:
        """The closer the code, the larger the logit; the largest there can be is 0."""
        return -(x[:, None] - self.codes.to(x.dtype)).square().sum(2)


def codes(count: int, bits: int) -> list[list[float]]:
    """Numbers as rows of +1 and -1, any two of which differ in about half of their places.

    Each place is the parity of some of the number's bits, chosen by a multiple of 2^32 divided by
    the golden ratio.
    """
    chosen = [place * 2_654_435_769 % 2**32 for place in range(1, bits + 1)]
    return [
        [-1.0 if (number & mask).bit_count() % 2 else 1.0 for mask in chosen]
        for number in range(count)
    ]


class NiN(Network):
    """Network in network (arXiv:1312.4400): a map for each class, and the mean of it.

    The last 1x1 convolution is the head, ``classifier``; a ReLU comes before the mean (Eq. 2).
    """

    head = "classifier"
    spec: NiNSpec

    def __init__(self, spec: NiNSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        names = [*(f"stage{number}" for number in range(1, len(spec.blocks))), "maps"]
        self.points = (*names, "logits")
        channels = in_channels
        for name, block in zip(names, spec.blocks, strict=True):
            self.add_module(name, mlpconv(block, channels, spec.dropout))
            channels = block.widths[-1]
        self.classifier: nn.Module = nn.Identity()
        if num_classes:
            self.classifier = nn.Conv2d(channels, num_classes, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, num_classes), or (N, C), the mean, where there is no head."""
        return F.relu(self.classifier(x)).mean((2, 3))


def mlpconv(block: MLPConv, in_channels: int, dropout: float) -> nn.Sequential:
    """A row's block: (N, in_channels, H, W) -> (N, widths[-1], h, w)."""
    first, *others = block.widths
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, first, block.kernel, block.stride, block.padding),
        nn.ReLU(inplace=True),
    ]
    for before, width in zip(block.widths, others, strict=False):
        layers += [nn.Conv2d(before, width, 1), nn.ReLU(inplace=True)]
    if block.pool != "none":
        pool = nn.MaxPool2d if block.pool == "max" else nn.AvgPool2d
        layers.append(pool(3, stride=2, ceil_mode=True))  # the authors' tools round up
    if block.dropped:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


BUILDERS: dict[type[Spec], Callable[..., Network]] = {
    ConvNetSpec: ConvNet,
    LeNet5Spec: LeNet5,
    NiNSpec: NiN,
    GoogLeNetSpec: GoogLeNet,
}
