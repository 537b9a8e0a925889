"""What a run of a network cost: by layer, by block and in all."""

from dataclasses import dataclass
from typing import Any

from resnets.cost.fields import ReceptiveField


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One run of a layer: a module without children, or with weights or products of its own."""

    name: str
    """The module's, as in ``named_modules()``."""
    kind: str
    """Its class."""
    output_shape: tuple[int, ...]
    """Without the batch."""
    parameters: int
    """None where an earlier layer has the same ones."""
    multiply_adds: int
    activation_bytes: int
    receptive_field: ReceptiveField
    inputs: tuple[int, ...]
    """Places in ``Cost.rows`` of the layers that it reads; -1 is the image."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_bytes": self.activation_bytes,
            "receptive_field": _plain(self.receptive_field),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockCost:
    """Layers that belong together: a stem, a residual block, a head."""

    name: str
    """The module's, or the point's where a network has no module of them."""
    kind: str
    """The module's class, or nothing."""
    point: str
    """The point of ``Network.features`` that it leads to; empty for other modules."""
    output_shape: tuple[int, ...]
    receptive_field: ReceptiveField
    layers: tuple[LayerCost, ...]
    first: int
    """Place of its first layer in ``Cost.rows``."""
    ends: tuple[int, ...]
    """Places of the layers that its output comes from; one below ``first`` is its input."""

    @property
    def parameters(self) -> int:
        """Of its layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of its layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Of its layers."""
        return sum(layer.activation_bytes for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "point": self.point,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_bytes": self.activation_bytes,
            "receptive_field": _plain(self.receptive_field),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one image costs a network."""

    input_size: tuple[int, int, int]
    """Channels, height, width."""
    rows: tuple[LayerCost, ...]
    """In the order in which they ran."""
    blocks: tuple[BlockCost, ...]
    """The same layers, block by block."""
    points: dict[str, tuple[int, ...]]
    """Shapes at the points of ``Network.features``; none for other modules."""
    parameters: int
    """All of the network's, those of layers that run only while training as well."""

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Of all layers."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def receptive_field(self) -> ReceptiveField:
        """Of the last map, what a head reads; of the last output where there is no map."""
        maps = [block for block in self.blocks if len(block.output_shape) == 3]
        return [*self.blocks, *maps][-1].receptive_field

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "input_size": list(self.input_size),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_bytes": self.activation_bytes,
            "receptive_field": _plain(self.receptive_field),
            "blocks": [block.to_dict() for block in self.blocks],
            "layers": [row.to_dict() for row in self.rows],
        }


def _plain(field: ReceptiveField) -> dict[str, Any]:
    return {"size": list(field.size), "stride": list(field.stride), "start": list(field.start)}
