"""Commands that run a paper's experiment again: experiment."""

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli import STARTED
from resnets.cli.app import DataDir, app

experiment = typer.Typer(help="Run a paper's experiment again.", no_args_is_help=True)
app.add_typer(experiment, name="experiment")

DataArgument = Annotated[str, typer.Argument(help="a data set's name, or a folder")]
EpochsOption = Annotated[
    float | None, typer.Option(help="passes of each network over the images", show_default=False)
]


@experiment.command()
def degradation(
    data: DataArgument = "cifar10",
    budget: Annotated[
        str | None,
        typer.Option(help="time for all networks together  [default: 60m]", show_default=False),
    ] = None,
    epochs: EpochsOption = None,
    nets: Annotated[
        str, typer.Option(help="plain and residual networks, of two depths each")
    ] = "plain20,plain56,resnet20,resnet56",
    out: Annotated[Path, typer.Option(help="folder of the runs and results")] = Path(
        "runs/degradation"
    ),
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="of the weights and the order")] = 0,
) -> None:
    """Why depth needs shortcuts: plain and residual networks under one schedule."""
    from resnets.console import say
    from resnets.experiments import degradation as run_degradation

    found = run_degradation(
        data,
        nets=[net.strip() for net in nets.split(",")],
        budget=budget or (None if epochs else "60m"),
        epochs=epochs,
        out=out,
        data_dir=data_dir,
        seed=seed,
        started=STARTED,
    )
    say(found.text)
    say(f"results: {out}/degradation.svg, degradation.csv, signals.csv")
