"""What a classifier says of one image, and of one file."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and the probability the model gives it."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """One file's ranked predictions, or why there are none."""

    file: str
    predictions: tuple[Prediction, ...] | None = None
    error: str | None = None
    unsure: bool | None = None
    """Whether the best probability is under the model's threshold; ``None`` where it has none."""

    def to_dict(self) -> dict[str, Any]:
        """``{file, predictions: [{label, probability}], unsure}`` or ``{file, error}``."""
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        rows = [dataclasses.asdict(prediction) for prediction in self.predictions]
        told = {} if self.unsure is None else {"unsure": self.unsure}
        return {"file": self.file, "predictions": rows} | told

    def to_csv(self) -> list[list[str | int | float]]:
        """Rows of file, rank, label, probability, error, unsure: one for each label, or the error.

        ``unsure`` is 0 or 1, and empty where the model has no threshold.
        """
        if self.predictions is None:
            return [[self.file, "", "", "", self.error or "", ""]]
        ranked = enumerate(self.predictions, start=1)
        unsure = "" if self.unsure is None else int(self.unsure)
        return [
            [self.file, rank, each.label, each.probability, "", unsure] for rank, each in ranked
        ]
