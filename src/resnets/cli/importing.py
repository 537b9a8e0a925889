"""Commands that bring a model from elsewhere: import."""

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.app import app
from resnets.config import Interpolation
from resnets.errors import ConfigError


@app.command("import")
def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="weights of PyTorch (.pt .pth .th .ckpt .safetensors) or Keras (.h5 .keras), a "
            "folder, torchvision, or hf-hub:OWNER/NAME",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="whose weights: a network from `resnets models`")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="a file with one class a line, or names as in cat,dog")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="of the training's normalisation, as in 0.485,0.456,0.406")
    ] = None,
    std: Annotated[str | None, typer.Option(help="likewise, as in 0.229,0.224,0.225")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the network's input")] = None,
    crop_pct: Annotated[
        float | None, typer.Option(help="the crop's share of the resized image's shorter side")
    ] = None,
    interpolation: Annotated[
        Interpolation | None, typer.Option(help="of the resize: bilinear or bicubic")
    ] = None,
    bgr: Annotated[
        bool,
        typer.Option(
            "--bgr",
            help="the weights expect blue first, as Keras's v1 ResNets; means stay red first",
        ),
    ] = False,
    licence: Annotated[str | None, typer.Option("--license", help="of the weights")] = None,
    out: Annotated[
        Path | None, typer.Option(help="new folder", show_default="imported/NAME")
    ] = None,
) -> None:
    """Turn weights trained elsewhere into a sealed model."""
    from resnets.console import say
    from resnets.importing import import_model, read_classes

    made = import_model(
        source,
        out=out,
        model=model,
        classes=read_classes(classes) if classes else None,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        image_size=image_size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        bgr=bgr,
        licence=licence,
    )
    for note in made.notes:
        say(note)
    given = made.preprocess
    side = "x".join(map(str, given.input_size))
    say(f"{made.model}: {made.parameters:,} parameters, {len(made.classes):,} classes, all set")
    say(
        f"preprocessing: {given.interpolation} to {side}, crop {given.crop_pct:g}, "
        f"mean {_told(given.mean)}, std {_told(given.std)}"
    )
    say(f"sealed model: {made.path}")
    say(f"next: resnets predict {made.path} IMAGE...")


def _numbers(flag: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{flag} {text} is no number", fix=f"write {flag} 0.5,0.5,0.5") from None


def _told(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
