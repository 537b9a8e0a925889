"""What every row has, and how a name with options becomes a row."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from resnets.config import check_field, parse_value
from resnets.errors import ConfigError, UnknownName


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One network: what a source says about it."""

    options: ClassVar[tuple[str, ...]] = ()
    """The fields that ``create_model`` lets a caller change."""

    family: str
    """Networks that are built alike, as people call them."""
    classes: int
    """Outputs in the source; 1000 is ImageNet, 10 is CIFAR-10."""
    input_size: tuple[int, int, int]
    """Channels, height, width the source trained on."""
    sides: tuple[int, int | None] = (1, None)
    """Smallest and largest height and width the network takes; ``None``: no limit."""
    source: str
    """The paper, with section or table; or whose form it is."""
    note: str = ""
    """In a sentence, what a reader of the source should know: how the network departs from it."""


def parse_name(text: str) -> tuple[str, dict[str, Any]]:
    """A name and the options behind it, each value as TOML or, failing that, as text.

    >>> parse_name("resnet50:shortcut=C:drop_path=0.1")
    ('resnet50', {'shortcut': 'C', 'drop_path': 0.1})
    """
    name, *parts = text.split(":")
    options = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"{text}: {part!r} is no option", fix=f"write it as {name}:option=value"
            )
        options[key] = parse_value(value)
    return name, options


def spec_name(name: str, options: Mapping[str, Any]) -> str:
    """The inverse of ``parse_name``.

    >>> spec_name("resnet50", {"shortcut": "C", "drop_path": 0.1})
    'resnet50:shortcut="C":drop_path=0.1'
    """
    return "".join([name, *(f":{key}={json.dumps(value)}" for key, value in options.items())])


def spec_from(
    specs: Mapping[str, Spec], text: str, options: Mapping[str, Any] | None = None
) -> Spec:
    """The row that a name means, changed by the options in the name and by those given."""
    name, inside = parse_name(text)
    if name not in specs:
        listing = f"`resnets models` lists all {len(specs)}"
        raise UnknownName("model", name, specs, listing=listing)
    spec = specs[name]
    changes = inside | dict(options or {})
    if not changes:
        return spec
    types = {field.name: field.type for field in dataclasses.fields(spec)}
    for key, value in changes.items():
        if key not in spec.options:
            known = ", ".join(spec.options)
            listing = f"{name} takes {known}" if known else f"{name} takes none"
            raise UnknownName("option", key, spec.options, listing=listing)
        changes[key] = tuple(value) if isinstance(value, list) else value
        check_field(key, changes[key], types[key])
    return dataclasses.replace(spec, **changes)


def check_probability(name: str, value: float) -> None:
    """Raise ``ConfigError`` unless a field's value is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name}={value}", fix="choose a probability below 1")
