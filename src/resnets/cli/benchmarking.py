"""Commands about this machine: benchmark."""

import json
from typing import Annotated, Literal

import typer

from resnets.cli.app import AsJson, EngineChoice, app


@app.command()
def benchmark(
    model: Annotated[
        str,
        typer.Argument(
            help="a name from `resnets models`, or a run folder, or a sealed or exported model",
            show_default=False,
        ),
    ],
    input_size: Annotated[
        str | None,
        typer.Option("--input", help="such as 3x224x224", show_default="the network's own"),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="images at once")] = 16,
    train: Annotated[
        bool, typer.Option("--train", help="whole training steps in place of answers")
    ] = False,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="of ours; auto: bf16 for training where it gains, else fp32"),
    ] = "auto",
    seconds: Annotated[float, typer.Option(help="time to measure")] = 10.0,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads", show_default="one per core", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    engine: EngineChoice = None,
    as_json: AsJson = False,
) -> None:
    """How fast this machine runs or trains a network, beside plain PyTorch."""
    from resnets.benchmarking import benchmark as run_benchmark
    from resnets.console import show_benchmark
    from resnets.description import parse_size

    found = run_benchmark(
        model,
        input_size=parse_size(input_size) if input_size else None,
        batch_size=batch_size,
        train=train,
        precision=precision,
        seconds=seconds,
        device=device,
        threads=threads,
        engine=engine,
    )
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        show_benchmark(found)
