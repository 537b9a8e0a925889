"""Follows one run of a network, operation by operation."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from resnets.cost.counts import BlockCost, LayerCost
from resnets.cost.fields import ReceptiveField, aten, field_after
from resnets.cost.products import check_counted, multiply_adds

IMAGE = -1
"""The place of what no layer made."""
BYTES = 4
"""Of a value in fp32."""
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that hold others; those with a way of their own through them are blocks."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor comes from."""

    field: ReceptiveField
    sources: frozenset[int]
    """Places of the layers it was made from without another layer between."""


@dataclass(slots=True)
class Call:
    """A module that is running."""

    name: str
    module: nn.Module
    sources: frozenset[int]
    """Of its inputs."""
    operations: int = 0
    multiply_adds: int = 0


@dataclass(slots=True)
class Block:
    """A block whose layers are being counted."""

    name: str
    kind: str
    point: str
    first: int
    shape: tuple[int, ...] = ()
    origin: Origin | None = None
    layers: list[LayerCost] = field(default_factory=list)


class Trace(TorchDispatchMode):
    """Counts each operation of a run to the module that asks for it, and follows what it sees."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: list[LayerCost] = []
        self.points: dict[str, tuple[int, ...]] = {}
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._point = ""
        self._names = {module: name for name, module in model.named_modules()}
        self._block_modules = set(_outermost_blocks(model))
        self._counted: set[int] = set()
        self._calls = [Call("", model, frozenset({IMAGE}))]
        self._whole = ReceptiveField.whole(images.shape[-2], images.shape[-1])
        self._origins = WeakTensorKeyDictionary()
        self._origins[images] = Origin(ReceptiveField.pixel(), frozenset({IMAGE}))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and note what it multiplied and what its output sees."""
        kwargs = kwargs or {}
        output = run_operation(func, args, kwargs)
        call = self._calls[-1]
        call.operations += 1
        call.multiply_adds += multiply_adds(func.overloadpacket, args, output)
        maps = [each for each in tensors(args) if each in self._origins]
        if maps:
            check_counted(func, list(tensors(args)), type(call.module).__name__)
        made = list(tensors(output))
        if maps and made:
            known = [self._origins[each] for each in maps]
            fields = [each.field for each in known]
            seen = field_after(func, args, kwargs, maps, fields, made[0], self._whole)
            sources = frozenset[int]().union(*(each.sources for each in known))
            self._mark(made, Origin(seen, sources))
        return output

    def step(self, point: str, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a network's way to one of its points."""
        self._point, before = point, len(self._blocks)
        output = run(x)
        self.points[point] = _shape(output)
        if len(self._blocks) == before and output is not x:  # by functions alone
            self._blocks.append(Block(point, "", point, len(self.rows)))
        if len(self._blocks) > before and not self._blocks[-1].kind:
            # What follows its last layer, such as flattening, is part of the point.
            self._blocks[-1].shape, self._blocks[-1].origin = _shape(output), self._origin(output)
        return output

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear of every module inside the model that begins or ends."""
        _, *inside = self._names
        with ExitStack() as hooks:
            for module in inside:
                before = module.register_forward_pre_hook(self._began)
                after = module.register_forward_hook(self._ended)
                hooks.callback(before.remove)
                hooks.callback(after.remove)
            yield

    def finish(self, output: Any) -> None:
        """Count what the model did itself, outside its modules."""
        self._count(self._calls.pop(), output)

    def blocks(self) -> tuple[BlockCost, ...]:
        """The blocks that ran."""
        return tuple(
            BlockCost(
                name=block.name,
                kind=block.kind,
                point=block.point,
                output_shape=block.shape,
                receptive_field=block.origin.field if block.origin else self._whole,
                layers=tuple(block.layers),
                first=block.first,
                ends=tuple(sorted(block.origin.sources)) if block.origin else (),
            )
            for block in self._blocks
        )

    def _began(self, module: nn.Module, inputs: Any) -> None:
        sources = [self._origin(each).sources for each in tensors(inputs)]
        read = frozenset[int]().union(*sources) or frozenset({IMAGE})
        name = self._names[module]
        self._calls.append(Call(name, module, read))
        if module in self._block_modules:
            self._open = Block(name, type(module).__name__, self._point, len(self.rows))
            self._blocks.append(self._open)

    def _ended(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._count(self._calls.pop(), output)
        if module in self._block_modules and self._open:
            self._open.shape, self._open.origin = _shape(output), self._origin(output)
            if self._open.layers:  # from outside, a block is one layer: its last
                last = Origin(self._origin(output).field, frozenset({len(self.rows) - 1}))
                self._mark(tensors(output), last)
            self._open = None

    def _count(self, call: Call, output: Any) -> None:
        """Make a module that has ended a row, if it is a layer."""
        own = [p for p in call.module.parameters(recurse=False) if id(p) not in self._counted]
        self._counted.update(map(id, own))
        leaf = call.operations and not _has_children(call.module)
        if not (leaf or own or call.multiply_adds):
            return
        origin = Origin(self._origin(output).field, frozenset({len(self.rows)}))
        row = LayerCost(
            name=call.name,
            kind=type(call.module).__name__,
            output_shape=_shape(output),
            parameters=sum(parameter.numel() for parameter in own),
            multiply_adds=call.multiply_adds,
            activation_bytes=BYTES * sum(each.numel() for each in tensors(output)),
            receptive_field=origin.field,
            inputs=tuple(sorted(call.sources)),
        )
        block = self._open or self._loose(call.name)
        self._mark(tensors(output), origin)
        block.layers.append(row)
        self.rows.append(row)
        if not block.kind:
            block.shape, block.origin = row.output_shape, origin

    def _loose(self, name: str) -> Block:
        """The block of a layer outside all blocks: its point, or the child that it is part of."""
        group = self._point or name.partition(".")[0]
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.kind or last.name != group:
            last = Block(group, "", self._point, len(self.rows))
            self._blocks.append(last)
        return last

    def _origin(self, output: Any) -> Origin:
        """Of a module's output; what no image went into is as if it saw all of it."""
        for each in tensors(output):
            if each in self._origins:
                return self._origins[each]
        return Origin(self._whole, frozenset({IMAGE}))

    def _mark(self, made: Any, origin: Origin) -> None:
        for each in made:
            self._origins[each] = origin


def run_operation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation's output; of batch norm on the meta device without torch's own way to it.

    That one takes a millisecond, four fifths of a network's run.
    """
    if func is aten.native_batch_norm.default and args[0].is_meta:
        return torch.empty_like(args[0]), *(args[0].new_empty(0) for _ in range(2))
    return func(*args, **kwargs)


def tensors(value: Any) -> Iterator[Tensor]:
    """Those in a tensor, a tuple, a list or a dict."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors(each)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def _outermost_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Modules of several layers, but for those that only hold blocks or layers."""
    for child in filter(_has_children, module.children()):
        holds_blocks = any(map(_has_children, child.children()))
        if type(child) in CONTAINERS or (isinstance(child, CONTAINERS) and holds_blocks):
            yield from _outermost_blocks(child)
        else:
            yield child


def _has_children(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _shape(output: Any) -> tuple[int, ...]:
    first = next(tensors(output), None)
    return () if first is None else tuple(first.shape[1:])
