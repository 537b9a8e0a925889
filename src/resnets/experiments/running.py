"""Many networks under one schedule: each is an ordinary run folder, side by side in one folder."""

import csv
import io
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from resnets.config import parse_duration
from resnets.console import Progress
from resnets.errors import ConfigError
from resnets.experiments.pace import few_images, measure_pace, seconds_of, steps_within
from resnets.models import create_model
from resnets.models.specs import spec_of
from resnets.models.specs.residual import ResNetSpec
from resnets.report import RunFacts, read_run
from resnets.sealing import as_json, make_folder, write_durably
from resnets.training import train
from resnets.training.recipes import recipe

PLAN = "experiment.json"
DEEP, WARM_UP = 110, 400
"""Networks of so many layers need about so many first steps at a tenth of the rate (He et al.
2015, Section 4.2)."""
TARGET = 0.95
"""The share of a budget that is planned for: a machine is more often slower than faster."""


@dataclass(frozen=True)
class Trial:
    """One network from one seed."""

    model: str
    seed: int = 0
    warm_up: int = 0
    """So many first steps at a tenth of the rate, at most a tenth of them all; 0: the recipe's."""

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', self.model)}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long each network is trained; a recipe says it where nothing is given."""

    budget: float | None = None
    """Seconds for all networks together, from the command's start to its end."""
    epochs: float | None = None
    """Passes of each over the training images."""

    @classmethod
    def of(cls, budget: str | float | None, epochs: float | None) -> "Length":
        """From what was asked for. Raises ``ConfigError`` for both at once."""
        seconds = parse_duration(budget) if isinstance(budget, str) else budget
        for name, value in (("budget", seconds), ("epochs", epochs)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value:g} must be above zero", fix=f"raise {name}")
        if seconds and epochs:
            raise ConfigError("budget and epochs both say how long", fix="give one of them")
        return cls(budget=seconds, epochs=epochs)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all its networks share, kept in the folder of their runs."""

    data: str
    out: Path
    data_dir: Path | None
    settings: dict[str, Any]
    """Of ``resnets.train``, but for what makes a trial."""
    steps: int
    """Of each network."""
    quiet: bool = False

    def folder(self, trial: Trial) -> Path:
        """The run folder."""
        return self.out / trial.name

    def run(self, trials: Sequence[Trial]) -> Iterator[RunFacts]:
        """Train one after another, each to its end; what is finished is only read.

        Raises what ``resnets.train`` raises; the same call then goes on where it stopped.
        """
        for number, trial in enumerate(trials, 1):
            with Progress(quiet=self.quiet) as progress:
                progress.line(f"{number} of {len(trials)}: {trial.model}, seed {trial.seed}")
            warm_up = min(trial.warm_up, self.steps // 10)
            settings = self.settings | ({"warmup_steps": warm_up} if trial.warm_up else {})
            train(
                self.data,
                out=self.folder(trial),
                data_dir=self.data_dir,
                quiet=self.quiet,
                model=trial.model,
                seed=trial.seed,
                steps=self.steps,
                **settings,
            )
            yield read_run(self.folder(trial))


def planned(
    trials: Sequence[Trial],
    *,
    data: str | Path,
    out: str | Path,
    data_dir: str | Path | None,
    settings: dict[str, Any],
    length: Length,
    started: float | None,
    quiet: bool,
) -> Experiment:
    """The experiment in that folder, or a new one whose number of steps is settled now, for good.

    Args:
        trials: what is to be trained; with a budget, all of it has to fit.
        settings: of ``resnets.train``, but for the number of steps.
        started: ``time.monotonic()`` at which the budget began; now by default.

    Raises ``ConfigError`` where the folder holds an experiment with other settings, or where the
    budget is too short.
    """
    started = time.monotonic() if started is None else started
    out, file = Path(out), Path(out) / PLAN
    data = str(Path(data).absolute() if Path(data).exists() else data)
    asked = {"data": data, "settings": settings, **asdict(length)}
    asked["warm_up"] = max(trial.warm_up for trial in trials)
    if out.exists() and not file.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(
            f"{out} exists and holds no experiment", fix="choose another folder with --out"
        )
    with Progress(quiet=quiet) as progress:
        if file.exists():
            held = json.loads(file.read_text(encoding="utf-8"))
            _check_same(out, held["asked"], asked)
            steps = held["steps"]
            progress.line(f"continuing {out}: {steps:,} steps for each network")
        else:
            steps = _settled(trials, asked, length, data_dir, started, progress)
            make_folder(out)
            write_durably(file, as_json({"asked": asked, "steps": steps}))
    return Experiment(
        data=data,
        out=out,
        data_dir=Path(data_dir) if data_dir else None,
        settings=settings,
        steps=steps,
        quiet=quiet,
    )


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a CSV file as a whole; a value that is not known is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_durably(file, text.getvalue().encode())


def warm_up_of(model: str) -> int:
    """The first steps at a tenth of the rate that a residual network of many layers needs."""
    return WARM_UP if layers_of(model) >= DEEP else 0


def layers_of(model: str) -> int:
    """Weighted layers of a CIFAR network of two-layer blocks: 6n + 2 (He et al. 2015, Section 4.2).

    Raises ``ConfigError`` for any other network.
    """
    spec = spec_of(model)
    blocks = ("plain", "basic", "preact_basic")
    if not isinstance(spec, ResNetSpec) or spec.stem != "cifar" or spec.block not in blocks:
        raise ConfigError(
            f"{model} is no network of two-layer blocks for CIFAR",
            fix="choose such as plain20, resnet20 or resnet56; `resnets models` lists them",
        )
    return 2 * sum(spec.depths) + 2


def parameters_of(model: str, classes: int) -> int:
    """How many parameters it has with so many classes."""
    with torch.device("meta"):
        network = create_model(model, num_classes=classes)
    return sum(parameter.numel() for parameter in network.parameters())


def error_on_test(run: RunFacts) -> float | None:
    """The share of test images that the sealed model has wrong; ``None`` without a test split."""
    return 1 - float(run.answers.right().mean()) if run.answers.split == "test" else None


def error(accuracy: float | None) -> float | None:
    """The share that is wrong, where the share that is right is known."""
    return None if accuracy is None else 1 - accuracy


def _settled(
    trials: Sequence[Trial],
    asked: dict[str, Any],
    length: Length,
    data_dir: str | Path | None,
    started: float,
    progress: Progress,
) -> int:
    """How many steps each network takes; tells how long all of them will take together."""
    few, sizes = few_images(asked["data"], data_dir, asked["settings"])
    models = list(dict.fromkeys(trial.model for trial in trials))
    progress.begin("measuring", len(models), unit="networks")
    paces = {}
    for model in models:
        paces[model] = measure_pace(model, few, asked["settings"] | {"batch_size": sizes.batch})
        progress.line(f"{model}: {paces[model].step:.3f} s a step")
        progress.advance()
    progress.end()
    every = [paces[trial.model] for trial in trials]
    if length.budget:
        left = TARGET * length.budget - (time.monotonic() - started)
        steps = steps_within(every, sizes, left)
        if not steps:
            shortest = time.monotonic() - started + seconds_of(every, sizes, 2 * len(trials))
            raise ConfigError(
                f"reading and scoring {len(trials)} runs take longer than {length.budget:g} s",
                fix=f"--budget {math.ceil(shortest / 30)}m, or longer",
            )
    elif length.epochs:
        steps = max(1, round(length.epochs * sizes.train / sizes.batch))
    else:
        base = recipe(asked["settings"]["recipe"])
        steps = base.steps or round((base.epochs or 1) * sizes.train / sizes.batch)
    minutes = seconds_of(every, sizes, steps) / 60
    progress.line(
        f"{len(trials)} runs of {steps:,} steps ({steps * sizes.batch / sizes.train:.1f} epochs) "
        f"take about {_told(minutes)} on this machine; Ctrl-C stops, the same command goes on"
    )
    return steps


def _told(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def _check_same(out: Path, held: dict[str, Any], asked: dict[str, Any]) -> None:
    for name, value in asked.items():
        if held[name] != json.loads(json.dumps(value)):
            raise ConfigError(
                f"{out} holds an experiment with {name} = {held[name]}, not {value}",
                fix="--out for another folder",
            )
