"""Runs a network once and tells what that cost."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from resnets.cost.counts import Cost
from resnets.cost.products import unfused
from resnets.cost.trace import Trace
from resnets.errors import ConfigError, ResnetsError
from resnets.models import Network
from resnets.models.network import check_sides


def measure(model: nn.Module, input_size: Sequence[int]) -> Cost:
    """What one image costs a network, layer by layer, on the device where the network is.

    It runs once, in evaluation mode, and is left as it was. A layer that runs several times is
    counted each time, its parameters once. On the meta device nothing is computed.

    Args:
        input_size: channels, height, width.

    Raises ``ConfigError`` for a size that the network cannot take, and for an operation that has
    weights of which nothing here knows how often they are used.
    """
    size = check_size(input_size)
    images = _image(model, size)
    trace = Trace(model, images)
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), unfused(), trace.watching(), trace:
            output = _run(model, images, trace)
    except ResnetsError:
        raise
    except (RuntimeError, ValueError) as cause:
        told = str(cause).partition("\n")[0]
        raise ConfigError(
            f"this network cannot take images of {'x'.join(map(str, size))}: {told}",
            fix="give another input size, as CHANNELSxHEIGHTxWIDTH",
        ) from cause
    finally:
        for module in training:
            module.training = True
    trace.finish(output)
    return Cost(
        input_size=size,
        rows=tuple(trace.rows),
        blocks=trace.blocks(),
        points=trace.points,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def check_size(input_size: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width, each at least 1. Raises ``ConfigError``."""
    if len(input_size) != 3 or not all(isinstance(n, Integral) and n >= 1 for n in input_size):
        raise ConfigError(
            f"{'x'.join(map(str, input_size))} is no input size",
            fix="give CHANNELSxHEIGHTxWIDTH, such as 3x224x224",
        )
    channels, height, width = map(int, input_size)
    return channels, height, width


def _image(model: nn.Module, size: tuple[int, int, int]) -> Tensor:
    """A batch of one, of the network's own kind of number."""
    floats = (each for each in model.parameters() if each.is_floating_point())
    like: Any = next(floats, torch.empty(0))
    return torch.zeros(1, *size, dtype=like.dtype, device=like.device)


def _run(model: nn.Module, images: Tensor, trace: Trace) -> Any:
    """The network's answer; one of ours goes from point to point, so that blocks know theirs."""
    if not isinstance(model, Network):
        return model(images)
    check_sides(model.spec, *images.shape[-2:])
    for point in model.points:
        images = trace.step(point, getattr(model, point), images)
    return images
