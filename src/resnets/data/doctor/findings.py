"""What the doctor found, as plain values that tables, JSON and HTML are made of."""

import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from resnets.data.doctor.kinds import ALLOWED_IN_TRAINING, KINDS, OF_READING, Weight
from resnets.data.listing import told
from resnets.errors import DataError, UnknownName

FIRST = 10
"""So many paths are told in an error."""


@dataclass(frozen=True)
class Item:
    """One image, or several that belong together."""

    paths: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is the matter, and all the images it is the matter with."""

    kind: str
    """A key of ``KINDS``."""
    count: int
    what: str
    effect: str
    """What it would do to the result."""
    fix: str
    """What to type."""
    weight: Weight
    items: tuple[Item, ...]

    @property
    def allowed_as(self) -> str:
        """The name by which ``--allow`` lets it pass."""
        return "unreadable" if self.kind in OF_READING else self.kind

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``paths`` are those of all items, each once."""
        paths = dict.fromkeys(path for item in self.items for path in item.paths)
        return {**asdict(self), "paths": list(paths)}


def counted(count: int, one: str, more: str) -> str:
    """A count with its noun and verb, as ``1 image is`` and ``2 images are``."""
    return f"{count:,} {one if count == 1 else more}"


def finding(
    kind: str,
    what: str,
    items: Sequence[Item],
    *,
    source: str,
    count: int | None = None,
    stops: bool | None = None,
) -> Finding:
    """A finding of a kind, with what all of that kind share filled in.

    Args:
        source: the data set, as it is typed.
        count: how many images or classes, if not one for each item.
        stops: whether it stops a run, where that is not the kind's own.
    """
    known = KINDS[kind]
    folder = source if os.path.isdir(source) else os.path.dirname(source)
    example = shlex.quote(os.path.join(folder, items[0].paths[-1]))
    fix = known.fix.replace("DATA", shlex.quote(source)).replace("FILE", example)
    if source.startswith("("):  # arrays, which have no files to name
        fix = f"take them out, or train(..., allow=[{kind!r}])"
    weight = known.weight if stops is None else "stops" if stops else "harms"
    return Finding(
        kind=kind,
        count=len(items) if count is None else count,
        what=what,
        effect=known.effect,
        fix=fix,
        weight=weight,
        items=tuple(items),
    )


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was found in a data set, most harmful first, and what was not looked at."""

    name: str
    source: str
    images: dict[str, int]
    """Of each split."""
    classes: int
    formats: dict[str, int]
    modes: dict[str, int]
    """Pillow's names of colour modes, as the files have them."""
    sides: tuple[int, int, int] | None
    """The shortest, median and longest of all sides, in pixels."""
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = field(default=())
    """What was not checked, in sentences."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values. In names, a byte that is no UTF-8 is U+DC80 to U+DCFF (PEP 383)."""
        return {**asdict(self), "findings": [each.to_dict() for each in self.findings]}

    def that_matter(self, allowed: Collection[str] = ()) -> list[Finding]:
        """Those that stop a run or harm its result, and are not allowed by name."""
        return [
            each
            for each in self.findings
            if each.weight != "noted" and not {each.kind, each.allowed_as} & set(allowed)
        ]

    def sentences(self) -> list[str]:
        """One for each that matters, and one for what was not checked.

        Unreadable files are not among them: a run tells those with their reasons.
        """
        matter = [
            f"{each.what} ({_first(each.items, 5)}): {each.effect}"
            for each in self.that_matter(["unreadable"])
        ]
        return [*matter, *self.unchecked]

    def summary(self) -> list[dict[str, Any]]:
        """What a run keeps of them: kinds and counts."""
        return [
            {"kind": each.kind, "count": each.count, "what": each.what} for each in self.findings
        ]

    def refuse(self, allowed: Collection[str]) -> None:
        """Raise ``DataError`` for what stops a run and is not allowed by name."""
        for each in self.that_matter(allowed):
            if each.weight == "stops":
                raise DataError(f"{each.what}: {_first(each.items, FIRST)}", fix=each.fix)


def _first(items: Sequence[Item], most: int) -> str:
    return told((" = ".join(item.paths) for item in items), most=most)


def check_allowed(allowed: Collection[str]) -> None:
    """Raise ``UnknownName`` for what no training run can allow."""
    for name in allowed:
        if name not in ALLOWED_IN_TRAINING:
            raise UnknownName(
                "finding that a run stops for",
                name,
                ALLOWED_IN_TRAINING,
                listing=f"they are {' and '.join(ALLOWED_IN_TRAINING)}",
            )
