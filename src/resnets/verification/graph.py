"""A network's way from image to logits, as autograd records it: steps, blocks and their branches.

It holds for whatever the modules are called and however the network calls them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

WEIGHTED = ("ConvolutionBackward0", "AddmmBackward0", "MmBackward0")
"""Convolutions and linear layers."""
ADDITION = "AddBackward0"
LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True)
class Branches:
    """What is added up at the end of a residual block, each from where the two ways part."""

    residual: list[Node]
    shortcut: list[Node]


def steps_to(output: Tensor) -> list[Node]:
    """The steps that led to a tensor, each behind those it reads from."""
    order: list[Node] = []
    seen: set[Node] = set()
    waiting: list[tuple[Node, bool]] = [(output.grad_fn, False)] if output.grad_fn else []
    while waiting:
        step, sources_done = waiting.pop()
        if sources_done:
            order.append(step)
        elif step not in seen:
            seen.add(step)
            waiting.append((step, True))
            waiting += [(source, False) for source in sources(step)]
    return order


def sources(step: Node) -> list[Node]:
    """The steps that it reads from."""
    before = [source for source, _ in step.next_functions if source is not None]
    return [source for source in before if source.name() != LEAF]


def depth(steps: list[Node]) -> int:
    """The most convolutions and linear layers that lie one behind the other."""
    deepest: dict[Node, int] = {}
    for step in steps:
        before = max((deepest.get(source, 0) for source in sources(step)), default=0)
        deepest[step] = before + (step.name() in WEIGHTED)
    return max(deepest.values(), default=0)


def parameters(steps: list[Node]) -> set[nn.Parameter]:
    """Those that these steps read."""
    leaves: list[Any] = [leaf for step in steps for leaf, _ in step.next_functions]
    held = {leaf.variable for leaf in leaves if leaf is not None and leaf.name() == LEAF}
    return {each for each in held if isinstance(each, nn.Parameter)}


def blocks(steps: list[Node]) -> Iterator[Branches]:
    """The branches of each addition of two maps, in the network's order.

    The shortcut is the one of fewer convolutions.
    """
    places = {step: place for place, step in enumerate(steps)}
    for step in steps:
        if step.name() == ADDITION and len(sources(step)) == 2:
            shorter, longer = sorted(_branches(step, places), key=depth)
            yield Branches(residual=longer, shortcut=shorter)


def _branches(addition: Node, places: dict[Node, int]) -> tuple[list[Node], list[Node]]:
    """The steps of either side, back to the first that both sides come from.

    Steps are taken the latest first, so all that read from one have been taken before it.
    """
    sides: tuple[list[Node], list[Node]] = ([], [])
    reached: dict[Node, set[int]] = {}
    waiting: list[tuple[int, Node]] = []

    def reach(step: Node, side: int) -> None:
        if step not in reached:
            heappush(waiting, (-places[step], step))
        reached.setdefault(step, set()).add(side)

    for side, source in enumerate(sources(addition)):
        reach(source, side)
    while waiting:
        _, step = heappop(waiting)
        if len(reached[step]) == 2:
            break
        (side,) = reached[step]
        sides[side].insert(0, step)
        for source in sources(step):
            reach(source, side)
    return sides


def told(step: Node) -> str:
    """What a step does, as people read it: ``7x7 conv /2``, ``batch norm``, ``3x3 max pool /2``."""
    kind = step.name().rstrip("0123456789").removesuffix("Backward")
    return NAMES.get(kind, lambda step: kind.lower())(step)


def _window(kind: str, kernel: Callable[[Any], Any]) -> Callable[[Any], str]:
    def name(step: Any) -> str:
        stride = step._saved_stride[0] if step._saved_stride else kernel(step)[0]
        return f"{'x'.join(map(str, kernel(step)))} {kind}{f' /{stride}' if stride > 1 else ''}"

    return name


NAMES: dict[str, Callable[[Any], str]] = {
    "Convolution": _window("conv", lambda step: tuple(step._saved_weight.shape[2:])),
    "MaxPool2DWithIndices": _window("max pool", lambda step: step._saved_kernel_size),
    "AvgPool2D": _window("mean pool", lambda step: step._saved_kernel_size),
    "NativeBatchNorm": lambda step: "batch norm",
    "CudnnBatchNorm": lambda step: "batch norm",
    "NativeGroupNorm": lambda step: "group norm",
    "NativeLayerNorm": lambda step: "layer norm",
    "Relu": lambda step: "ReLU",
    "ConstantPadNd": lambda step: "zeros",
    "Mul": lambda step: "product",
}
"""By autograd's name for the step; of all others that name is told."""
