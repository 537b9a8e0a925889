"""How good a model is: an engine and labelled images -> ``Scores`` with 95 % intervals."""

from resnets.evaluation.answering import (
    BATCH_SIZE,
    Answer,
    batch_logits,
    in_colour,
    predict_logits,
    run_over,
    stream_logits,
)
from resnets.evaluation.calibration import TARGET_ERROR, Calibration, calibrate
from resnets.evaluation.matching import match_classes
from resnets.evaluation.predictions import (
    Predictions,
    combine,
    evaluate,
    predict_split,
    read_predictions,
)
from resnets.evaluation.scores import ClassScore, Headline, Mistake, Scores, Selective, score

__all__ = [
    "BATCH_SIZE",
    "TARGET_ERROR",
    "Answer",
    "Calibration",
    "ClassScore",
    "Headline",
    "Mistake",
    "Predictions",
    "Scores",
    "Selective",
    "batch_logits",
    "calibrate",
    "combine",
    "evaluate",
    "in_colour",
    "match_classes",
    "predict_logits",
    "predict_split",
    "read_predictions",
    "run_over",
    "score",
    "stream_logits",
]
