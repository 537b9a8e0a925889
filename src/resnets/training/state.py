"""Everything a training run is after a number of steps, in memory and in a file."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resnets.checkpoint import State
from resnets.models import Network
from resnets.prediction.sealed import check_weights
from resnets.training.schedules import Plan
from resnets.training.tricks import WeightAverage

Row = dict[str, Any]
"""One line of ``metrics.csv``; a validation there was none of is ``None``."""
MOMENTUM = "momentum_buffer"  # torch's name in SGD's state


@dataclass
class Best:
    """The best validation so far."""

    step: int
    accuracy: float
    loss: float
    weights: dict[str, Tensor]

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        """A higher accuracy, or the same with a lower loss."""
        return (accuracy, -loss) > (self.accuracy, -self.loss)


@dataclass
class TrainingState:
    """What changes while a run trains; ``to_file`` and ``restore`` are its file form."""

    model: Network
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    plans: list[Plan]
    step: int = 0
    rows: list[Row] = field(default_factory=list)
    best: Best | None = None
    stale: int = 0
    """Validations since the best one."""
    skipped: list[int] = field(default_factory=list)
    """The steps that were passed over because they were not finite."""
    loss_sum: float = 0.0
    """Over the images since the last row; likewise the next two."""
    correct: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        self._buffers = dict(self.model.named_buffers())
        self._before = {name: buffer.clone() for name, buffer in self._buffers.items()}
        self._in_step = False

    def begin_step(self) -> None:
        """Remember batch norm's statistics, which the forward pass is about to change."""
        for name, buffer in self._buffers.items():
            self._before[name].copy_(buffer)
        self._in_step = True

    def end_step(self) -> None:
        """The step's weights are in; the statistics of its forward pass are the valid ones."""
        self._in_step = False
        self.step += 1

    def give_up_step(self) -> None:
        """Put batch norm's statistics back to where they were before the step."""
        if self._in_step:
            for name, buffer in self._buffers.items():
                buffer.copy_(self._before[name])
            self._in_step = False

    def skip_step(self) -> None:
        """Pass over a step that was given up."""
        self.skipped.append(self.step)
        self.step += 1

    def count(self, loss: float, correct: int, images: int) -> None:
        """Add a batch (its mean loss) to the row that is open."""
        self.loss_sum += loss * images
        self.correct += correct
        self.seen += images

    def close_row(self, row: Row) -> None:
        """Append a row and begin the next."""
        self.rows.append(row)
        self.loss_sum, self.correct, self.seen = 0.0, 0, 0

    @property
    def validated_here(self) -> bool:
        """Whether the last row of ``metrics.csv`` is this step's."""
        return bool(self.rows) and self.rows[-1]["step"] == self.step

    def validated_weights(self) -> dict[str, Tensor]:
        """The weights that are validated and sealed: the average where there is one."""
        return self.average.tensors if self.average else self.model.state_dict()

    def to_file(
        self, seconds: float, extra: dict[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values of the state before the running step."""
        weights = self.model.state_dict()
        if self._in_step:
            weights |= self._before
        tensors = {f"model.{name}": value for name, value in weights.items()}
        if self.average:
            tensors |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        best = self.best
        if best:
            tensors |= {f"best.{name}": value for name, value in best.weights.items()}
        for name, parameter in self.model.named_parameters():
            if (momentum := self.optimizer.state.get(parameter, {}).get(MOMENTUM)) is not None:
                tensors[f"momentum.{name}"] = momentum
        info = {
            "seconds": seconds,
            "plans": [dataclasses.astuple(plan) for plan in self.plans],
            "rows": self.rows,
            "best": best and [best.step, best.accuracy, best.loss],
            "stale": self.stale,
            "skipped": self.skipped,
            "sums": [self.loss_sum, self.correct, self.seen],
            "updates": self.average.updates if self.average else 0,
        }
        return tensors, info | extra

    def restore(self, saved: State) -> None:
        """Take over a saved state. Raises ``ModelFileError`` where it is another network's."""
        info = saved.info
        self._check(saved)  # all of it before any of it is taken over
        self.model.load_state_dict(part(saved.tensors, "model"))
        if self.average:
            for name, value in part(saved.tensors, "average").items():
                self.average.tensors[name].copy_(value)
            self.average.updates = info["updates"]
        momenta = part(saved.tensors, "momentum")
        for name, parameter in self.model.named_parameters():
            if name in momenta:
                kept = torch.empty_like(parameter)  # in the parameter's memory format
                self.optimizer.state[parameter][MOMENTUM] = kept.copy_(momenta[name])
        self.step = saved.step
        self.plans = [Plan(*values) for values in info["plans"]]
        self.rows = info["rows"]
        self.stale = info["stale"]
        self.skipped = info["skipped"]
        self.loss_sum, self.correct, self.seen = info["sums"]
        if info["best"]:
            step, accuracy, loss = info["best"]
            self.best = Best(step, accuracy, loss, part(saved.tensors, "best"))

    def _check(self, saved: State) -> None:
        """Raise ``ModelFileError`` where tensors are missing, do not fit or are no numbers."""
        network = {n: (tuple(t.shape), t.dtype) for n, t in self.model.state_dict().items()}
        parameters = {name: network[name] for name, _ in self.model.named_parameters()}
        parts = ["model", *["average"] * bool(self.average), *["best"] * bool(saved.info["best"])]
        for name in parts:
            check_weights(part(saved.tensors, name), network, where=f"the training state ({name})")
        momenta = part(saved.tensors, "momentum")
        check_weights(
            momenta,
            {name: known for name, known in parameters.items() if name in momenta},
            where="the training state (momentum)",
        )


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix.``, without it."""
    start = prefix + "."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def row_text(row: Row) -> str:
    """One row of ``metrics.csv`` as a line."""
    parts = [
        f"epoch {row['epoch']:.2f}: loss {row['train_loss']:.4f}",
        f"train accuracy {row['train_accuracy']:.2%}",
    ]
    if row["val_accuracy"] is not None:
        parts.append(f"val loss {row['val_loss']:.4f}, val accuracy {row['val_accuracy']:.2%}")
    parts.append(f"lr {row['learning_rate']:.4g}")
    parts.append(f"{row['images_per_second']:,.0f} images/s, {row['seconds']:.1f} s")
    return ", ".join(parts)
