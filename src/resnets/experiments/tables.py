"""Tables of errors: each network from several seeds, beside what the papers report."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.experiments.running import (
    Length,
    Trial,
    error,
    error_on_test,
    parameters_of,
    planned,
    warm_up_of,
    write_rows,
)
from resnets.report import RunFacts


@dataclass(frozen=True, kw_only=True)
class Published:
    """CIFAR-10 test error of a network as its paper prints it, as fractions."""

    error: float | None = None
    """The one it prints, or its best."""
    mean: float | None = None
    std: float | None = None
    """Over runs, where it made several."""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class NetErrors:
    """A row of a table: one network, all its runs. Errors are fractions of the test images."""

    net: str
    told: str
    """What it is in the table."""
    parameters: int
    paper_error: float | None
    paper_mean: float | None
    paper_std: float | None
    paper: str
    steps: int
    runs: int
    error_mean: float | None
    """Of the weights that were best on validation, taken once a run."""
    error_std: float | None
    """Over the runs (n - 1); ``None`` of one."""
    error_best: float | None
    last_val_error: float | None
    """The mean over the runs after the last step."""


def errors_of(
    nets: Mapping[str, str],
    published: Mapping[str, Published],
    *,
    file: str,
    data: str | Path,
    seeds: int,
    out: str | Path,
    recipe: str = "paper-cifar",
    budget: str | float | None = None,
    epochs: float | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    started: float | None = None,
    **settings: Any,
) -> list[NetErrors]:
    """Train each network from each seed under one schedule; the same call continues.

    One seed of every network comes before the next seed, so that a table which is stopped early
    has a row for all. It is written to ``out / file`` after each run.

    Args:
        nets: network -> what it is called in the table.
        seeds: runs of each network.
        budget: seconds, or text such as ``"2h"``, for all runs together, instead of the recipe's
            number of steps; or ``epochs`` of each.
        settings: further settings of ``resnets.train``, for all runs alike.
    """
    trials = [Trial(net, seed, warm_up_of(net)) for seed in range(seeds) for net in nets]
    experiment = planned(
        trials,
        data=data,
        out=out,
        data_dir=data_dir,
        settings={"recipe": recipe, **settings},
        length=Length.of(budget, epochs),
        started=started,
        quiet=quiet,
    )
    done: dict[str, list[RunFacts]] = {net: [] for net in nets}
    rows: list[NetErrors] = []
    for run in experiment.run(trials):
        done[run.config.model].append(run)
        rows = [
            _row(net, nets[net], published.get(net, Published()), runs)
            for net, runs in done.items()
            if runs
        ]
        write_rows(experiment.out / file, [asdict(row) for row in rows])
    return rows


def _row(net: str, told: str, published: Published, runs: Sequence[RunFacts]) -> NetErrors:
    errors = [found for run in runs if (found := error_on_test(run)) is not None]
    last = [error(run.rows[-1]["val_accuracy"]) for run in runs]
    known = [value for value in last if value is not None]
    return NetErrors(
        net=net,
        told=told,
        parameters=parameters_of(net, len(runs[0].answers.classes)),
        paper_error=published.error,
        paper_mean=published.mean,
        paper_std=published.std,
        paper=published.source,
        steps=int(runs[0].rows[-1]["step"] or 0),
        runs=len(runs),
        error_mean=statistics.mean(errors) if errors else None,
        error_std=statistics.stdev(errors) if len(errors) > 1 else None,
        error_best=min(errors, default=None),
        last_val_error=statistics.mean(known) if known else None,
    )
