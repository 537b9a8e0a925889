"""Transfer learning: weights to start from, and what of them stays as it is."""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.errors import ConfigError, UnknownName, did_you_mean
from resnets.models import Network
from resnets.models.specs import SPECS, parse_name, spec_name, spec_of
from resnets.models.weights import Weights, fit_weights, held_sizes, read_weights
from resnets.models.weights.fitting import check_same_network
from resnets.prediction import load

ALL = "all"
"""The name for every point but the last: only the head is trained."""
REMOTE = ("torchvision", "hf-hub")
"""Where weights come from that no network's name says."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Trained weights, and what goes with them."""

    source: str
    """Where they are from, as ``TrainConfig.start_from`` says it."""
    model: str
    """The network's name, with its options."""
    tensors: dict[str, Tensor]
    preprocess: Preprocess | None
    """That of the weights' training, where it is known."""
    mean_image: Tensor | None
    classes: tuple[str, ...] | None
    """The class of each of the head's outputs, where they are known."""


def read_start(source: str, model: str) -> Start:
    """Read the weights that a run begins with.

    Args:
        source: a run folder or sealed model; a weight file; a network's name, for its official
            weights; or ``torchvision[:NAME]`` and ``hf-hub:NAME``.
        model: the network to put them into; ``"auto"`` where the weights say it.

    Raises ``ConfigError`` where the weights are another network's or nothing says which, and what
    reading raises.
    """
    path = Path(source)
    name, _ = parse_name(source)
    mean_image = None
    if path.is_dir() and not (path / "config.json").exists():
        weights, mean_image = _from_sealed(path)
    elif path.exists() or name in REMOTE:
        weights = read_weights(source, model=None if model == "auto" else model)
    elif name in SPECS:
        weights = dataclasses.replace(read_weights("torchvision", model=source), model=source)
    else:
        raise ConfigError(
            f"{source} is no run, no weight file and no network's name",
            fix=f"{did_you_mean(name, SPECS)}give a run folder, a file, or a name that "
            "`resnets models` shows weights for",
        )
    if model == "auto" and weights.model is None:
        raise ConfigError(f"{source} does not say whose weights it holds", fix="add --model NAME")
    chosen = model if model != "auto" else weights.model or ""
    check_same_network(weights, spec_of(chosen))
    given = weights.preprocess
    if given and given.input_size[1] != given.input_size[2]:
        raise ConfigError(
            f"{source} reads images of {given.input_size[1]}x{given.input_size[2]} pixels",
            fix="start from weights for square images",
        )
    return Start(
        source=str(path.absolute()) if path.exists() else source,
        model=chosen,
        tensors=weights.tensors,
        preprocess=given,
        mean_image=mean_image,
        classes=weights.classes,
    )


def begin_with(network: Network, start: Start, classes: tuple[str, ...]) -> str:
    """Fill a network with the weights; returns a sentence on what became of the head.

    The head is taken over, class by class, where its classes are these, in whatever order; else
    it stays as it was drawn. Raises ``ModelFileError`` where the weights do not fit.
    """
    same = start.classes is not None and sorted(start.classes) == sorted(classes)
    tensors = dict(start.tensors)
    if same and start.classes:
        order = torch.tensor([start.classes.index(name) for name in classes])
        heads = tuple(f"{layer}." for layer in (network.head, *network.auxiliary_heads))
        tensors |= {name: rows[order] for name, rows in tensors.items() if name.startswith(heads)}
    network.load_state_dict(fit_weights(tensors, network, replace_head=not same))
    told = f"weights from {start.source}, its head included: the classes are the same"
    if not same:
        before = f" instead of {len(start.classes)}" if start.classes else ""
        told = f"weights from {start.source}; the head is new: {len(classes)} other classes{before}"
    (_, theirs), (_, ours) = (held_sizes(held, network) for held in (tensors, network.state_dict()))
    summed = "; its first convolution is summed over the colours" if theirs != ours else ""
    return told + summed


def freeze(network: Network, point: str) -> None:
    """Keep what leads to a point as it is: no gradients, and norms and dropout as in evaluation.

    A later ``network.train()`` would set norms and dropout going again. Raises ``UnknownName`` for
    a point there is not, ``ConfigError`` where nothing would be left to train.
    """
    if point == ALL:
        network.eval().requires_grad_(False)
        network.get_submodule(network.head).train().requires_grad_(True)
    else:
        for name in modules_before(network, point):
            network.get_submodule(name).eval().requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            f"freeze={point!r} leaves nothing to train: the head has no weights",
            fix=f"freeze less: one of {', '.join(network.points[:-2])}",
        )


def modules_before(network: Network, point: str) -> list[str]:
    """The names of the innermost modules that run on the way to a point, in their order.

    Raises ``UnknownName`` for a point there is not, ``ConfigError`` for the last one.
    """
    if point == network.points[-1]:
        raise ConfigError(f"freeze={point!r} leaves nothing to train", fix=f"--freeze {ALL}")
    if point not in network.points:
        known = [*network.points[:-1], ALL]
        raise UnknownName("point", point, known, listing=f"use {', '.join(known)}")
    twin = copy.deepcopy(network).to("meta").eval()
    seen: list[str] = []
    for name, module in twin.named_modules():
        if next(module.children(), None) is None:
            module.register_forward_pre_hook(lambda module, inputs, name=name: seen.append(name))
    channels = next(twin.parameters()).shape[1]
    twin.features(torch.empty(1, channels, *twin.spec.input_size[1:], device="meta"), at=[point])
    return list(dict.fromkeys(seen))


def _from_sealed(path: Path) -> tuple[Weights, Tensor | None]:
    """A sealed model's weights, and its mean image where it has one."""
    classifier = load(path)
    weights = Weights(
        tensors=dict(classifier.model.state_dict()),
        origin=str(path),
        model=spec_name(classifier.card["architecture"], classifier.card.get("options", {})),
        preprocess=classifier.preprocess,
        classes=classifier.classes,
    )
    return weights, classifier.mean_image
