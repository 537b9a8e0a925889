"""What was measured of an export."""

import sys
from typing import Any

from resnets.console.text import Told, console_for, percent, print_table, say

NAMED = 10
"""Images whose answer changed that are named; the rest are in ``--json``."""


def show_proof(proof: Told) -> None:
    """Print the export beside PyTorch, and which answers it changes."""
    values = proof.to_dict()
    console = console_for(sys.stdout)
    n = values["n"]
    title = f"{values['split']} of {values['data']}, {n:,} images"
    print_table(console, title, ["", ">PyTorch", ">export"], _rows(values))
    changed = [
        [image["name"], image["label"], image["before"], image["after"]]
        for image in values["changed_images"]
    ]
    heads = ["file", "true class", "PyTorch", "export"]
    title = f"answers that changed ({len(changed):,} of {n:,})"
    print_table(console, title, heads, changed[:NAMED])
    if len(changed) > NAMED:
        say(f"and {len(changed) - NAMED:,} more; all are in --json")
    before, after = values["accuracy"]
    low, high = (100 * end for end in values["interval"])
    say(
        f"accuracy {100 * (after - before):+.1f} points, 95 % paired interval {low:+.1f} to "
        f"{high:+.1f}; probabilities differ by at most {values['largest_difference']:.2g}"
    )
    if values["weak"]:
        say(f"the gate is weak: {n:,} images cannot tell a drop of half a point from luck")


def _rows(values: dict[str, Any]) -> list[list[str]]:
    rows = {
        "accuracy": map(percent, values["accuracy"]),
        "size": (f"{size / 1e6:,.1f} MB" for size in values["size"]),
        "one image": (f"{time:,.1f} ms" for time in values["milliseconds"]),
        "batches of 16": (f"{rate:,.0f} images/s" for rate in values["images_per_second"]),
    }
    return [[name, *cells] for name, cells in rows.items()]
