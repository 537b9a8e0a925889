"""Networks by name, each one row of a paper's table.

>>> import torch
>>> model = create_model("resnet20")
>>> model(torch.zeros(1, 3, 32, 32)).shape
torch.Size([1, 10])
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from numbers import Integral
from pathlib import Path
from typing import Any, get_args

import torch

from resnets.config import Initialisation
from resnets.errors import ConfigError, did_you_mean
from resnets.models import classic, related
from resnets.models.network import Network
from resnets.models.resnet import ResNet, resnet
from resnets.models.specs import SPECS, Spec, spec_of
from resnets.models.specs.residual import ResNetSpec
from resnets.models.weights import Weights, held_sizes, load_weights, read_weights
from resnets.models.weights.fitting import check_same_network

__all__ = ["Network", "ResNet", "create_model", "list_models"]

BUILDERS: dict[type[Spec], Callable[..., Network]] = {
    ResNetSpec: resnet,
    **classic.BUILDERS,
    **related.BUILDERS,
}
"""What turns a row into a network: ``(spec, *, num_classes, in_channels)``."""


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    initialisation: Initialisation = "he",
    seed: int | None = None,
    pretrained: bool | str | Path | None = None,
    **options: Any,
) -> Network:
    """The network called ``name``, on torch's default device, in training mode.

    Args:
        name: may carry options, as in ``"resnet50:shortcut=C"``.
        num_classes: outputs; ``None`` is the number of the weights or else of the source, 0
            leaves the head out. Where the weights have another number, the head is new.
        in_channels: 3 for RGB, 1 for grey images; ``None`` is the number of the weights or else
            of the source. Where they read RGB and this is 1, their first convolution is summed
            over the colours. The logger ``resnets`` warns of that and of a new head.
        initialisation: how weights are drawn; see ``Network.initialise``.
        seed: makes the weights a function of it, drawn on the CPU without touching torch's
            generators; ``None`` draws from torch's own, which ``torch.manual_seed`` sets.
        pretrained: weights to load: ``True`` or ``"torchvision"`` for the newest official ones,
            ``"torchvision:IMAGENET1K_V1"``, ``"hf-hub:timm/resnet50.a1_in1k"``, or a file or
            folder; see ``resnets.models.weights.read_weights``.
        options: fields of the row to change; its ``options`` says which.

    Raises ``UnknownName`` for a name or an option there is not, ``ConfigError`` for any other
    mistake, ``ModelFileError`` for weights that cannot be had or do not fit.
    """
    spec = spec_of(name, options)
    _check_whole("num_classes", num_classes, smallest=0)
    _check_whole("in_channels", in_channels, smallest=1)
    _check_whole("seed", seed, smallest=0)
    if initialisation not in get_args(Initialisation):
        choices = get_args(Initialisation)
        raise ConfigError(
            f"initialisation={initialisation!r} is not one of {', '.join(choices)}",
            fix=f"{did_you_mean(str(initialisation), choices)}set initialisation to one of them",
        )
    weights, sizes = None, (spec.classes, spec.input_size[0])
    if pretrained:
        weights = read_weights("torchvision" if pretrained is True else pretrained, model=name)
        sizes = _sizes(weights, spec)
    classes = sizes[0] if num_classes is None else num_classes
    channels = sizes[1] if in_channels is None else in_channels
    if seed is None:
        network = _drawn(spec, classes, channels, initialisation)
    else:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would set the GPUs' too
            network = _drawn(spec, classes, channels, initialisation)
        network = network.to(torch.get_default_device())
    if weights:
        load_weights(network, weights)
    return network


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, in the table's order.

    >>> list_models("resnet1?")
    ['resnet18']
    """
    return [name for name in SPECS if fnmatchcase(name, pattern)]


def _drawn(
    spec: Spec, num_classes: int, in_channels: int, initialisation: Initialisation
) -> Network:
    network = BUILDERS[type(spec)](spec, num_classes=num_classes, in_channels=in_channels)
    if not next(network.parameters()).is_meta:  # there torch imports its compiler to draw nothing
        network.initialise(initialisation)
    return network


def _sizes(weights: Weights, spec: Spec) -> tuple[int, int]:
    """Classes and channels of weights, by default the row's, once they are that row's at all."""
    check_same_network(weights, spec)
    classes, channels = spec.classes, spec.input_size[0]
    with torch.device("meta"):
        twin = BUILDERS[type(spec)](spec, num_classes=classes, in_channels=channels)
    held_classes, held_channels = held_sizes(weights.tensors, twin)
    return held_classes or classes, held_channels or channels


def _check_whole(name: str, value: int | None, *, smallest: int) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)  # numpy's integers too
    if value is not None and not (whole and value >= smallest):
        raise ConfigError(
            f"{name}={value!r} is no whole number of at least {smallest}",
            fix=f"set {name} to {smallest} or more",
        )
