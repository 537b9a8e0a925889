"""Networks by name, each one row of a paper's table.

>>> import torch
>>> model = create_model("resnet20")
>>> model(torch.zeros(1, 3, 32, 32)).shape
torch.Size([1, 10])
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral
from typing import get_args

import torch

from resnets.config import Initialisation
from resnets.errors import ConfigError, did_you_mean
from resnets.models.resnet import ResNet, initialise
from resnets.models.specs import SPECS, spec_of

__all__ = ["ModelRow", "ResNet", "create_model", "list_models", "model_rows"]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    initialisation: Initialisation = "he",
    seed: int | None = None,
) -> ResNet:
    """The network called ``name``, on torch's default device, in training mode.

    Args:
        num_classes: outputs; ``None`` is the paper's number, 0 leaves the head out.
        in_channels: 3 for RGB, 1 for grey images.
        initialisation: how weights are drawn; see ``resnets.models.resnet.initialise``.
        seed: makes the weights a function of it, drawn on the CPU without touching torch's
            generators; ``None`` draws from torch's own, which ``torch.manual_seed`` sets.

    Raises ``UnknownName`` for a name not in the table, ``ConfigError`` for any other mistake.
    """
    spec = spec_of(name)
    _check_whole("num_classes", num_classes, smallest=0)
    _check_whole("in_channels", in_channels, smallest=1)
    _check_whole("seed", seed, smallest=0)
    if initialisation not in get_args(Initialisation):
        choices = get_args(Initialisation)
        raise ConfigError(
            f"initialisation={initialisation!r} is not one of {', '.join(choices)}",
            fix=f"{did_you_mean(str(initialisation), choices)}set initialisation to one of them",
        )

    if seed is None:
        network = ResNet(spec, num_classes=num_classes, in_channels=in_channels)
        initialise(network, initialisation)
        return network
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would set the GPUs' as well
        network = create_model(
            name,
            num_classes=num_classes,
            in_channels=in_channels,
            initialisation=initialisation,
        )
    return network.to(torch.get_default_device())


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in the table's order.

    >>> list_models("resnet1?")
    ['resnet18']
    """
    return [name for name in SPECS if fnmatchcase(name, pattern)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """What a list of models tells of one."""

    name: str
    source: str
    parameters: int
    """Trainable parameters with the source's number of classes."""
    input_size: tuple[int, int, int]
    """Channels, height, width the source trained on."""


def model_rows(pattern: str = "*") -> list[ModelRow]:
    """One row for each name that matches a shell pattern, its size counted without memory."""
    return [
        ModelRow(
            name=name,
            source=SPECS[name].source,
            parameters=_count_parameters(name),
            input_size=SPECS[name].input_size,
        )
        for name in list_models(pattern)
    ]


def _count_parameters(name: str) -> int:
    with torch.device("meta"):  # shapes without memory
        return sum(parameter.numel() for parameter in ResNet(SPECS[name]).parameters())


def _check_whole(name: str, value: int | None, *, smallest: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)  # numpy's integers too
    if value is not None and not (whole and value >= smallest):
        raise ConfigError(
            f"{name}={value!r} is no whole number of at least {smallest}",
            fix=f"set {name} to {smallest} or more",
        )
