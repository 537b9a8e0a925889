"""Scores during training and at its end, and how long they take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from resnets import metrics
from resnets.console import Progress
from resnets.data.sources import Dataset, Split
from resnets.engines.pytorch import TorchEngine
from resnets.errors import UnreadableImage
from resnets.evaluation import Scores, evaluate, predict_probabilities
from resnets.models import create_model
from resnets.training.loop import Task

BATCH = 128
PROBED = 64
"""Images scored before the first step, to learn how long scoring takes."""


def build_network(task: Task, weights: dict[str, Tensor] | None = None) -> nn.Module:
    """The run's network on its device: freshly drawn from the seed, or with these weights."""
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
    if weights is not None:
        model.load_state_dict(weights)
    return model


@dataclass(frozen=True)
class Scorer:
    """Scores weights on the parts of a data set.

    ``check`` is called for every image and may raise to give up.
    """

    task: Task
    dataset: Dataset
    display: Progress
    check: Callable[[], None]

    def validate(self, weights: dict[str, Tensor], split: Split) -> tuple[float, float]:
        """Accuracy and log loss, in the precision of the training."""
        engine = self._engine(build_network(self.task, weights), self.task.config.precision)
        return self._accuracy_and_loss(engine, split)

    def final(self, weights: dict[str, Tensor]) -> Scores | None:
        """The full scores in fp32: of test, else of val (and then it says so)."""
        name = "test" if "test" in self.dataset.splits else "val"
        if name not in self.dataset.splits:
            return None
        notes = list(self.dataset.notes)
        if name == "val":
            notes.append(
                "there is no test split: these are scores on the validation images, "
                "on which the epoch was chosen, so they are a little too good"
            )
        split = self.dataset.splits[name]
        self.display.begin(f"scoring {name}", len(split))

        def scored(done: int, total: int) -> None:
            self.display.advance(1)
            self.check()

        return evaluate(
            self._engine(build_network(self.task, weights), "fp32"),
            split,
            self.task.preprocess,
            self.dataset.classes,
            name=name,
            data=self.dataset.name,
            mean_image=self.task.mean_image,
            batch_size=BATCH,
            progress=scored,
            left_out=[item for item in self.dataset.left_out if item.split == name],
            notes=notes,
        )

    def seconds_per_image(self) -> tuple[float, float]:
        """How long validation and the final scoring take for each image, tried on a few."""
        part = self.dataset.splits.get("val") or self.dataset.splits["train"]
        part = part.take(np.arange(min(PROBED, len(part))))
        seconds = []
        for precision in (self.task.config.precision, "fp32"):
            engine = self._engine(build_network(self.task), precision)
            self._accuracy_and_loss(engine, part)  # the first pass warms up
            began = time.monotonic()
            self._accuracy_and_loss(engine, part)
            seconds.append((time.monotonic() - began) / len(part))
        return seconds[0], seconds[1]

    def _engine(self, network: nn.Module, precision: str) -> TorchEngine:
        kind: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        return TorchEngine(network, self.task.config.device, kind)

    def _accuracy_and_loss(self, engine: TorchEngine, split: Split) -> tuple[float, float]:
        answers, labels = [], []
        stream = predict_probabilities(
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
        probabilities, truth = np.stack(answers), np.array(labels)
        return (
            metrics.top_k_accuracy(probabilities, truth, 1),
            metrics.log_loss(probabilities, truth),
        )
