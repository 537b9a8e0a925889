"""A claim about a network is a row: what is said of it, how much, and where that is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Quantity = Literal[
    "layers",
    "convolutions",
    "parameters",
    "parameters that run",
    "multiply-adds",
    "sides",
    "channels",
    "strides",
    "stem",
    "norms",
    "residual",
    "shortcuts",
    "shortcut layers",
    "shortcut parameters",
    "weights",
    "basic to bottleneck",
    "published",
]
"""What ``measuring`` can find out; ``published`` is a result of training and only told."""

Value = int | float | str | tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a source says about one quantity of one network."""

    about: Quantity
    expected: Value
    """A number, exact; a text, the number as it is printed, with M for millions; or a tuple, one
    value for each part of ``at`` or, without, for each size of map."""
    source: str
    """The paper, with section or table; or the independent implementation that was counted."""
    at: tuple[str, ...] = ()
    """The parts of the network it is about; none: all of it."""
    within: float = 0.0
    """How far off a loosely printed number may be, as a share of it."""

    def title(self) -> str:
        """The quantity, and of which parts."""
        if len(self.at) > 1:
            return f"{self.about}, {self.at[0]} to {self.at[-1]}"
        return f"{self.about}, {self.at[0]}" if self.at else self.about

    def told(self) -> str:
        """What is expected, as people read it."""
        slack = f" within {100 * self.within:g} %" if self.within else ""
        return shown(self.expected) + slack

    def holds(self, computed: Value) -> bool:
        """Whether a measured value is the claimed one, at the precision the claim is printed in."""
        if not isinstance(self.expected, str) or isinstance(computed, (str, tuple)):
            return computed == self.expected
        printed = Decimal(self.expected.replace("M", "e6"))
        rounding = 0.5 * 10.0 ** int(printed.as_tuple().exponent)
        return abs(computed - float(printed)) <= max(rounding, self.within * float(printed))


def shown(value: Value) -> str:
    """A value as people read it.

    >>> shown(11_689_512), shown((112, 56)), shown("0.27M")
    ('11,689,512', '112, 56', '0.27M')
    """
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else f"{value:,}"


def rows(
    about: Quantity,
    table: Mapping[str, Value],
    source: str,
    *,
    at: tuple[str, ...] = (),
    within: float = 0.0,
) -> list[tuple[str, Claim]]:
    """One claim for each name of a table."""
    return [
        (name, Claim(about=about, expected=expected, source=source, at=at, within=within))
        for name, expected in table.items()
    ]


def by_name(*tables: Iterable[tuple[str, Claim]]) -> dict[str, list[Claim]]:
    """The claims of all tables, gathered for each name."""
    gathered: dict[str, list[Claim]] = {}
    for table in tables:
        for name, claim in table:
            gathered.setdefault(name, []).append(claim)
    return gathered
