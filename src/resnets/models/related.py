"""Highway networks and DenseNet: ResNet's neighbours. N images, C channels, H x W pixels.

A new member of a family is a new row of ``specs.related``. DenseNet has torchvision's names and
takes its weights.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.config import Initialisation
from resnets.models.checkpointing import Recomputing
from resnets.models.layers import conv1x1, conv3x3
from resnets.models.network import Network, head_layer
from resnets.models.specs import Spec
from resnets.models.specs.related import DenseNetSpec, HighwaySpec
from resnets.models.trunk import Layers, TrunkNetwork


class Highway(Network):
    """A highway network (arXiv:1505.00387): a shortcut in each layer, behind a gate.

    Each stage begins with a plain convolution that sets its width; stages but the first halve the
    map before it.
    """

    spec: HighwaySpec

    def __init__(self, spec: HighwaySpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        names = [f"stage{number}" for number in range(1, len(spec.depths) + 1)]
        self.points = (*names, "pooled", "logits")
        channels = in_channels
        for name, depth, width in zip(names, spec.depths, spec.widths, strict=True):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if name != "stage1" else []
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            layers += [HighwayLayer(width) for _ in range(depth)]
            self.add_module(name, nn.Sequential(*layers))
            channels = width
        self.fc = head_layer(channels, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), the last stage's output -> (N, C), its mean."""
        return x.mean((2, 3))

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """As every network; the gates begin nearly closed, so that a layer carries its input."""
        super().initialise(initialisation)
        for module in self.modules():
            if isinstance(module, HighwayLayer):
                module.gate.get_parameter("bias").fill_(self.spec.gate_bias)


class HighwayLayer(Recomputing):
    """T * H + (1 - T) * x (arXiv:1505.00387, Eq. 3): (N, width, H, W) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A mixture, pixel by pixel, of what the layer makes of x and of x itself."""
        return self.run(self, self._mixed, x)

    def _mixed(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.transform(x)) + (1 - gate) * x


class DenseNet(TrunkNetwork):
    """DenseNet-BC (arXiv:1608.06993): each layer reads all that the layers before it made.

    The children are torchvision's: ``features`` and ``classifier``.
    """

    head = "classifier"
    spec: DenseNetSpec

    def __init__(self, spec: DenseNetSpec, *, num_classes: int, in_channels: int) -> None:
        super().__init__(spec)
        parts: dict[str, Layers] = {"stem": stem(spec, in_channels)}
        channels = spec.stem_width
        for number, depth in enumerate(spec.depths, 1):
            if number > 1:
                name = f"transition{number - 1}"
                parts[name] = {name: Transition(channels)}
                channels //= 2
            name = f"denseblock{number}"
            parts[name] = {name: DenseBlock(spec, channels, depth)}
            channels += depth * spec.growth
        parts["norm5"] = {"norm5": nn.BatchNorm2d(channels)}  # torchvision's, of any depth
        self.points = (*parts, "pooled", "logits")
        self.add_trunk(parts)
        self.classifier = head_layer(channels, num_classes)

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, h, w), normed -> (N, C), the mean of its ReLU."""
        return F.relu(x).mean((2, 3))


def stem(spec: DenseNetSpec, in_channels: int) -> Layers:
    """(N, in_channels, H, W) images -> (N, stem_width, h, w), ImageNet's at a quarter."""
    if spec.stem == "cifar":
        return {"conv0": conv3x3(in_channels, spec.stem_width)}
    return {
        "conv0": nn.Conv2d(in_channels, spec.stem_width, 7, stride=2, padding=3, bias=False),
        "norm0": nn.BatchNorm2d(spec.stem_width),
        "relu0": nn.ReLU(inplace=True),
        "pool0": nn.MaxPool2d(3, stride=2, padding=1),
    }


class DenseBlock(Recomputing, nn.Sequential):
    """(N, in_channels, H, W) -> (N, in_channels + depth * growth, H, W), the input first."""

    def __init__(self, spec: DenseNetSpec, in_channels: int, depth: int) -> None:
        layers = [DenseLayer(spec, in_channels + place * spec.growth) for place in range(depth)]
        names = [f"denselayer{number}" for number in range(1, depth + 1)]
        super().__init__(OrderedDict(zip(names, layers, strict=True)))

    def forward(self, x: Tensor) -> Tensor:
        """Every layer reads the input and what all layers before it added."""
        maps = [x]
        for layer in self:
            maps.append(self.run(layer, partial(_read_all, layer), *maps))
        return torch.cat(maps, 1)


def _read_all(layer: nn.Module, *maps: Tensor) -> Tensor:
    return layer(torch.cat(maps, 1))


class DenseLayer(nn.Sequential):
    """Norm, ReLU, 1x1, norm, ReLU, 3x3 (Section 3): (N, in_channels, H, W) -> (N, growth, H, W)."""

    def __init__(self, spec: DenseNetSpec, in_channels: int) -> None:
        inner = 4 * spec.growth
        layers: dict[str, nn.Module] = {
            "norm1": nn.BatchNorm2d(in_channels),
            "relu1": nn.ReLU(inplace=True),
            "conv1": conv1x1(in_channels, inner),
            "norm2": nn.BatchNorm2d(inner),
            "relu2": nn.ReLU(inplace=True),
            "conv2": conv3x3(inner, spec.growth),
        }
        if spec.drop_rate:
            layers["dropout"] = nn.Dropout(spec.drop_rate)
        super().__init__(OrderedDict(layers))


class Transition(nn.Sequential):
    """Half the channels and half the side, rounded down (arXiv:1608.06993, Section 3)."""

    def __init__(self, in_channels: int) -> None:
        layers: dict[str, nn.Module] = {
            "norm": nn.BatchNorm2d(in_channels),
            "relu": nn.ReLU(inplace=True),
            "conv": conv1x1(in_channels, in_channels // 2),
            "pool": nn.AvgPool2d(2),
        }
        super().__init__(OrderedDict(layers))


BUILDERS: dict[type[Spec], Callable[..., Network]] = {
    HighwaySpec: Highway,
    DenseNetSpec: DenseNet,
}
