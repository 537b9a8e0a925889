"""Networks as tables: which there are, what one costs, how two differ."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from resnets.console.text import Told, console_for, print_table, printable, say

SIZES = [">parameters", ">multiply-adds", ">activations", ">sees", ">stride", ">start"]
LONGEST = 60
"""Characters of a field of a row; the rest is in ``--json``."""


def show_models(rows: Iterable[Any], *, as_json: bool = False, convention: str = "") -> None:
    """Print networks by name, size, cost, input, paper and weights, as a table or as JSON."""
    models = [dataclasses.asdict(row) for row in rows]
    if as_json:
        print(json.dumps(models))
        return
    cells = [
        [
            row["name"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
            _sides(row["input_size"]),
            row["family"],
            row["source"],
            ", ".join(row["weights"]),
        ]
        for row in models
    ]
    heads = ["model", ">parameters", ">multiply-adds", ">input", "family", "source", "weights"]
    print_table(console_for(sys.stdout), "networks", heads, cells)
    say(convention)


def show_verdicts(name: str, verdicts: Iterable[Told]) -> None:
    """Print a network's claims, one line each: what its source says, and what was computed."""
    rows = [verdict.to_dict() for verdict in verdicts]
    cells = [
        [row["status"], row["claim"], row["expected"], _computed(row), row["source"]]
        for row in rows
    ]
    heads = ["", "claim", ">published", ">computed", "source"]
    print_table(console_for(sys.stdout), name, heads, cells)


def _computed(row: dict[str, Any]) -> str:
    return "the same" if row["computed"] == row["expected"] else row["computed"] or ""


def show_description(description: Told, *, layers: bool = False) -> None:
    """Print what a network is and costs, then a row for each block or for each layer."""
    values = description.to_dict()
    say(values["name"])
    for label, told in _headlines(values).items():
        say(f"  {label:<20}{told}")
    rows = values["layers" if layers else "blocks"]
    heads = ["layer" if layers else "block", "kind", ">output", *SIZES]
    print_table(console_for(sys.stdout), "", heads, [_cells(row) for row in rows])
    say(f"{values['convention']} Sees, stride, start: the receptive field in pixels.")


def show_comparison(comparison: Told) -> None:
    """Print two networks side by side, then what differs in their rows and in their blocks."""
    values = comparison.to_dict()
    console = console_for(sys.stdout)
    one, other = values["models"]
    heads = ["", *(printable(each["name"], encoding=console.encoding) for each in (one, other))]
    told = [_headlines(each) for each in (one, other)]
    labels = dict.fromkeys([*told[0], *told[1]])
    totals = [[label, *(each.get(label, "") for each in told)] for label in labels]
    print_table(console, "side by side", heads, totals)
    rows = [[row["field"], *map(_value, row["values"])] for row in values["spec"]]
    print_table(console, "what their rows in the table say differently", heads, rows)
    blocks = [_block_cells(group) for group in _repeated(values["blocks"])]
    print_table(console, "blocks that differ", ["block", *heads[1:]], blocks)
    if not (rows or blocks):
        say("they differ in nothing that is counted")
    say(one["convention"])


def _headlines(values: dict[str, Any]) -> dict[str, str]:
    """What there is to say of a whole network, by its label."""
    smallest, largest = values["sides"]
    sides = f"{smallest} to {largest}" if largest else f"{smallest} or more"
    only_training = values["parameters"] - sum(row["parameters"] for row in values["layers"])
    size, stride, start = _field(values["receptive_field"])
    told = {
        "architecture": values["architecture"] if values["architecture"] != values["name"] else "",
        "family": values["family"],
        "source": values["source"],
        "note": values["note"],
        "input": f"{_sides(values['input_size'])} (sides of {sides} pixels are taken)",
        "classes": str(values["classes"]),
        "parameters": f"{values['parameters']:,}",
        "  in training only": f"{only_training:,}" if only_training else "",
        "multiply-adds": f"{values['multiply_adds']:,}",
        "activation memory": _amount(values["activation_bytes"]),
        "the last map sees": f"{size} pixels, stride {stride}, start {start}"
        if stride
        else "the whole image",
    }
    return {label: text for label, text in told.items() if text}


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        row["kind"],
        _sides(row["output_shape"]),
        f"{row['parameters']:,}",
        f"{row['multiply_adds']:,}",
        _amount(row["activation_bytes"]),
        *_field(row["receptive_field"]),
    ]


def _repeated(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Neighbours that differ in the same way, together."""

    def difference(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**(value or {}), "name": ""} for value in row["values"]]

    return [list(group) for _, group in groupby(rows, difference)]


def _block_cells(group: list[dict[str, Any]]) -> list[str]:
    first, last = group[0], group[-1]
    name = first["name"] if first is last else f"{first['name']} to {last['name']}"
    return [name, *map(_block, first["values"])]


def _block(value: dict[str, Any] | None) -> str:
    if value is None:
        return "none"
    return (
        f"{value['kind']} {_sides(value['output_shape'])}, {value['parameters']:,} parameters, "
        f"{value['multiply_adds']:,} multiply-adds"
    ).strip()


def _field(field: dict[str, Any]) -> tuple[str, str, str]:
    """Size, stride and start; one number where height and width agree."""
    if not any(field["stride"]):
        return "all", "", ""
    size, stride, start = (
        "x".join(f"{number:g}" for number in dict.fromkeys(field[key]))
        for key in ("size", "stride", "start")
    )
    return size, stride, start


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _amount(count: float) -> str:
    """Bytes as people read them.

    >>> _amount(64), _amount(802_816)
    ('64 B', '803 kB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
