"""Inputs and weights with which any network of the table can be tried."""

import torch
from torch import Tensor

from resnets.models import Network
from resnets.models.blocks import Block, PlainBlock
from resnets.models.specs import SPECS, Spec, spec_of


def side_of(spec: Spec) -> int:
    """A small side that still leaves every stage more than one pixel, where that can be."""
    smallest, largest = spec.sides
    if largest:
        return spec.input_size[1]
    return max(smallest, 16 if spec.input_size[1] <= 32 else 64)


def images(name: str, *, count: int = 2, channels: int | None = None) -> Tensor:
    spec = spec_of(name)
    side = side_of(spec)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels or spec.input_size[0], side, side, generator=generator)


def calm(network: Network) -> Network:
    """The network with every residual scaled down to a tenth.

    Training leaves residuals small beside their shortcuts. At full size an untrained network
    doubles from block to block: resnet1202 overflows, and rounding errors grow as fast.
    """
    for block in network.modules():
        if isinstance(block, Block) and not isinstance(block, PlainBlock):
            block.scale_residual(0.1)
    return network


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, over the expected tensor's largest absolute value."""
    assert torch.isfinite(expected).all()
    return ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()


FAMILIES = sorted({spec.family for spec in SPECS.values()})
