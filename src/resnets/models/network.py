"""What every network has in common: named points on the way, a head, and how weights are drawn."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from resnets.config import Initialisation
from resnets.errors import ConfigError, UnknownName
from resnets.models.specs import Spec


class Network(nn.Module):
    """(N, in_channels, H, W) images -> (N, num_classes) logits.

    A subclass sets ``points`` and, for each, has an attribute of that name which leads there from
    the point before it: a child module or a method. Its last layer is the head.
    """

    head: str = "fc"
    """The child that turns features into logits; an ``nn.Identity`` where there are no classes."""
    auxiliary_heads: tuple[str, ...] = ()
    """The other layers that turn features into logits, of use in training only."""
    points: tuple[str, ...]
    """Where ``features`` can look, shallow to deep.

    The last is ``logits``; the one before it is what the head reads, ``pooled`` where that is
    the mean of a map.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch; no point on the way is kept alive.

        Raises ``ConfigError`` for images of a size that the network cannot take.
        """
        check_sides(self.spec, *x.shape[-2:])
        for point in self.points:
            x = getattr(self, point)(x)
        return x

    def features(self, x: Tensor, at: Collection[str] | None = None) -> dict[str, Tensor]:
        """The named points asked for, all of them when nothing is, shallow to deep.

        Nothing beyond the deepest of them is computed. Maps are (N, C, h, w), ``logits`` is
        (N, num_classes). Raises ``UnknownName`` for a point there is not, and ``ConfigError`` for
        images of a size that the network cannot take.
        """
        wanted = set(self.points if at is None else [at] if isinstance(at, str) else at)
        for name in sorted(wanted.difference(self.points)):
            raise UnknownName("point", name, self.points, listing=f"use {', '.join(self.points)}")
        check_sides(self.spec, *x.shape[-2:])
        found: dict[str, Tensor] = {}
        for point in self.points:
            if len(found) == len(wanted):
                break
            x = getattr(self, point)(x)
            if point in wanted:
                found[point] = x
        return found

    def logits(self, x: Tensor) -> Tensor:
        """What the head reads -> (N, num_classes)."""
        return self.get_submodule(self.head)(x)

    def training_logits(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """What the loss is taken of: (weight, logits), the network's own answer first.

        Only networks with auxiliary heads have more than one.
        """
        return [(1.0, self(x))]

    @torch.no_grad()
    def initialise(self, initialisation: Initialisation) -> None:
        """Draw the weights from torch's global generator; biases stay as torch drew them.

        he: convolutions normal with std sqrt(2 / fan_out) (arXiv:1502.01852, Eq. 14), linear
        layers as torch draws them, as torchvision does for ResNets. xavier: convolutions and
        linear layers uniform within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010,
        Eq. 16), as the d2l book.
        """
        for module in self.modules():
            if initialisation == "xavier" and isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def check_sides(spec: Spec, height: int, width: int) -> None:
    """Raise ``ConfigError`` for images of a size that a row's network cannot take."""
    smallest, largest = spec.sides
    if min(height, width) < smallest or (largest and max(height, width) > largest):
        sides = f"of {smallest} to {largest}" if largest else f"of at least {smallest}"
        raise ConfigError(
            f"this network cannot take images of {height}x{width} pixels",
            fix=f"give images with sides {sides} pixels",
        )


def head_layer(features: int, classes: int) -> nn.Module:
    """A linear layer, or nothing where there are no classes."""
    return nn.Linear(features, classes) if classes else nn.Identity()
