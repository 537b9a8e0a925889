"""The scores of answers, each with its 95 % interval: arrays in, ``Scores`` out."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from resnets import metrics
from resnets.data.sources import LeftOut
from resnets.metrics import Floats, Interval

MISTAKES = 20


@dataclass(frozen=True, slots=True)
class Headline:
    """One number about n images and where its true value lies with 95 % confidence."""

    value: float
    low: float
    high: float
    n: int
    interval: Literal["wilson", "bootstrap"]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fares; zero where there is nothing to divide by."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Images that truly are of the class."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image called ``predicted``, with that probability, though it is ``label``."""

    name: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, slots=True)
class Selective:
    """How answers fare of which those below a threshold count as unsure (arXiv:1705.08500)."""

    threshold: float
    """The least probability of an answer that is given."""
    coverage: Headline
    """The share of the images that get an answer."""
    error: Headline | None
    """The share of wrong ones among those; ``None`` where no image gets one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All that ``evaluate`` finds out; ``to_dict`` is the object ``evaluate --json`` prints."""

    split: str
    data: str
    n: int
    """Images scored; those in ``left_out`` are not among them."""
    accuracy: Headline
    top5: Headline | None
    """``None`` unless there are more than ten classes."""
    per_class: tuple[ClassScore, ...]
    log_loss: Headline
    brier: Headline
    """Squared error summed over the classes, mean over the images: from 0 to 2."""
    calibration_error: Headline
    confusion: tuple[tuple[int, ...], ...]
    """Images by true class (rows) and predicted class (columns)."""
    classes: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    """The most confident ones first."""
    selective: Selective | None = None
    """Where the model has a threshold."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        headlines = {
            name: None if values[name] is None else Headline(**values[name])
            for name in ("accuracy", "top5", "log_loss", "brier", "calibration_error")
        }
        chosen = values.get("selective")  # models of earlier versions have none
        rows = {
            "selective": chosen
            and Selective(
                chosen["threshold"],
                Headline(**chosen["coverage"]),
                chosen["error"] and Headline(**chosen["error"]),
            ),
            "per_class": tuple(ClassScore(**row) for row in values["per_class"]),
            "mistakes": tuple(Mistake(**row) for row in values["mistakes"]),
            "left_out": tuple(LeftOut(**row) for row in values["left_out"]),
            "confusion": tuple(tuple(row) for row in values["confusion"]),
            "classes": tuple(values["classes"]),
            "notes": tuple(values["notes"]),
        }
        return cls(**(values | headlines | rows))


def score(
    probabilities: Floats,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    *,
    split: str = "test",
    data: str = "",
    threshold: float | None = None,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Scores:
    """Scores of (N, C) probabilities for (N,) labels of images called ``names``.

    Shares carry Wilson's interval, the rest a bootstrap's with a fixed seed.
    """
    n = len(labels)
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(predicted, labels, len(classes))
    gaps = metrics.calibration_gaps(probabilities, labels)
    rows = zip(classes, *(column.tolist() for column in metrics.per_class(confusion)), strict=True)
    return Scores(
        split=split,
        data=data,
        n=n,
        accuracy=_share(int((predicted == labels).sum()), n),
        top5=_share(int(metrics.top_k_correct(probabilities, labels, 5).sum()), n)
        if len(classes) > 10
        else None,
        per_class=tuple(ClassScore(*row) for row in rows),
        log_loss=_mean(metrics.log_losses(probabilities, labels)),
        brier=_mean(metrics.brier_scores(probabilities, labels)),
        calibration_error=_bootstrapped(
            np.abs(gaps.mean(axis=0)).sum(), n, metrics.calibration_interval(gaps)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=tuple(classes),
        mistakes=tuple(_mistakes(probabilities, predicted, labels, names, classes)),
        selective=None if threshold is None else selective(probabilities, labels, threshold),
        left_out=tuple(left_out),
        notes=tuple(notes),
    )


def selective(probabilities: Floats, labels: np.ndarray, threshold: float) -> Selective:
    """Coverage and error of the answers whose probability is at least ``threshold``."""
    given = probabilities.max(axis=1) >= threshold
    wrong = int((probabilities.argmax(axis=1) != labels)[given].sum())
    answered = int(given.sum())
    return Selective(
        threshold,
        _share(answered, len(labels)),
        _share(wrong, answered) if answered else None,
    )


def _share(successes: int, n: int) -> Headline:
    return Headline(successes / n, *metrics.wilson_interval(successes, n), n, "wilson")


def _mean(values: Floats) -> Headline:
    return _bootstrapped(values.mean(), len(values), metrics.bootstrap_interval(values))


def _bootstrapped(value: float, n: int, interval: Interval) -> Headline:
    return Headline(float(value), interval.low, interval.high, n, "bootstrap")


def _mistakes(
    probabilities: Floats,
    predicted: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
) -> Iterator[Mistake]:
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    for place in np.argsort(-confidence, kind="stable")[:MISTAKES]:
        index = wrong[place]
        yield Mistake(
            names[index],
            classes[labels[index]],
            classes[predicted[index]],
            float(confidence[place]),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
