"""Networks whose layers before the head are one child, which torchvision calls ``features``."""

import itertools
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from resnets.models.network import Network

Layers = Mapping[str, nn.Module]
"""Layers by the names they have in the trunk, in their order."""


class Trunk(nn.Sequential):
    """The layers in their order. Called, it answers as ``Network.features``, its namesake.

    A slice of it, such as ``network.features[:5]``, is called as any run of layers is.
    """

    owner: tuple[Network, ...] = ()
    """The network; in a tuple, or it would be taken for a child of its own child."""

    def forward(self, x: Tensor, at: Collection[str] | None = None) -> Any:
        """The points of the network it belongs to; the last layer's output if to none."""
        if self.owner:
            return Network.features(self.owner[0], x, at)
        return super().forward(x)  # type: ignore[no-untyped-call]


class Part:
    """Some of a trunk's layers, which lead from one point to the next."""

    def __init__(self, trunk: Trunk, names: Iterable[str]) -> None:
        self.trunk = trunk
        self.names = tuple(names)

    def __call__(self, x: Tensor) -> Tensor:
        """Through the layers in their order."""
        for name in self.names:
            x = getattr(self.trunk, name)(x)
        return x


class TrunkNetwork(Network):
    """A network that has a trunk, so that parameters have torchvision's names."""

    def add_trunk(self, parts: Mapping[str, Layers]) -> None:
        """Make the child ``features`` and, for each point, the attribute that leads there."""
        layers = itertools.chain.from_iterable(part.items() for part in parts.values())
        trunk = Trunk(OrderedDict(layers))
        trunk.owner = (self,)
        self.add_module("features", trunk)
        for point, part in parts.items():
            setattr(self, point, Part(trunk, part))

    @property
    def features(self) -> Any:
        """Every network's ``features``; here a child as well, which torch finds by that name."""
        return nn.Module.__getattr__(self, "features")


def numbered(parts: Mapping[str, Iterable[nn.Module]]) -> dict[str, Layers]:
    """The layers that lead to each point, named by their place among all of them."""
    places = itertools.count()
    return {
        point: {str(next(places)): layer for layer in layers} for point, layers in parts.items()
    }
