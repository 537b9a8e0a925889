"""A sheet of panels as one file: SVG, light and dark, or PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.errors import MissingExtra, require
from resnets.experiments.panels import Panel
from resnets.report.charts import HEIGHT, WIDTH, Line, panel, words
from resnets.report.style import CHART, COLOURS, LINES
from resnets.sealing import write_durably

HEAD, KEY, GAP = 30, 44, 18
"""Above a panel for its title, below it for its names, and beside it; in pixels."""
NAME = 78
"""Pixels from one name of a line to the next."""
INCHES, DPI = (10.0, 3.4), 150
"""Of a row of panels in a PNG."""
SHEET = """
text { font: 12px system-ui, sans-serif; fill: var(--muted) }
.title { font-weight: 600; fill: var(--ink); font-size: 14px } .page { fill: var(--page) }
"""


def save_svg(file: Path, title: str, rows: Sequence[Sequence[Panel]]) -> Path:
    """Write rows of panels as an SVG that any browser opens; returns the file."""
    across = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    down = len(rows) * (HEAD + HEIGHT + KEY) + GAP
    drawn = [
        f'<g transform="translate({GAP + column * (WIDTH + GAP)},{line * (HEAD + HEIGHT + KEY)})">'
        f"{_panel(each)}</g>"
        for line, row in enumerate(rows)
        for column, each in enumerate(row)
    ]
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" '
        f'width="{across}" height="{down}" role="img"><title>{title}</title>'
        f"<style>{COLOURS}{SHEET}{CHART}</style>"
        f'<rect class="page" width="100%" height="100%"/>{"".join(drawn)}</svg>\n'
    )
    write_durably(file, text.encode())
    return file


def _panel(each: Panel) -> str:
    names = _named(each)
    key = [
        f'<path class="line c{line.colour % 6}" d="M{54 + NAME * place},{HEIGHT + 12}h14"/>'
        + words(54 + NAME * place + 19, HEIGHT + 16, line.name)
        for place, line in enumerate(names)
    ]
    return (
        words(0, 20, each.title, kind="title")
        + f'<g transform="translate(0,{HEAD})">{panel(each.lines, each.x, each.y)}'
        + "".join(key)
        + words(54, HEIGHT + 34, each.note)
        + "</g>"
    )


def save_png(file: Path, rows: Sequence[Sequence[Panel]]) -> Path | None:
    """Write the same as a PNG; ``None``, and nothing, without ``resnets[plot]``."""
    try:
        figure_of = require("matplotlib.figure", extra="plot").Figure
    except MissingExtra:
        return None
    wide, high = INCHES
    figure = figure_of(figsize=(wide, high * len(rows)), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), max(len(row) for row in rows), squeeze=False)
    for row, line in zip(rows, grid, strict=True):
        for each, axes in zip(row, line, strict=False):
            _plot(axes, each)
    figure.savefig(file)
    return file


def _plot(axes: Any, each: Panel) -> None:
    for line in each.lines:
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            "--" if line.dashed else "-",
            color=LINES[line.colour % len(LINES)],
            linewidth=1.0 if line.dashed else 1.6,
            label=line.name or None,
        )
    axes.set(xlabel=f"{each.x.title} ({each.note})", xlim=(each.x.low, each.x.high))
    axes.set(ylim=(each.y.low, each.y.high))
    axes.set_title(each.title, fontsize=10)
    axes.xaxis.label.set_fontsize(8)
    axes.set_yticks(each.y.ticks(), labels=[each.y.show(tick) for tick in each.y.ticks()])
    axes.grid(alpha=0.3)
    if _named(each):
        axes.legend(fontsize=8)


def _named(each: Panel) -> list[Line]:
    return [line for line in each.lines if line.name]
