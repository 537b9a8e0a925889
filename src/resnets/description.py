"""What a network is and what it costs, alone or beside another."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch

from resnets.checkpoint import read_sealed
from resnets.cost import CONVENTION, BlockCost, Cost, measure
from resnets.errors import ConfigError
from resnets.models import Network, create_model
from resnets.models.specs import SPECS, Spec, spec_name, spec_of
from resnets.sealing import CARD

TOLD = {"family", "source", "note", "classes", "input_size", "sides"}
"""Fields of a row that a description tells of every network."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """A network without weights, the row it was built from, and its cost."""

    name: str
    """As it was asked for."""
    architecture: str
    """The network's name in the table, with its options, as ``create_model`` reads it back."""
    spec: Spec
    classes: int
    network: Network
    """On the meta device."""
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "family": self.spec.family,
            "source": self.spec.source,
            "note": self.spec.note,
            "classes": self.classes,
            "sides": list(self.spec.sides),
            **self.cost.to_dict(),
            "convention": CONVENTION,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Two descriptions and where they differ."""

    first: Description
    second: Description

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON: ``models``, ``spec`` and ``blocks``.

        The last two hold what differs, with two ``values`` each: of the fields that both rows
        have, and of all blocks, ``None`` where one has no such.
        """
        fields = [_fields(each.spec) for each in (self.first, self.second)]
        return {
            "models": [self.first.to_dict(), self.second.to_dict()],
            "spec": [
                {"field": key, "values": [each[key] for each in fields]}
                for key in fields[0]
                if key in fields[1] and fields[0][key] != fields[1][key]
            ],
            "blocks": [
                {"name": (one or other or {})["name"], "values": [one, other]}
                for one, other in _beside(self.first.cost.blocks, self.second.cost.blocks)
                if one != other
            ],
        }


def describe(model: str | Path, input_size: Sequence[int] | None = None) -> Description:
    """What a network is and what it costs.

    Args:
        model: a name from the table, with options or without (``resnet50:shortcut=C``); or a run
            folder, or a sealed or exported model.
        input_size: channels, height, width; by default what the network was made for.

    Raises ``UnknownName``, ``ModelFileError``, and ``ConfigError`` for a size or an option that
    cannot be.
    """
    text = str(model)
    name, options, classes, made_for = text, {}, None, None
    path = Path(text)
    if text.partition(":")[0] not in SPECS and (len(path.parts) > 1 or path.exists()):
        card = _card_of(path)
        name, options, classes = card["architecture"], card["options"], card["num_classes"]
        made_for = tuple(card["input_size"])
    spec = spec_of(name, options)
    size = tuple(input_size or made_for or spec.input_size)
    with torch.device("meta"):  # shapes without memory
        network = create_model(name, num_classes=classes, in_channels=size[0], **options)
    return Description(
        name=text,
        architecture=spec_name(name, options),
        spec=spec,
        classes=spec.classes if classes is None else classes,
        network=network,
        cost=measure(network, size),
    )


def _card_of(path: Path) -> dict[str, Any]:
    """What a model's ``model.json`` says; that of an export is believed, for it runs nothing."""
    folder = path.parent if path.is_file() else path
    try:
        card = json.loads((folder / CARD).read_bytes())
        if "export" in card:
            return card
    except (OSError, ValueError, TypeError, RecursionError):
        pass  # no export, but perhaps a run
    return read_sealed(path).card


def compare(
    first: str | Path, second: str | Path, input_size: Sequence[int] | None = None
) -> Comparison:
    """Two networks side by side; the arguments and errors are those of ``describe``."""
    return Comparison(first=describe(first, input_size), second=describe(second, input_size))


def parse_size(text: str) -> tuple[int, int, int]:
    """Channels, height and width.

    >>> parse_size("3x224x224")
    (3, 224, 224)
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(
            f"{text!r} is no input size",
            fix="give channels, height and width, such as 3x224x224",
        )
    channels, height, width = map(int, parts)
    return channels, height, width


def _fields(spec: Spec) -> dict[str, Any]:
    """What a row says beyond what every description tells."""
    names = [field.name for field in dataclasses.fields(spec)]
    return {name: getattr(spec, name) for name in names if name not in TOLD}


def _beside(
    first: Sequence[BlockCost], second: Sequence[BlockCost]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Blocks of one name in pairs, those of one network alone, in order."""
    names = [[block.name for block in blocks] for blocks in (first, second)]
    matcher = SequenceMatcher(a=names[0], b=names[1], autojunk=False)
    for same, i, j, k, m in matcher.get_opcodes():
        ones = [_size(block) for block in first[i:j]]
        others = [_size(block) for block in second[k:m]]
        if same == "equal":
            yield from zip(ones, others, strict=True)
        else:
            yield from ((one, None) for one in ones)
            yield from ((None, other) for other in others)


def _size(block: BlockCost) -> dict[str, Any]:
    told = block.to_dict()
    keys = ("name", "kind", "output_shape", "parameters", "multiply_adds")
    return {key: told[key] for key in keys}
