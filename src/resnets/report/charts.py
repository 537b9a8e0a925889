"""Charts as SVG text, inside a page whose style sheet gives them their colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 54, 22, 14, 40
TICKS = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """Points joined in their order, drawn in colour ``colour`` (0, 1, 2, ...) and named."""

    name: str
    points: Points
    colour: int = 0
    dots: bool = False
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high): an area behind the line."""


@dataclass(frozen=True)
class Axis:
    """What is along one side of a chart, and from where to where."""

    title: str
    low: float
    high: float
    show: Callable[[float], str] = "{:g}".format

    @classmethod
    def around(cls, title: str, values: Sequence[float], **how: Callable[[float], str]) -> "Axis":
        """From zero or a little less to a little more than the largest of the values."""
        low, high = min(0.0, *values), max(values)
        return cls(title, low, high if high > low else low + 1, **how)

    def ticks(self) -> list[float]:
        """Round numbers, at most ``TICKS`` and one of them (Heckbert 1990, "Nice numbers")."""
        rough = (self.high - self.low) / TICKS
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def percent(value: float) -> str:
    """A share as an axis shows it."""
    return f"{100 * value:.3g} %"


def power_of_ten(value: float) -> str:
    """What a logarithm stands for, as an axis shows it."""
    return f"{float(f'{10**value:.2g}'):g}"


def chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    marks: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
) -> str:
    """A figure of lines with their names below it, for a page.

    Args:
        marks: (x, what is there): upright lines.
        diagonal: whether to draw y = x.
    """
    named = [line for line in lines if line.name]
    key = "".join(
        f'<span><i class="c{line.colour % 6}"></i>{escape(line.name)}</span>' for line in named
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{panel(lines, x, y, marks=marks, diagonal=diagonal)}</svg><div class="key">{key}</div>'
        "</figure>"
    )


def panel(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    marks: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
) -> str:
    """The inside of a chart, ``WIDTH`` by ``HEIGHT``: axes and lines, without title and names."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(px: float, py: float) -> tuple[float, float]:
        across = LEFT + wide * (px - x.low) / (x.high - x.low)
        down = TOP + high * (1 - (py - y.low) / (y.high - y.low))
        return round(across, 2), round(down, 2)

    shapes = []
    for value in y.ticks():
        _, down = at(x.low, value)
        shapes.append(f'<path class="grid" d="M{LEFT},{down}H{WIDTH - RIGHT}"/>')
        shapes.append(words(LEFT - 6, down + 4, y.show(value), "end"))
    for value in x.ticks():
        across, _ = at(value, y.low)
        shapes.append(f'<path class="grid" d="M{across},{TOP}V{HEIGHT - BOTTOM}"/>')
        shapes.append(words(across, HEIGHT - BOTTOM + 16, x.show(value), "middle"))
    shapes.append(words(LEFT + wide / 2, HEIGHT - 6, x.title, "middle"))
    if diagonal:
        shapes.append(
            f'<path class="diagonal" d="{_path([at(x.low, x.low), at(x.high, x.high)])}"/>'
        )
    for place, told in marks:
        across, _ = at(place, y.low)
        shapes.append(f'<path class="mark" d="M{across},{TOP}V{HEIGHT - BOTTOM}"/>')
        anchor, shift = ("end", -5) if across > WIDTH / 2 else ("start", 5)
        shapes.append(words(across + shift, TOP + 12, told, anchor))
    for line in lines:
        colour = f"c{line.colour % 6}"
        if line.band:
            upper = [at(px, top) for px, _, top in line.band]
            lower = [at(px, bottom) for px, bottom, _ in reversed(line.band)]
            shapes.append(f'<path class="band {colour}" d="{_path(upper + lower)}Z"/>')
        places = [at(*point) for point in line.points]
        dashed = " dashed" if line.dashed else ""
        shapes.append(f'<path class="line{dashed} {colour}" d="{_path(places)}"/>')
        if line.dots or len(places) == 1:
            shapes += [
                f'<circle class="dot {colour}" cx="{px}" cy="{py}" r="3"/>' for px, py in places
            ]
    return "".join(shapes)


def bar(value: float, low: float, high: float) -> str:
    """A share in [0, 1] as a bar with its interval over it."""
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="10"/>'
        f'<rect class="fill" width="{100 * value:.2f}" height="10"/>'
        f'<path class="whisker" d="M{100 * low:.2f},5H{100 * high:.2f}"/></svg>'
    )


def words(x: float, y: float, told: str, anchor: str = "start", kind: str = "") -> str:
    """Text at a place of a picture; ``kind`` is a class of the style sheet."""
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(told)}</text>'


def _path(points: Points) -> str:
    return "M" + "L".join(f"{px:g},{py:g}" for px, py in points)
