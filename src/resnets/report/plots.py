"""The charts of a report as PNG, for papers and slides; needs ``resnets[plot]``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from resnets.errors import require
from resnets.sealing import make_folder

INCHES, DPI = (5.0, 3.6), 160
NUMBERED = 20
"""With more classes than this the confusion matrix shows no numbers."""


def save_plots(facts: dict[str, Any], folder: Path) -> list[Path]:
    """Draw learning curves, reliability, coverage and confusion; returns the files.

    Args:
        facts: of ``facts_of``.

    Raises ``MissingExtra`` without matplotlib, ``CannotGoOn`` for a folder that cannot be made.
    """
    figure_of = require("matplotlib.figure", extra="plot").Figure
    make_folder(folder)
    drawn: dict[str, Callable[[Any, dict[str, Any]], None]] = {
        "loss": partial(_curves, kind="loss"),
        "accuracy": partial(_curves, kind="accuracy"),
        "reliability": _reliability,
        "coverage": _coverage,
        "confusion": _confusion,
    }
    files = []
    for name, draw in drawn.items():
        figure = figure_of(figsize=INCHES, dpi=DPI, layout="constrained")
        axes = figure.subplots()
        draw(axes, facts)
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1])
    return files


def _curves(axes: Any, facts: dict[str, Any], *, kind: str) -> None:
    for part, told in (("train", "training"), ("val", "validation")):
        points = [
            (row["epoch"], row[f"{part}_{kind}"])
            for row in facts["curves"]
            if row[f"{part}_{kind}"] is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), label=told)
    axes.set(xlabel="epoch", ylabel=kind)
    axes.grid(alpha=0.3)
    axes.legend()


def _reliability(axes: Any, facts: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=0.8)
    for kind, bins in facts["reliability"].items():
        x, y = ([each[key] for each in bins] for key in ("probability", "accuracy"))
        axes.plot(x, y, "o-", label=kind, markersize=3)
    axes.set(xlabel="probability of the answer", ylabel="right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()


def _coverage(axes: Any, facts: dict[str, Any]) -> None:
    x, y, low, high = (
        [point[key] for point in facts["coverage"]] for key in ("coverage", "error", "low", "high")
    )
    axes.plot(x, y)
    axes.fill_between(x, low, high, alpha=0.2)
    axes.set(xlabel="answered", ylabel="wrong", xlim=(0, 1), ylim=(0, 1.4 * max(0.02, *y)))
    axes.grid(alpha=0.3)


def _confusion(axes: Any, facts: dict[str, Any]) -> None:
    counts, classes = facts["scores"]["confusion"], facts["classes"]
    axes.imshow([[n / max(1, sum(row)) for n in row] for row in counts], cmap="Blues")
    axes.set(xlabel="answer", ylabel="true class")
    if len(classes) <= NUMBERED:
        places = range(len(classes))
        axes.set_xticks(
            places, labels=classes, rotation=45, ha="right", fontsize=7, parse_math=False
        )
        axes.set_yticks(places, labels=classes, fontsize=7, parse_math=False)
        for i, row in enumerate(counts):
            for j, n in enumerate(row):
                dark = n > 0.5 * sum(row)
                axes.text(
                    j,
                    i,
                    n or "",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
