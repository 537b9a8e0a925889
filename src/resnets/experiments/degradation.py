"""The degradation experiment: more layers do worse, unless there are shortcuts.

arXiv:1512.03385, Section 4.2 and Figure 6, left and middle: plain and residual networks on
CIFAR-10 under one schedule.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from resnets.checkpoint import newest_state
from resnets.data import Dataset
from resnets.data.transforms import normalise, to_pixels
from resnets.errors import ConfigError, ModelFileError
from resnets.experiments.drawing import save_png, save_svg
from resnets.experiments.pace import few_images
from resnets.experiments.panels import panels_of
from resnets.experiments.running import (
    Length,
    Trial,
    error,
    error_on_test,
    layers_of,
    parameters_of,
    planned,
    warm_up_of,
    write_rows,
)
from resnets.experiments.signals import LayerSignal, layer_signals
from resnets.experiments.wording import told
from resnets.models import create_model
from resnets.models.specs import spec_of
from resnets.models.specs.residual import ResNetSpec
from resnets.prediction import MEAN_IMAGE
from resnets.report import RunFacts
from resnets.sealing import write_durably
from resnets.training.setup import preprocess_of
from resnets.training.state import part

NETS = ("plain20", "plain56", "resnet20", "resnet56")
BATCH = 128
"""Training images on which signals are measured."""
START: Literal["start"] = "start"
END: Literal["end"] = "end"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One network of the experiment, from its first step to its last."""

    net: str
    layers: int
    residual: bool
    """Whether it has shortcuts."""
    parameters: int
    curve: tuple[dict[str, Any], ...]
    """step, epoch, learning_rate, train_error (on augmented images, the mean since the row
    before), val_error: one row for each validation."""
    test_error: float | None
    """Of the weights that were best on validation; taken once."""
    signals: dict[Literal["start", "end"], tuple[LayerSignal, ...]]
    run: RunFacts

    @property
    def last(self) -> dict[str, Any]:
        """The last row of the curve."""
        return self.curve[-1]


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """What the experiment found."""

    nets: tuple[Learned, ...]
    out: Path
    text: str
    """The outcome in words, made from the figures."""


def degradation(
    data: str | Path = "cifar10",
    *,
    nets: Sequence[str] = NETS,
    budget: str | float | None = None,
    epochs: float | None = None,
    out: str | Path = "runs/degradation",
    data_dir: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
    started: float | None = None,
    **settings: Any,
) -> Degradation:
    """Train plain and residual networks under one schedule; the same call continues.

    All take the same number of steps over the same images in the same order, with the same
    augmentation and the same learning rate at each step: the paper's recipe, shortened.
    ``degradation.csv``, ``signals.csv``, ``degradation.svg`` (a PNG too with ``resnets[plot]``)
    and ``degradation.md`` are written to ``out`` after each network.

    Args:
        nets: plain and residual networks for CIFAR, of two depths of a kind at least.
        budget: seconds, or text such as ``"60m"``, for the whole call; how many steps fit is
            measured once and kept.
        epochs: passes of each network over the training images, instead of a budget.
        started: ``time.monotonic()`` at which the budget began; now by default.
        settings: further settings of ``resnets.train``, for all networks alike, such as
            ``schedule="cosine"``, whose rate falls from the start.

    Raises ``ConfigError`` for other networks, and what ``resnets.train`` raises.
    """
    _check(nets)
    if settings.get("validation") == 0:
        raise ConfigError("validation=0 leaves no validation error", fix="leave validation out")
    warm_up = max(map(warm_up_of, nets))  # one schedule: what the deepest needs, all get
    shared = {"recipe": "paper-cifar", **settings}
    trials = [Trial(net, seed, warm_up) for net in nets]
    experiment = planned(
        trials,
        data=data,
        out=out,
        data_dir=data_dir,
        settings=shared,
        length=Length.of(budget, epochs),
        started=started,
        quiet=quiet,
    )
    few, _ = few_images(data, data_dir, shared)
    learned: list[Learned] = []
    for run in experiment.run(trials):
        learned.append(_learned(run, few))
        found = Degradation(nets=tuple(learned), out=experiment.out, text=told(learned))
        write(found)
    return found


def write(found: Degradation) -> list[Path]:
    """Write tables, picture and words to ``found.out``; returns the files."""
    rows = [
        {
            "net": net.net,
            "parameters": net.parameters,
            **row,
            "test_error": net.test_error if row is net.last else None,
        }
        for net in found.nets
        for row in net.curve
    ]
    signals = [
        {"net": net.net, "when": when, **asdict(signal)}
        for net in found.nets
        for when, measured in net.signals.items()
        for signal in measured
    ]
    write_rows(found.out / "degradation.csv", rows)
    write_rows(found.out / "signals.csv", signals)
    write_durably(found.out / "degradation.md", (found.text + "\n").encode())
    panels = panels_of(found.nets)
    files = [found.out / name for name in ("degradation.csv", "signals.csv", "degradation.md")]
    files.append(save_svg(found.out / "degradation.svg", "The degradation experiment", panels))
    if picture := save_png(found.out / "degradation.png", panels):
        files.append(picture)
    return files


def _learned(run: RunFacts, few: Dataset) -> Learned:
    config = run.config
    curve = tuple(
        {
            "step": int(row["step"] or 0),
            "epoch": row["epoch"],
            "learning_rate": row["learning_rate"],
            "train_error": error(row["train_accuracy"]),
            "val_error": error(row["val_accuracy"]),
        }
        for row in run.rows
    )
    return Learned(
        net=config.model,
        layers=layers_of(config.model),
        residual=not _plain(config.model),
        parameters=parameters_of(config.model, len(few.classes)),
        curve=curve,
        test_error=error_on_test(run),
        signals=_signals(run, few),
        run=run,
    )


def _signals(run: RunFacts, few: Dataset) -> dict[Literal["start", "end"], tuple[LayerSignal, ...]]:
    """Of the weights as they were drawn and of those after the last step, on the same images."""
    config = run.config
    state = newest_state(run.path / "state")
    if state is None:
        raise ModelFileError(
            f"{run.path} has no training state: its last weights are not known",
            fix=f"move {run.path} away; the same command trains it again",
        )
    preprocess = preprocess_of(config)
    split = few.splits["train"]
    count = min(BATCH, len(split))
    images = torch.stack(
        [
            to_pixels(torch.from_numpy(split.images[index])[None], preprocess)[0]
            for index in range(count)
        ]
    )
    inputs = normalise(images, preprocess, state.tensors.get(MEAN_IMAGE))
    labels = torch.from_numpy(split.labels[:count])
    network = create_model(
        config.model,
        num_classes=len(few.classes),
        in_channels=preprocess.input_size[0],
        initialisation=config.initialisation,
        seed=config.seed,
    )
    start = layer_signals(network, inputs, labels)
    network.load_state_dict(part(state.tensors, "model"))
    return {START: tuple(start), END: tuple(layer_signals(network, inputs, labels))}


def _plain(net: str) -> bool:
    spec = spec_of(net)
    return isinstance(spec, ResNetSpec) and spec.shortcut == "none"


def _check(nets: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless there are two depths of plain or of residual networks."""
    kinds = {
        kind: {layers_of(net) for net in nets if _plain(net) is kind} for kind in (True, False)
    }
    if max(map(len, kinds.values())) < 2 or len(set(nets)) < len(nets):
        raise ConfigError(
            f"{', '.join(nets) or 'no network'}: nothing to compare",
            fix="name each once, and two depths of a kind, such as plain20,plain56",
        )
