"""Commands that make a model usable elsewhere: export."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from resnets.cli.app import AsJson, DataDir, RunPath, app


@app.command()
def export(
    run: RunPath,
    form: Annotated[
        Literal["onnx", "openvino", "safetensors", "web"],
        typer.Option("--format", help="of the file; web: a site for any static host"),
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "bf16", "int8"], typer.Option(help="bf16 and int8 may change answers")
    ] = "fp32",
    out: Annotated[
        Path | None, typer.Option(help="folder", show_default="RUN/export/FORMAT-PRECISION")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="labelled images to prove it on", show_default="the run's own"),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="points of accuracy that bf16 and int8 may lose")
    ] = 0.5,
    runtime: Annotated[
        Path | None,
        typer.Option(help="folder with onnxruntime-web, for web", show_default="node_modules"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other runtimes, once it has proven to answer as PyTorch does.

    Exit code 1 where it does not; nothing has changed then.
    """
    from resnets.console import Progress, say, show_proof
    from resnets.exporting import GateFailed, export_model

    with Progress() as progress:
        try:
            made = export_model(
                run,
                form,
                precision,
                out=out,
                data=data,
                data_dir=data_dir,
                max_drop=max_drop,
                runtime=runtime,
                begin=progress.begin,
                advance=progress.advance,
            )
        except GateFailed as failed:
            progress.end()
            if as_json:
                print(json.dumps({"proof": failed.proof.to_dict()}))
            else:
                show_proof(failed.proof)
            raise
    if as_json:
        print(json.dumps(made.to_dict()))
        return
    show_proof(made.proof)
    say(f"exported: {made.path}")
    if form == "web":
        say(f"next: python -m http.server --directory {made.path}")
    else:
        say(f"next: resnets predict {made.path} IMAGE...")
