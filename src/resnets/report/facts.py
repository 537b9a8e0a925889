"""What a report shows, as plain values: computed once, from the files of the run."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from resnets import metrics
from resnets.checkpoint import read_sealed
from resnets.config import TrainConfig
from resnets.errors import ModelFileError
from resnets.evaluation import Predictions, read_predictions
from resnets.metrics import Floats

PICTURES = 24
"""So many mistakes, and so many images of the least certain answers."""
POINTS = 200
"""The most that a curve of coverage and error is drawn with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFacts:
    """One run as its files tell it."""

    path: Path
    config: TrainConfig
    card: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[dict[str, float | None]]
    """``metrics.csv``."""
    answers: Predictions
    """To the split that the scores are of."""

    @property
    def name(self) -> str:
        """The run folder's."""
        return self.path.name

    @property
    def temperature(self) -> float:
        """That the model is sealed with."""
        return self.card.get("temperature") or 1.0

    @cached_property
    def probabilities(self) -> Floats:
        """(N, classes), calibrated."""
        return self.answers.probabilities(self.temperature)


def read_run(path: str | Path) -> RunFacts:
    """Read the files of a finished run. Raises ``ModelFileError`` where one is missing."""
    card = read_sealed(path).card
    path = Path(path)
    path = path if (path / "config.toml").exists() else path.absolute().parent
    files = [path / name for name in ("config.toml", "data.json", "metrics.csv")]
    if missing := [file.name for file in files if not file.exists()]:
        raise ModelFileError(
            f"{path} is no run folder: it has no {' and no '.join(missing)}",
            fix="give the folder that `resnets train` printed",
        )
    scores = card.get("scores")
    answers = path / "predictions" / f"{scores['split']}.npz" if scores else None
    if answers is None or not answers.exists():
        raise ModelFileError(
            f"{path} has no scores" if answers is None else f"{answers} is missing",
            fix="let the run finish; a run without validation and test images has no report",
        )
    with open(files[2], newline="", encoding="utf-8") as file:
        rows = [
            {name: float(text) if text else None for name, text in row.items()}
            for row in csv.DictReader(file)
        ]
    return RunFacts(
        path=path,
        config=TrainConfig(**TrainConfig.keys_in(files[0])),
        card=card,
        manifest=json.loads(files[1].read_text(encoding="utf-8")),
        rows=rows,
        answers=read_predictions(answers),
    )


def facts_of(run: RunFacts) -> dict[str, Any]:
    """All figures of the report, as JSON can hold them; the page shows these and no others."""
    answers, calibration = run.answers, run.card.get("calibration")
    scores = run.card["scores"]
    return {
        "run": run.name,
        "model": run.config.model,
        "split": answers.split,
        "data": answers.data,
        "classes": list(answers.classes),
        "scores": scores,
        "per_class": [*per_class(scores["confusion"])],
        "reliability": {
            "as trained": reliability(answers.probabilities(), answers.labels),
            "calibrated": reliability(run.probabilities, answers.labels),
        },
        "coverage": coverage(run.probabilities, answers.labels),
        "temperature": run.temperature,
        "threshold": run.card.get("threshold"),
        "calibration": calibration,
        "curves": run.rows,
        "mistakes": _pictured(run, _most_confident_mistakes(run)),
        "least_certain": _pictured(run, _least_certain(run)),
    }


def per_class(confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Precision and recall of each class with Wilson's interval; ``None`` of nothing."""
    counts = np.asarray(confusion)
    hits, support, called = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)

    def share(part: int, whole: int) -> dict[str, float] | None:
        if not whole:
            return None
        low, high = metrics.wilson_interval(part, whole)
        return {"value": part / whole, "low": low, "high": high, "n": whole}

    return [
        {"recall": share(hit, of), "precision": share(hit, said)}
        for hit, of, said in zip(hits.tolist(), support.tolist(), called.tolist(), strict=True)
    ]


def reliability(probabilities: Floats, labels: np.ndarray) -> list[dict[str, float]]:
    """Mean probability and accuracy of each bin with an answer (arXiv:1706.04599, Figure 1)."""
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((top * metrics.BINS).astype(np.int64), metrics.BINS - 1)
    bins = []
    for index in np.unique(place):
        here = place == index
        n, hits = int(here.sum()), int(right[here].sum())
        low, high = metrics.wilson_interval(hits, n)
        bins.append(
            {
                "probability": float(top[here].mean()),
                "accuracy": hits / n,
                "low": low,
                "high": high,
                "n": n,
            }
        )
    return bins


def coverage(probabilities: Floats, labels: np.ndarray) -> list[dict[str, float]]:
    """The error among the answers that are given, for ever more of them, at most ``POINTS``."""
    thresholds, answered, wrong = metrics.coverage(probabilities, labels)
    kept = np.unique(np.linspace(0, len(answered) - 1, POINTS).round().astype(np.int64))
    points = []
    for index in kept:
        low, high = metrics.wilson_interval(int(wrong[index]), int(answered[index]))
        points.append(
            {
                "threshold": float(thresholds[index]),
                "coverage": float(answered[index] / len(labels)),
                "error": float(wrong[index] / answered[index]),
                "low": low,
                "high": high,
            }
        )
    return points


def _most_confident_mistakes(run: RunFacts) -> np.ndarray:
    wrong = np.flatnonzero(~run.answers.right())
    confidence = run.probabilities.max(axis=1)[wrong]
    return wrong[np.argsort(-confidence, kind="stable")[:PICTURES]]


def _least_certain(run: RunFacts) -> np.ndarray:
    """Images whose two likeliest classes are the nearest to each other."""
    second, first = np.sort(run.probabilities, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")[:PICTURES]


def _pictured(run: RunFacts, indices: np.ndarray) -> list[dict[str, Any]]:
    probabilities, classes = run.probabilities, run.answers.classes
    shown = []
    for index in indices:
        ranked = np.argsort(-probabilities[index], kind="stable")[:2]
        shown.append(
            {
                "name": run.answers.names[index],
                "label": classes[run.answers.labels[index]],
                "answers": [
                    {"label": classes[c], "probability": float(probabilities[index, c])}
                    for c in ranked
                ],
            }
        )
    return shown
