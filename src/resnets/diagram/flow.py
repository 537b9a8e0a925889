"""What a diagram shows of a network: stages, blocks drawn once, branches and where they meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from resnets.cost import BlockCost, Cost, LayerCost
from resnets.models.layers import SqueezeExcitation
from resnets.models.related import HighwayLayer
from resnets.models.stems import PadShortcut

INPUT = -1
"""Stands for every layer outside a block."""
SUMS = {HighwayLayer.__name__: "mix"}
"""Blocks that do more than add where branches meet."""


@dataclass(frozen=True, slots=True)
class Step:
    """One box."""

    label: str
    kind: str
    """conv, pool, linear or other."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A block: branches that begin at its input, where they meet, and what follows."""

    branches: tuple[tuple[Step, ...], ...]
    """Of two, the residual and then its shortcut; one without steps is the input itself."""
    merge: str
    """+, mix or concat; empty where there is one branch."""
    tail: tuple[Step, ...]

    @property
    def has_shortcut(self) -> bool:
        """Whether it is a residual, or something that is kept, beside a way around it."""
        return len(self.branches) == 2 and (self.merge == "+" or not self.branches[1])


@dataclass(frozen=True, slots=True)
class Stage:
    """The way to one point of a network: blocks, each with how often it comes in a row."""

    name: str
    output_shape: tuple[int, ...]
    """Without the batch."""
    blocks: tuple[BlockCost, ...]
    flows: tuple[tuple[Flow, int], ...]

    @property
    def costs(self) -> list[tuple[int, str]]:
        """Parameters and multiply-adds."""
        return [
            (sum(block.parameters for block in self.blocks), "parameters"),
            (sum(block.multiply_adds for block in self.blocks), "multiply-adds"),
        ]


def stages_of(network: nn.Module, cost: Cost) -> Iterator[Stage]:
    """The stages of a network that was measured, those with nothing to draw left out."""
    following = [*cost.blocks[1:], None]
    drawn = [
        (block, flow_of(network, cost, block, after))
        for block, after in zip(cost.blocks, following, strict=True)
    ]
    for name, group in groupby(drawn, lambda pair: pair[0].point or pair[0].name):
        blocks, flows = zip(*group, strict=True)
        shown = [flow for flow in flows if flow.tail or any(flow.branches)]
        shape = cost.points.get(name, blocks[-1].output_shape)
        if shown:
            counted = tuple((flow, len([*same])) for flow, same in groupby(shown))
            yield Stage(name, shape, blocks, counted)


def flow_of(network: nn.Module, cost: Cost, block: BlockCost, after: BlockCost | None) -> Flow:
    """The branches of one block, as its run went through them; what follows may lead around it."""
    tail: list[int] = []
    ends = _inside(block.ends, block)
    while len(ends) == 1 and ends != [INPUT]:
        tail.insert(0, ends[0])
        ends = _inside(cost.rows[ends[0]].inputs, block)
    if ends == [INPUT]:  # no two ways meet
        steps = _steps(network, cost, tail) + _mean(block)
        around = after and after.layers and min(after.layers[0].inputs) < block.first
        if around and len(block.output_shape) == 3:  # as in dense blocks
            return Flow((steps, ()), "concat", ())
        return Flow((steps,), "", ())
    chains = [_chain(cost, block, end) for end in ends]
    # squeeze and excitation gates what it reads: its way begins with that one, and stands for both
    chains = [
        chain
        for chain in chains
        if not any(chain and chain == other[: len(chain)] != other for other in chains)
    ]
    if len(chains) == 2:
        chains.sort(key=len, reverse=True)
    channels = (cost.rows[tail[0]] if tail else block).output_shape[0]
    adds = all(cost.rows[chain[-1]].output_shape[0] == channels for chain in chains if chain)
    return Flow(
        branches=tuple(_steps(network, cost, chain) for chain in chains),
        merge="" if len(chains) == 1 else SUMS.get(block.kind, "+") if adds else "concat",
        tail=_steps(network, cost, tail),
    )


def _mean(block: BlockCost) -> tuple[Step, ...]:
    """The box of a mean over a map that a block takes at its end by functions alone."""
    shape = block.layers[-1].output_shape if block.layers else ()
    of_layer = len(shape) == 3 and shape[1:] != (1, 1) and block.output_shape == shape[:1]
    of_point = block.point == "pooled" and not block.layers
    return (Step("global average pool", "pool"),) if of_layer or of_point else ()


def _inside(places: Sequence[int], block: BlockCost) -> list[int]:
    """Places of layers, those outside the block as one."""
    return sorted({place if place >= block.first else INPUT for place in places})


def _chain(cost: Cost, block: BlockCost, end: int) -> list[int]:
    """The layers from a block's input to ``end``; where ways meet between, along the latest."""
    chain: list[int] = []
    while end != INPUT:
        chain.insert(0, end)
        end = _inside(cost.rows[end].inputs, block)[-1]
    return chain


def _steps(network: nn.Module, cost: Cost, places: Sequence[int]) -> tuple[Step, ...]:
    """The boxes of some layers: those that multiply, pool or change the sides of a map."""
    steps = []
    for layer in (cost.rows[place] for place in places):
        module, owner = (network.get_submodule(name) for name in (layer.name, _owner(layer.name)))
        if isinstance(owner, SqueezeExcitation):
            if module is owner.fc1:  # the gate is one box
                steps.append(Step(f"squeeze to {layer.output_shape[0]}, excite", "other"))
            continue
        step = _step(module, layer)
        read = [
            cost.rows[each].output_shape if each >= 0 else cost.input_size for each in layer.inputs
        ]
        reshapes = all(_unlike(shape, layer.output_shape) for shape in read)
        if step.kind != "other" or layer.multiply_adds:
            steps.append(step)
        elif reshapes and not isinstance(module, nn.Flatten):
            steps.append(step)
    return tuple(steps)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _unlike(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two maps have other sides, or two rows of units other lengths."""
    return shape != other if len(shape) == 1 else shape[1:] != other[1:]


def _step(module: nn.Module, layer: LayerCost) -> Step:
    match module:
        case nn.Conv2d():
            label = f"{_sides(module.kernel_size)} conv, {module.out_channels}"
            label += _moved(module.stride)
            label += f", {module.groups} groups" if module.groups > 1 else ""
            label += f", dilation {module.dilation[0]}" if max(module.dilation) > 1 else ""
            return Step(label, "conv")
        case nn.Linear():
            return Step(f"linear, {module.out_features}", "linear")
        case nn.MaxPool2d() | nn.AvgPool2d():
            word = "max" if isinstance(module, nn.MaxPool2d) else "average"
            moved = _moved(module.stride)
            return Step(f"{_sides(module.kernel_size)} {word} pool{moved}", "pool")
        case nn.AdaptiveAvgPool2d():
            sides = layer.output_shape[1:]
            word = "global average pool" if sides == (1, 1) else f"average pool to {_sides(sides)}"
            return Step(word, "pool")
        case PadShortcut():
            word = "zero padding" if module.new_channels else "skipped pixels"
            return Step(f"{word}{_moved(module.stride)}", "pool")
        case _:
            return Step(f"{layer.kind}, {layer.output_shape[0]}", "other")


def _sides(sides: int | Sequence[int]) -> str:
    return "x".join(map(str, (sides, sides) if isinstance(sides, int) else sides))


def _moved(stride: int | Sequence[int]) -> str:
    strides = {stride} if isinstance(stride, int) else set(stride)
    return "" if strides == {1} else f", /{'x'.join(map(str, sorted(strides)))}"
