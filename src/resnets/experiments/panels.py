"""The panels of the degradation experiment: plain networks to the left, residual to the right."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnets.report.charts import Axis, Line, percent, power_of_ten

if TYPE_CHECKING:
    from resnets.experiments.degradation import Learned
    from resnets.experiments.signals import LayerSignal


@dataclass(frozen=True)
class Panel:
    """One chart of a sheet."""

    title: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    note: str
    """What solid and dashed lines are."""


def panels_of(nets: Sequence["Learned"]) -> list[list[Panel]]:
    """Rows of panels: errors over steps, then what passes each layer, forward and backward."""
    kinds = [
        (words, [net for net in nets if net.residual is residual])
        for words, residual in (("plain networks", False), ("residual networks", True))
    ]
    depths = sorted({net.layers for net in nets})
    colour = {net.net: depths.index(net.layers) for net in nets}
    steps = Axis.around("step", [row["step"] for net in nets for row in net.curve])
    layers = Axis.around("layer", [signal.layer for net in nets for signal in net.signals["end"]])

    def errors(mine: Sequence["Learned"]) -> list[Line]:
        return [
            Line(
                net.net if column == "val_error" else "",
                [(row["step"], row[column]) for row in net.curve if row[column] is not None],
                colour[net.net],
                dashed=column == "train_error",
            )
            for net in mine
            for column in ("train_error", "val_error")
        ]

    def signals(mine: Sequence["Learned"], value: Callable[["LayerSignal"], float]) -> list[Line]:
        return [
            Line(
                net.net if when == "end" else "",
                [(signal.layer, _log(value(signal))) for signal in measured],
                colour[net.net],
                dashed=when == "start",
            )
            for net in mine
            for when, measured in net.signals.items()
        ]

    moments = "solid: after the last step, dashed: before the first"
    makers: list[tuple[str, str, Axis, Callable[[Sequence[Learned]], list[Line]], bool]] = [
        ("error", "solid: validation, dashed: training (augmented images)", steps, errors, False),
        (
            "spread (std) of each layer's response",
            moments,
            layers,
            lambda mine: signals(mine, lambda signal: signal.response_std),
            True,
        ),
        (
            "norm of the gradient at each layer",
            moments,
            layers,
            lambda mine: signals(mine, lambda signal: signal.gradient_norm),
            True,
        ),
    ]
    rows = []
    for title, note, x, draw, logarithmic in makers:
        drawn = [(words, draw(mine)) for words, mine in kinds]
        values = [y for _, lines in drawn for line in lines for _, y in line.points]
        y = _log_axis(title, values) if logarithmic else Axis.around(title, values, show=percent)
        rows.append([Panel(f"{words}: {title}", lines, x, y, note) for words, lines in drawn])
    return rows


def _log(value: float) -> float:
    return math.log10(max(value, 1e-30))


def _log_axis(title: str, values: Sequence[float]) -> Axis:
    """Whole powers of ten around the values, which are logarithms."""
    return Axis(title, math.floor(min(values)), math.ceil(max(values) + 1e-9), power_of_ten)
