"""What can be found out about a network by running it; nothing here reads its row's numbers.

Depth, stems, residuals and shortcuts are read off the graph that autograd records; see ``graph``.
"""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnets.cost import Cost, measure
from resnets.models import Network
from resnets.verification import graph
from resnets.verification.claims import Quantity, Value

BASIC_WEIGHTS = 2 * 3 * 3 * 256 * 256
"""Of a basic block at 256 channels, which a bottleneck stands in for (arXiv:1512.03385, Fig. 5)."""


class Measured:
    """A network that has seen one image of its own size.

    Looking for a part that it does not have raises ``KeyError`` with the part's name.
    """

    def __init__(self, network: Network) -> None:
        self.cost: Cost = measure(network, network.spec.input_size)
        self.parts: dict[str, nn.Module] = dict(network.named_modules())
        self.shapes, first, logits = _run(network)
        self.steps: list[Node] = graph.steps_to(logits)
        self.stem: list[Node] = graph.steps_to(first)
        self.blocks: list[graph.Branches] = list(graph.blocks(self.steps))

    def maps(self, *parts: str) -> list[torch.Size]:
        """What the parts put out; of none, the last convolution's map of each size, in order."""
        if parts:
            return [self.shapes[part] for part in parts]
        convolutions = self.convolutions()
        shapes = [shape for name, shape in self.shapes.items() if name in convolutions]
        return [list(same)[-1] for _, same in groupby(shapes, key=lambda shape: shape[2:])]

    def of_shortcuts(self) -> set[nn.Parameter]:
        """The parameters on the ways past residuals."""
        return graph.parameters([step for block in self.blocks for step in block.shortcut])

    def convolutions(self, inside: str = "") -> dict[str, nn.Conv2d]:
        """Those whose name begins so, by name."""
        return {
            name: part
            for name, part in self.parts.items()
            if isinstance(part, nn.Conv2d) and name.startswith(inside)
        }


def layers(measured: Measured) -> int:
    """The most convolutions and linear layers that lie one behind the other."""
    return graph.depth(measured.steps)


def convolutions(measured: Measured) -> int:
    """All convolutions, those of shortcuts too."""
    return len(measured.convolutions())


def parameters(measured: Measured, *parts: str) -> int:
    """Trainable numbers, of the parts where some are named."""
    if not parts:
        return measured.cost.parameters
    return sum(p.numel() for part in parts for p in measured.parts[part].parameters())


def parameters_that_run(measured: Measured) -> int:
    """Those that an answer takes: without the heads that only training uses."""
    return sum(row.parameters for row in measured.cost.rows)


def multiply_adds(measured: Measured) -> int:
    """Multiply-adds for one image."""
    return measured.cost.multiply_adds


def sides(measured: Measured, *parts: str) -> tuple[int, ...]:
    """Pixels along a side of the maps that the parts put out; of none, of all convolutions."""
    return tuple(shape[-1] for shape in measured.maps(*parts))


def channels(measured: Measured, *parts: str) -> tuple[int, ...]:
    """Channels of the maps that the parts put out; of none, of all convolutions."""
    return tuple(shape[1] for shape in measured.maps(*parts))


def strides(measured: Measured) -> tuple[str, ...]:
    """The convolutions of residuals that skip pixels: kernel, name, and the blocks they are in."""
    blocks: dict[str, list[str]] = {}
    past = measured.of_shortcuts()
    for name, part in measured.convolutions("layer").items():
        block, _, layer = name.rpartition(".")
        if max(part.stride) > 1 and part.weight not in past:
            kernel = "x".join(map(str, part.kernel_size))
            blocks.setdefault(f"{kernel} {layer}", []).append(block)
    return tuple(f"{layer} of {' '.join(inside)}" for layer, inside in blocks.items())


def stem(measured: Measured) -> tuple[str, ...]:
    """What leads to the network's first point, layer by layer."""
    return tuple(map(graph.told, measured.stem))


def norms(measured: Measured) -> tuple[str, ...]:
    """The kinds of normalisation."""
    kinds = sorted(set(map(graph.told, measured.steps)))
    return tuple(kind for kind in kinds if kind.endswith(" norm"))


def residual(measured: Measured) -> tuple[str, ...]:
    """The last block's, layer by layer."""
    return tuple(graph.told(step) for block in measured.blocks[-1:] for step in block.residual)


def shortcuts(measured: Measured) -> int:
    """Additions of two maps."""
    return sum(step.name() == graph.ADDITION for step in measured.steps)


def shortcut_layers(measured: Measured) -> tuple[str, ...]:
    """What shortcuts are made of, and how many are."""
    forms = Counter(
        " + ".join(map(graph.told, block.shortcut)) or "the input itself"
        for block in measured.blocks
    )
    return tuple(f"{count} of {form}" for form, count in forms.items())


def shortcut_parameters(measured: Measured) -> int:
    """Numbers that are learned on the ways past residuals."""
    return sum(parameter.numel() for parameter in measured.of_shortcuts())


def weights(measured: Measured, part: str) -> int:
    """Weights of the convolutions of a residual."""
    inside = measured.convolutions(f"{part}.conv").values()
    return sum(convolution.weight.numel() for convolution in inside)


def basic_to_bottleneck(measured: Measured, part: str) -> float:
    """How many times the weights of this block go into a basic one's at 256 channels."""
    return BASIC_WEIGHTS / max(1, weights(measured, part))


QUANTITIES: dict[Quantity, Callable[..., Value]] = {
    "layers": layers,
    "convolutions": convolutions,
    "parameters": parameters,
    "parameters that run": parameters_that_run,
    "multiply-adds": multiply_adds,
    "sides": sides,
    "channels": channels,
    "strides": strides,
    "stem": stem,
    "norms": norms,
    "residual": residual,
    "shortcuts": shortcuts,
    "shortcut layers": shortcut_layers,
    "shortcut parameters": shortcut_parameters,
    "weights": weights,
    "basic to bottleneck": basic_to_bottleneck,
}
"""How each is found: ``(measured, *parts)``."""


def _run(network: Network) -> tuple[dict[str, torch.Size], Tensor, Tensor]:
    """The shape that each part and each point puts out; the first point and the logits."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, given: Any, made: Any) -> None:
            if isinstance(made, Tensor):
                shapes[name] = made.shape

        return hook

    image = next(network.parameters()).new_zeros(1, *network.spec.input_size)
    modes = {part: part.training for part in network.modules()}
    frozen = [each for each in network.parameters() if not each.requires_grad]
    hooks = [part.register_forward_hook(note(name)) for name, part in network.named_modules()]
    try:
        for each in frozen:  # what they do is to be in the graph, too
            each.requires_grad_(True)
        with torch.enable_grad():
            points = network.eval().features(image)
    finally:
        for each in frozen:
            each.requires_grad_(False)
        for part, training in modes.items():
            part.training = training
        for hook in hooks:
            hook.remove()
    shapes |= {name: value.shape for name, value in points.items()}
    return shapes, points[network.points[0]], points["logits"]
