"""``resnets calibrate``: a sealed model sealed again with a temperature and a threshold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnets.checkpoint import read_sealed, seal
from resnets.errors import ModelFileError
from resnets.evaluation import (
    TARGET_ERROR,
    Calibration,
    Predictions,
    Scores,
    calibrate,
    read_predictions,
)
from resnets.prediction import Classifier, load

FITTED_ON = "val"
"""Training images look too easy to the network, and test images choose nothing."""


def calibrate_model(
    path: str | Path,
    data: Any = None,
    *,
    target_error: float = TARGET_ERROR,
    data_dir: Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Calibration, Scores | None]:
    """Fit temperature and threshold of a model on validation images, and seal it with them.

    Args:
        data: other labelled images: a folder of class folders, or something with a ``val`` split.
        target_error: the share of wrong answers that is wanted among those that are given.

    Returns the calibration and the run's scores with it, where the run kept its answers. Raises
    ``DataError``, ``ConfigError`` and ``ModelFileError``; nothing has changed then.
    """
    sealed, classifier = read_sealed(path), load(path, device=device)
    answers = _kept(classifier, FITTED_ON) if data is None else None
    if answers is None:
        answers = classifier.predict_split(data, FITTED_ON, data_dir=data_dir, progress=progress)
    calibration = calibrate(answers, target_error)
    card = sealed.card | {
        "temperature": calibration.temperature,
        "threshold": calibration.threshold,
        "calibration": calibration.to_dict(),
    }
    scores = None
    if before := card.get("scores"):
        scored = _kept(classifier, before["split"])
        if scored is None:
            raise ModelFileError(
                f"{sealed.path} has scores whose answers are not beside it, in predictions/",
                fix="copy the whole run folder, not its model alone, and calibrate it there",
            )
        scores = scored.scores(calibration.temperature, calibration.threshold)
        stale = (sealed.card.get("calibration") or {}).get("notes", ())
        kept = [note for note in before.get("notes", ()) if note not in stale]
        card["scores"] = scores.to_dict() | {
            "left_out": before.get("left_out", []),
            "notes": [*kept, *calibration.notes],
        }
    seal(sealed.path, sealed.weights, card)
    return calibration, scores


def _kept(classifier: Classifier, split: str) -> Predictions | None:
    """What the model answered when its training ended, where that lies beside it."""
    path = classifier.path.parent / "predictions" / f"{split}.npz"
    return read_predictions(path) if path.exists() else None
