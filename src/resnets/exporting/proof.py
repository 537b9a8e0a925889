"""Whether an export answers as the model it is of: measured on images, held to a gate."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from resnets.errors import ResnetsError
from resnets.metrics import Floats, Ints, paired_interval

TOLERANCE = 1e-4
"""How far a probability of an fp32 export may be from PyTorch's."""
MANY = 500
"""Fewer images than this say little about half a point of accuracy."""
BATCH = 16
SECONDS = 1.5
"""That each way is timed for."""


class GateFailed(ResnetsError):
    """An export that does not answer as its model does; nothing was written."""

    exit_code = 1

    def __init__(self, proof: "Proof", *, fix: str) -> None:
        super().__init__(f"not exported: {proof.failure}", fix=fix)
        self.proof = proof


@dataclass(frozen=True)
class Changed:
    """An image that the export gives another class than PyTorch does."""

    name: str
    label: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured of an export beside its model; pairs hold PyTorch's value, then its own."""

    split: str
    data: str
    n: int
    accuracy: tuple[float, float]
    interval: tuple[float, float]
    """Of the accuracy gained or lost, with 95 % confidence, on the same images."""
    allowed: float
    """The drop of accuracy that the gate lets through."""
    largest_difference: float
    """Of a probability, over all images and classes."""
    changed: tuple[Changed, ...]
    size: tuple[int, int]
    """Bytes of the model files."""
    milliseconds: tuple[float, float]
    """For one image, preprocessing included."""
    images_per_second: tuple[float, float]
    """In batches of 16, preprocessing included."""
    failure: str | None
    """Why it is not good enough."""

    @property
    def weak(self) -> bool:
        """Whether the images are too few to tell a drop of half a point from luck."""
        return self.n < MANY

    @property
    def times_pytorch(self) -> float:
        """How many times faster than PyTorch in batches."""
        return self.images_per_second[1] / self.images_per_second[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        told = {"changed": len(self.changed), "changed_images": values["changed"]}
        return values | told | {"weak": self.weak, "times_pytorch": self.times_pytorch}


def find_failure(
    probabilities: Floats, expected: Floats, labels: Ints, *, exact: bool, allowed: float
) -> str | None:
    """Why (N, classes) probabilities are not good enough beside those expected, or ``None``.

    Args:
        exact: whether every probability has to be within ``TOLERANCE`` and every answer the same.
        allowed: the drop of accuracy, a fraction, that is let through otherwise.
    """
    if not np.isfinite(probabilities).all():
        return "its answers are no finite numbers"
    difference = float(np.abs(probabilities - expected).max())
    changed = int((probabilities.argmax(axis=1) != expected.argmax(axis=1)).sum())
    if exact:
        if difference <= TOLERANCE and not changed:
            return None
        return (
            f"a probability differs by {difference:.2g} ({TOLERANCE:g} is allowed), and "
            f"{changed:,} of {len(labels):,} answers change"
        )
    drop = _accuracy(expected, labels) - _accuracy(probabilities, labels)
    if drop <= allowed + 1e-12:
        return None
    return (
        f"{100 * drop:.1f} points of accuracy are lost on {len(labels):,} images, "
        f"{100 * allowed:.2g} are allowed"
    )


def prove(
    ways: Mapping[str, Floats],
    expected: Floats,
    labels: Ints,
    names: Sequence[str],
    classes: Sequence[str],
    *,
    exact: bool,
    max_drop: float,
    **measured: Any,
) -> Proof:
    """Hold an export's answers, in every way it is run, against PyTorch's.

    Args:
        ways: how it was run -> (N, classes) probabilities; the first is told, all have to pass.
        max_drop: points of accuracy that may be lost; one image may be in any case.
        measured: the remaining fields of ``Proof``.
    """
    allowed = max(max_drop / 100, 1 / len(labels))
    failures = {
        way: find_failure(found, expected, labels, exact=exact, allowed=allowed)
        for way, found in ways.items()
    }
    failure = next((f"{why} ({way})" for way, why in failures.items() if why), None)
    found = next(iter(ways.values()))
    before, after = expected.argmax(axis=1), found.argmax(axis=1)
    interval = paired_interval(after == labels, before == labels)
    return Proof(
        n=len(labels),
        accuracy=(_accuracy(expected, labels), _accuracy(found, labels)),
        interval=(interval.low, interval.high),
        allowed=allowed,
        largest_difference=max(float(np.abs(way - expected).max()) for way in ways.values()),
        changed=tuple(
            Changed(names[i], classes[labels[i]], classes[before[i]], classes[after[i]])
            for i in np.flatnonzero(before != after).tolist()
        ),
        failure=failure,
        **measured,
    )


def time_in_turns(steps: Sequence[Callable[[], object]]) -> list[float]:
    """The fewest seconds of each step, for whatever else runs only adds to them; in turns."""
    for step in steps:
        step()  # builds what is built at the first use
    took: list[list[float]] = [[] for _ in steps]
    end = time.perf_counter() + SECONDS * len(steps)
    while time.perf_counter() < end or not took[-1]:
        for step, seconds in zip(steps, took, strict=True):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
    return [min(seconds) for seconds in took]


def _accuracy(probabilities: Floats, labels: Ints) -> float:
    return float((probabilities.argmax(axis=1) == labels).mean())
