"""Scores during training and at its end, and how long they take."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from resnets import metrics
from resnets.console import Progress
from resnets.data.listing import by_hash
from resnets.data.sources import Dataset, Split
from resnets.engines.pytorch import TorchEngine
from resnets.errors import DataError, UnreadableImage
from resnets.evaluation import (
    Calibration,
    Predictions,
    Scores,
    calibrate,
    predict_logits,
    predict_split,
)
from resnets.models import Network, create_model
from resnets.training.loop import Task

BATCH = 128
CALIBRATING = 2_000
"""Validation images are enough for one temperature and one threshold."""
PROBED = 64
"""Images scored before the first step, to learn how long scoring takes."""


def build_network(task: Task) -> Network:
    """The run's network on its device, its weights drawn from the seed."""
    config = task.config
    model = create_model(
        config.model,
        num_classes=task.classes,
        in_channels=task.preprocess.input_size[0],
        initialisation=config.initialisation,
        seed=config.seed,
    ).to(config.device)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def closing_parts(splits: Mapping[str, Split]) -> dict[str, Split]:
    """What is answered when training has ended: test, and enough of val to calibrate.

    Where there is no test, all of val is: its scores are the run's.
    """
    parts = {name: splits[name] for name in ("test", "val") if name in splits}
    if len(parts) == 2 and len(parts["val"]) > CALIBRATING:
        val = parts["val"]
        parts["val"] = val.take(by_hash(val.names)[:CALIBRATING])
    return parts


def concluded(predictions: Mapping[str, Predictions]) -> tuple[Calibration | None, Scores | None]:
    """What is calibrated on val, and the scores of test with it, or of val where there is none."""
    calibration = calibrate(predictions["val"]) if "val" in predictions else None
    scored = predictions.get("test", predictions.get("val"))
    if scored is None:
        return calibration, None
    if calibration is None:
        return None, scored.scores()
    notes = [*scored.notes, *calibration.notes]
    if scored.split == "val":
        notes.append(
            "there is no test split: these are scores on the validation images, on which the "
            "epoch was chosen and the probabilities were calibrated, so they are a little too good"
        )
    told = dataclasses.replace(scored, notes=tuple(notes))
    return calibration, told.scores(calibration.temperature, calibration.threshold)


@dataclass
class Scorer:
    """Scores weights on the parts of a data set, with one network that is filled again and again.

    ``check`` is called for every image and may raise to give up.
    """

    task: Task
    dataset: Dataset
    display: Progress
    check: Callable[[], None]

    def __post_init__(self) -> None:
        self.network = build_network(self.task)

    def validate(
        self, weights: dict[str, Tensor], split: Split, features: Tensor | None = None
    ) -> tuple[float, float]:
        """Accuracy and log loss, in the precision of the training.

        Args:
            features: what the head reads of each image of the split, where that is known.
        """
        if features is not None:
            return self._of_features(weights, features, split.labels)
        engine = self._engine(weights, self.task.config.precision)
        return self._accuracy_and_loss(engine, split)

    def final(self, weights: dict[str, Tensor], parts: dict[str, Split]) -> dict[str, Predictions]:
        """The answers in fp32 to each of the ``closing_parts``."""
        self.display.begin("scoring", sum(map(len, parts.values())))

        def scored(done: int, total: int) -> None:
            self.display.advance(1)
            self.check()

        engine = self._engine(weights, "fp32")
        return {
            name: predict_split(
                engine,
                split,
                self.task.preprocess,
                self.dataset.classes,
                name=name,
                data=self.dataset.name,
                mean_image=self.task.mean_image,
                batch_size=BATCH,
                progress=scored,
                left_out=[item for item in self.dataset.left_out if item.split == name],
                notes=self.dataset.notes,
            )
            for name, split in parts.items()
        }

    def seconds_per_image(self) -> tuple[float, float]:
        """How long validation and the final scoring take for each image, tried on a few."""
        part = self.dataset.splits.get("val") or self.dataset.splits["train"]
        training = self._seconds_per_image(part, self.task.config.precision)
        if self.task.config.precision != "bf16":
            return training, training
        return training, self._seconds_per_image(part, "fp32")

    def _seconds_per_image(self, part: Split, precision: str) -> float:
        engine = self._engine(None, precision)
        seconds = 0.0
        for count in (4, 4, 64):  # the first pass warms up; the last is for quick networks only
            if count * seconds > 1:
                break
            few = part.take(np.arange(min(count, len(part))))
            began = time.monotonic()
            self._accuracy_and_loss(engine, few)
            seconds = (time.monotonic() - began) / len(few)
        return seconds

    def _engine(self, weights: dict[str, Tensor] | None, precision: str) -> TorchEngine:
        kind: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        if weights is not None:
            self.network.load_state_dict(weights)
        return TorchEngine(self.network, self.task.config.device, kind)

    @torch.inference_mode()
    def _of_features(
        self, weights: dict[str, Tensor], features: Tensor, labels: np.ndarray
    ) -> tuple[float, float]:
        self.network.load_state_dict(weights)
        logits = self.network.eval().logits(features.to(self.task.config.device))
        probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
        return (
            metrics.top_k_accuracy(probabilities, labels, 1),
            metrics.log_loss(probabilities, labels),
        )

    def _accuracy_and_loss(self, engine: TorchEngine, split: Split) -> tuple[float, float]:
        answers, labels = [], []
        stream = predict_logits(
            engine,
            split.images,
            self.task.preprocess,
            mean_image=self.task.mean_image,
            batch_size=BATCH,
        )
        for answer, label, name in zip(stream, split.labels, split.names, strict=True):
            self.check()
            if isinstance(answer, UnreadableImage):
                self.display.line(f"not scored: {name}: {answer.problem}")
                continue
            answers.append(answer)
            labels.append(label)
        if not answers:
            raise DataError(
                "no validation image can be read any more", fix="put the files back as they were"
            )
        probabilities, truth = metrics.softmax(np.stack(answers)), np.array(labels)
        return (
            metrics.top_k_accuracy(probabilities, truth, 1),
            metrics.log_loss(probabilities, truth),
        )
