"""Runs beside each other: is one better than the other, or was it lucky?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from resnets import metrics
from resnets.console import percent
from resnets.console.scores import HEADLINES, headline
from resnets.errors import ConfigError
from resnets.pages import page, text
from resnets.report.facts import RunFacts
from resnets.report.page import curve_charts, table
from resnets.report.style import STYLE

LEVEL = 0.05
"""A difference that chance alone would bring less often counts as more than chance."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs on the images that both answered."""

    first: str
    second: str
    n: int
    first_alone: int
    """Images that only the first has right, and that only the second has."""
    second_alone: int
    difference: float
    """Accuracy of the first less that of the second."""
    low: float
    high: float
    """Of the difference, 95 % (Newcombe 1998, method 10)."""
    p: float
    """Exact McNemar, two-sided."""
    adjusted: float
    """p after Holm 1979, for the number of pairs that were looked at."""

    @property
    def more_than_chance(self) -> bool:
        """Whether the adjusted p is below ``LEVEL``."""
        return self.adjusted < LEVEL

    def verdict(self) -> str:
        """In words, without calling a winner inside the noise."""
        if not self.more_than_chance:
            return "no more than chance"
        better = self.first if self.difference > 0 else self.second
        return f"{better} is better"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs and each pair of them."""

    runs: tuple[RunFacts, ...]
    names: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "runs": [
                {"name": name, "path": str(run.path), "accuracy": run.card["scores"]["accuracy"]}
                for name, run in zip(self.names, self.runs, strict=True)
            ],
            "pairs": [asdict(pair) | {"verdict": pair.verdict()} for pair in self.pairs],
        }


def compare(runs: Sequence[RunFacts]) -> Comparison:
    """Hold each pair of runs against each other on the images that both answered.

    Raises ``ConfigError`` for fewer than two runs, and for a pair without a common image.
    """
    if len(runs) < 2:
        raise ConfigError("one run has nothing to be compared with", fix="name two runs or more")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    found = [
        (names[i], names[j], *_common(runs[i], runs[j]))
        for i, j in combinations(range(len(runs)), 2)
    ]
    ps = [metrics.mcnemar(right, other) for _, _, right, other in found]
    pairs = []
    for (first, second, right, other), p, adjusted in zip(found, ps, holm(ps), strict=True):
        interval = metrics.paired_interval(right, other)
        first_alone, second_alone = metrics.alone(right, other)
        pairs.append(
            Pair(
                first=first,
                second=second,
                n=len(right),
                first_alone=first_alone,
                second_alone=second_alone,
                difference=float(right.mean() - other.mean()),
                low=interval.low,
                high=interval.high,
                p=p,
                adjusted=adjusted,
            )
        )
    return Comparison(runs=tuple(runs), names=tuple(names), pairs=tuple(pairs))


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for there being several (Holm 1979): none is below its own or a smaller's."""
    order = np.argsort(ps, kind="stable")
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


def _common(one: RunFacts, other: RunFacts) -> tuple[np.ndarray, np.ndarray]:
    """Which of the images that both answered, under the same label, each has right."""
    known = {
        (name, other.answers.classes[label]): right
        for name, label, right in zip(
            other.answers.names, other.answers.labels, other.answers.right(), strict=True
        )
    }
    both = [
        (right, known[name, one.answers.classes[label]])
        for name, label, right in zip(
            one.answers.names, one.answers.labels, one.answers.right(), strict=True
        )
        if (name, one.answers.classes[label]) in known
    ]
    if not both:
        raise ConfigError(
            f"{one.path} and {other.path} have no image in common that both answered",
            fix="compare runs on the same data",
        )
    first, second = np.array(both, dtype=bool).T
    return first, second


def comparison_page(comparison: Comparison) -> str:
    """The whole file."""
    rows = []
    for name, run in zip(comparison.names, comparison.runs, strict=True):
        scores = run.card["scores"]
        cells = [
            f"{value} <span class='muted'>{interval}</span>"
            for key, _, in_percent in HEADLINES
            if key != "top5"
            for value, interval in (headline(scores[key], in_percent),)
        ]
        minutes = run.card["training"]["seconds"] / 60
        rows.append([text(name), text(run.config.model), *cells, f"{minutes:.1f} min"])
    heads = ["run", "model", *(told for key, told, _ in HEADLINES if key != "top5"), "time"]
    pairs = [
        [
            text(f"{pair.first} - {pair.second}"),
            f"{100 * pair.difference:+.1f} points",
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}",
            f"{pair.first_alone:,} : {pair.second_alone:,}",
            f"{pair.adjusted:.3g}",
            text(pair.verdict()),
        ]
        for pair in comparison.pairs
    ]
    best = max(comparison.runs, key=lambda run: run.card["scores"]["accuracy"]["value"])
    curves = curve_charts(
        [(name, run.rows) for name, run in zip(comparison.names, comparison.runs, strict=True)]
    )
    body = (
        f"<h1>{len(comparison.runs)} runs beside each other</h1>"
        f"<p>Highest accuracy: {text(best.name)}, "
        f"{percent(best.card['scores']['accuracy']['value'])}.</p>"
        f"{table(heads, rows)}<h2>More than chance?</h2><p class='muted'>Accuracy on the images "
        "that both answered, with its 95 % interval for pairs (Newcombe); images that only one "
        "of them has right; exact McNemar test, adjusted for the number of pairs (Holm).</p>"
        + table(["", "difference", "95 % interval", "right alone", "p", ""], pairs)
        + f"<h2>How they learned</h2>{curves}"
    )
    return page("runs compared", STYLE, body)
