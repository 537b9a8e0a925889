"""Probabilities that can be believed: a temperature and a threshold, fitted on validation images.

One number divides all logits, so that the order of the classes, and with it every answer, stays
(temperature scaling, arXiv:1706.04599, Section 4.2).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from resnets import metrics
from resnets.errors import ConfigError
from resnets.evaluation.predictions import Predictions
from resnets.metrics import Floats, Ints

TARGET_ERROR = 0.02
FEWEST = 50
"""Fewer images than this say too little about a temperature."""
HALVINGS = 60
LOWEST, HIGHEST = 0.01, 100.0
"""Temperatures beyond these are those of a network that is no good at any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A temperature and a threshold, and what they did on the images they were fitted on."""

    temperature: float
    threshold: float | None
    """Answers of a lower probability are unsure; ``None`` where no threshold reaches the target."""
    target_error: float
    split: str
    data: str
    n: int
    log_loss: tuple[float, float]
    """Before and after; likewise the next."""
    calibration_error: tuple[float, float]
    coverage: float | None
    """The share of images at or above the threshold, and the share of wrong ones among them."""
    error: float | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``model.json`` holds them under ``calibration``."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        pairs = ("log_loss", "calibration_error", "notes")
        return cls(**(values | {name: tuple(values[name]) for name in pairs}))


def calibrate(predictions: Predictions, target_error: float = TARGET_ERROR) -> Calibration:
    """Fit a temperature, and the threshold that answers the most images at ``target_error``.

    Args:
        predictions: of images that trained nothing and test nothing.
        target_error: the share of wrong answers, in (0, 1), that is not to be exceeded among
            those that are given. It holds for these images; others come near it by chance.

    Raises ``ConfigError`` for another target.
    """
    if not 0 < target_error < 1:
        raise ConfigError(
            f"a target error of {target_error}", fix="choose a share in (0, 1), such as 0.02"
        )
    logits, labels, n = predictions.logits, predictions.labels, len(predictions)
    notes = []
    temperature = 1.0
    if n < FEWEST:
        notes.append(
            f"not calibrated: {n} images of {predictions.split} are too few (at least {FEWEST})"
        )
    elif predictions.right().all():
        notes.append(
            f"not calibrated: all {n:,} answers of {predictions.split} are right, which bounds no "
            "temperature"
        )
    else:
        temperature = fit_temperature(logits, labels)
    before, after = predictions.probabilities(), predictions.probabilities(temperature)
    threshold, covered, error = choose_threshold(after, labels, target_error)
    if threshold is None:
        notes.append(
            f"no threshold reaches an error of {target_error:.1%}: even the surest answers of "
            f"{predictions.split} are wrong more often"
        )
    return Calibration(
        temperature=temperature,
        threshold=threshold,
        target_error=target_error,
        split=predictions.split,
        data=predictions.data,
        n=n,
        log_loss=(metrics.log_loss(before, labels), metrics.log_loss(after, labels)),
        calibration_error=(
            metrics.calibration_error(before, labels),
            metrics.calibration_error(after, labels),
        ),
        coverage=covered,
        error=error,
        notes=tuple(notes),
    )


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature of the least log loss, for (N, C) logits of which some answer is wrong.

    The loss is convex in 1 / temperature; its slope there is the mean over the images of the
    expected logit less the label's, and is halved in on.
    """
    own = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        probabilities = metrics.softmax(logits, 1 / inverse)
        return float(((probabilities * logits).sum(axis=1) - own).mean())

    low, high = np.log(1 / HIGHEST), np.log(1 / LOWEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def choose_threshold(
    probabilities: Floats, labels: Ints, target_error: float
) -> tuple[float | None, float | None, float | None]:
    """The lowest threshold at whose coverage the error is within the target.

    Returns threshold, coverage and error; ``None`` each where there is none.
    """
    thresholds, answered, wrong = metrics.coverage(probabilities, labels)
    within = np.flatnonzero(wrong <= target_error * answered)
    if not len(within):
        return None, None, None
    place = within[-1]
    return (
        float(thresholds[place]),
        float(answered[place] / len(labels)),
        float(wrong[place] / answered[place]),
    )
