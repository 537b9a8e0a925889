"""Shortcuts at equal depth: options A, B and C, and identity mappings.

arXiv:1512.03385, Section 4.1 (Table 3 compares the options on ImageNet only) and
arXiv:1603.05027, Section 4.
"""

from pathlib import Path
from typing import Any

from resnets.experiments.table6 import TABLE_6
from resnets.experiments.tables import NetErrors, Published, errors_of

KINDS = {
    "resnet{layers}": "A: zero channels",
    "resnet{layers}_option_b": "B: 1x1 where the shape changes",
    "resnet{layers}:shortcut=C": "C: 1x1 in every block",
    "preact_resnet{layers}": "v2: identity mappings",
}
V2 = {"preact_resnet110": Published(error=0.0637, source="arXiv:1603.05027")}


def shortcuts(
    data: str | Path = "cifar10",
    *,
    layers: int = 20,
    seeds: int = 3,
    out: str | Path = "runs/shortcuts",
    **how: Any,
) -> list[NetErrors]:
    """Train one depth with each kind of shortcut; the same call continues where it stopped.

    Args:
        layers: 20, 32, 44, 56 or 110.
        seeds, how: as ``table6`` takes them.

    ``shortcuts.csv`` is written to ``out``. Raises what ``table6`` raises.
    """
    nets = {name.format(layers=layers): told for name, told in KINDS.items()}
    published = {f"resnet{depth}": values for depth, values in TABLE_6.items()} | V2
    return errors_of(nets, published, file="shortcuts.csv", data=data, seeds=seeds, out=out, **how)
