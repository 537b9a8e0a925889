"""Commands that run a paper's experiment again: experiment."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli import STARTED
from resnets.cli.app import AsJson, DataDir, app
from resnets.errors import ConfigError

if TYPE_CHECKING:
    from resnets.experiments import NetErrors

experiment = typer.Typer(help="Run a paper's experiment again.", no_args_is_help=True)
app.add_typer(experiment, name="experiment")

DataArgument = Annotated[str, typer.Argument(help="a data set's name, or a folder")]
OutOption = Annotated[Path, typer.Option(help="folder of the runs and results")]
Shortened = Annotated[
    str | None,
    typer.Option(help="time for all runs together, in place of the recipe's steps"),
]
RecipeOption = Annotated[str, typer.Option(help="a recipe of `resnets train`")]
SeedsOption = Annotated[int, typer.Option(help="runs of each network", min=1)]
EpochsOption = Annotated[
    float | None, typer.Option(help="passes of each network over the images", show_default=False)
]


@experiment.command()
def degradation(
    data: DataArgument = "cifar10",
    budget: Annotated[
        str | None,
        typer.Option(help="time for all networks together", show_default="60m"),
    ] = None,
    epochs: EpochsOption = None,
    nets: Annotated[
        str, typer.Option(help="plain and residual networks, of two depths each")
    ] = "plain20,plain56,resnet20,resnet56",
    out: OutOption = Path("runs/degradation"),
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="of the weights and the order")] = 0,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="of the learning rate: cosine, linear or steps", show_default="steps, as the paper"
        ),
    ] = None,
) -> None:
    """Why depth needs shortcuts: plain and residual networks under one schedule."""
    from resnets.console import say
    from resnets.experiments import degradation as run_degradation

    settings: dict[str, Any] = {"schedule": schedule} if schedule else {}
    found = run_degradation(
        data,
        nets=[net.strip() for net in nets.split(",")],
        budget=budget or (None if epochs else "60m"),
        epochs=epochs,
        out=out,
        data_dir=data_dir,
        seed=seed,
        started=STARTED,
        **settings,
    )
    say(found.text)
    say(f"results: {out}/degradation.svg, degradation.csv, signals.csv")


@experiment.command()
def table6(
    data: DataArgument = "cifar10",
    nets: Annotated[str, typer.Option(help="layers of the networks")] = "20,32,44,56,110",
    seeds: SeedsOption = 5,
    recipe: RecipeOption = "paper-cifar",
    budget: Shortened = None,
    epochs: EpochsOption = None,
    out: OutOption = Path("runs/table6"),
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Table 6 of the ResNet paper: 20 to 110 layers, the paper's error beside ours."""
    from resnets.experiments import table6 as run_table6

    rows = run_table6(
        data,
        nets=_depths(nets),
        seeds=seeds,
        recipe=recipe,
        budget=budget,
        epochs=epochs,
        out=out,
        data_dir=data_dir,
        started=STARTED,
    )
    _tell(rows, "Table 6 of arXiv:1512.03385: error in %", out / "table6.csv", as_json)


@experiment.command()
def shortcuts(
    data: DataArgument = "cifar10",
    layers: Annotated[int, typer.Option(help="of each network: 20, 32, 44, 56 or 110")] = 20,
    seeds: SeedsOption = 3,
    recipe: RecipeOption = "paper-cifar",
    budget: Shortened = None,
    epochs: EpochsOption = None,
    out: OutOption = Path("runs/shortcuts"),
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Options A, B and C and identity mappings (v2) at equal depth."""
    from resnets.experiments import shortcuts as run_shortcuts

    rows = run_shortcuts(
        data,
        layers=layers,
        seeds=seeds,
        recipe=recipe,
        budget=budget,
        epochs=epochs,
        out=out,
        data_dir=data_dir,
        started=STARTED,
    )
    _tell(rows, f"Shortcuts, {layers} layers: error in %", out / "shortcuts.csv", as_json)


def _depths(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--nets {text} are no numbers of layers", fix="write them as --nets 20,32"
        ) from None


def _tell(rows: Sequence["NetErrors"], title: str, file: Path, as_json: bool) -> None:
    from resnets.console import say, show_errors

    values = [asdict(row) for row in rows]
    if as_json:
        print(json.dumps(values))
    else:
        show_errors(title, values)
        say(f"table: {file}")
