"""Commands about networks, without data: models, describe."""

import json
from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.app import AsJson, app
from resnets.errors import ConfigError

MANY = 10
"""Counting more networks than this takes seconds, and a word."""


@app.command()
def models(
    pattern: Annotated[
        str, typer.Argument(help="names to list, such as 'resnet1*', or a part of them")
    ] = "*",
    as_json: AsJson = False,
) -> None:
    """List the networks: name, parameters, multiply-adds, input size, paper, weights."""
    from resnets.console import show_models, warn
    from resnets.cost import MULTIPLY_ADDS, model_rows
    from resnets.models import list_models

    def counting(networks: int) -> None:
        if networks > MANY:
            warn(f"counting what {networks} networks cost; the next time it is remembered")

    part = f"*{pattern.lower()}*"
    rows = model_rows(
        pattern if list_models(pattern) or not list_models(part) else part, counting=counting
    )
    show_models(rows, as_json=as_json, convention=MULTIPLY_ADDS)


@app.command()
def describe(
    model: Annotated[
        str,
        typer.Argument(
            help="a name from `resnets models`, with options as in resnet50:shortcut=C; or a run "
            "folder or a sealed model",
            show_default=False,
        ),
    ],
    other: Annotated[
        str | None, typer.Argument(help="another one, to see what differs", show_default=False)
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input", help="such as 3x224x224", show_default="the network's own"),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers/--blocks", help="a row for each layer or for each block")
    ] = False,
    as_json: AsJson = False,
    diagram: Annotated[
        Path | None, typer.Option(help="draw the network into this SVG file", show_default=False)
    ] = None,
) -> None:
    """What a network is and costs: shapes, parameters, multiply-adds, memory, receptive field."""
    from resnets.console import say, show_comparison, show_description
    from resnets.description import compare, parse_size
    from resnets.description import describe as describe_network
    from resnets.diagram import draw
    from resnets.sealing import make_folder, write_durably

    if diagram and diagram.suffix.lower() != ".svg":
        raise ConfigError(f"--diagram {diagram}: a diagram is an SVG", fix="end its name in .svg")
    size = parse_size(input_size) if input_size else None
    if other:
        if diagram:
            raise ConfigError("--diagram with two networks", fix="draw them one by one")
        if layers:
            raise ConfigError("--layers with two networks", fix="describe them one by one")
        comparison = compare(model, other, size)
        if as_json:
            print(json.dumps(comparison.to_dict()))
        else:
            show_comparison(comparison)
        return
    description = describe_network(model, size)
    if diagram:
        make_folder(diagram.absolute().parent)
        write_durably(diagram, draw(description).encode())
    if as_json:
        print(json.dumps(description.to_dict()))
    else:
        show_description(description, layers=layers)
        if diagram:
            say(f"diagram: {diagram}")
