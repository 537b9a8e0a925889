"""Commands that make a sealed model: train."""

from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli import STARTED
from resnets.cli.app import DataDir, app
from resnets.config import AUTO, TrainConfig, check_keys, parse_value
from resnets.errors import ConfigError


@app.command()
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="a folder of class folders (or with train/, val/, test/), a CSV with path,label, "
            "or a name: sample, cifar10, cifar100, mnist, fashion-mnist, imagenet",
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="a network from `resnets models`")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="start from the weights of a run, a file, a network's name, or hf-hub:NAME",
        ),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="keep the weights up to this point, such as layer3; or all")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the training images")] = None,
    budget: Annotated[
        str | None, typer.Option(help="time from start to exit instead, such as 10m")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="run folder", show_default="runs/NAME")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="default, speedrun-cifar10, quick-cifar10, paper-cifar or tutorial-cifar96"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="repeat a run from its config.toml")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the network's input")] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            "-b",
            help="images per step; auto: the recipe's, in parts that fit into the memory",
        ),
    ] = None,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-activations", help="less memory for about a third more time, same result"
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option("--compile", help="torch.compile; says what it costs and whether it pays"),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="highest learning rate")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", "--wd")] = None,
    validation: Annotated[
        float | None, typer.Option(help="share of the training images held out; 0: none")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="stop after so many validations without a better one")
    ] = None,
    balance: Annotated[
        str | None, typer.Option(help="for unequal classes: none, weights or order")
    ] = None,
    on_nonfinite: Annotated[
        str | None, typer.Option(help="a loss or gradient that is not finite: stop or skip")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16 or fp32")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", help="processes that decode photos")
    ] = None,
    cache: Annotated[
        bool | None,
        typer.Option("--cache", help="decode photos once and keep them on disk, up to 20 GB"),
    ] = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option("--tensorboard", help="event files for TensorBoard beside metrics.csv"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="decides everything that is drawn")] = None,
    data_dir: DataDir = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="any other setting, as key=value", metavar="KEY=VALUE"),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="train in spite of: duplicates, or unreadable", metavar="KIND"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="start again; the old folder is kept as NAME.1")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="go on to a larger --epochs than before")
    ] = False,
    accept_data_change: Annotated[
        bool, typer.Option("--accept-data-change", help="go on although images changed meanwhile")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="go on only where the same bits will come of it")
    ] = False,
) -> None:
    """Train a classifier; the same command continues a run that was stopped."""
    given: dict[str, Any] = {
        "model": model,
        "start_from": start_from,
        "freeze": freeze,
        "epochs": epochs,
        "budget": budget,
        "recipe": recipe,
        "image_size": image_size,
        "batch_size": batch_size_of(batch_size),
        "checkpoint_activations": checkpoint_activations,
        "compile": compile,
        "learning_rate": lr,
        "weight_decay": weight_decay,
        "validation": validation,
        "patience": patience,
        "balance": balance,
        "on_nonfinite": on_nonfinite,
        "precision": precision,
        "device": device,
        "threads": threads,
        "workers": workers,
        "cache": cache,
        "tensorboard": tensorboard,
        "seed": seed,
    }
    for key, value in parse_settings(settings or []).items():
        if given.get(key) not in (None, value):
            raise ConfigError(f"{key} is given twice: {given[key]} and {value}", fix="give it once")
        given[key] = value

    from resnets.console import say, show_scores
    from resnets.training import train as train_model

    run = train_model(
        data,
        out=out,
        config=config,
        data_dir=data_dir,
        allow=allow or (),
        fresh=fresh,
        extend=extend,
        accept_data_change=accept_data_change,
        exact=exact,
        started=STARTED,
        **given,
    )
    if run.scores:
        show_scores(run.scores)
    say(f"run folder: {run.path}")
    say(f"next: resnets predict {run.path} IMAGE...")


def batch_size_of(text: str | None) -> int | str | None:
    """A number of images, ``"auto"``, or nothing. Raises ``ConfigError`` for other texts."""
    if text is None or text == AUTO:
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"--batch-size {text} is no number of images", fix="give a number, or auto"
        ) from None


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """``key=value`` texts as settings; a value is TOML, or text where it is no TOML."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: no value", fix="write it as --set key=value")
        settings[key] = parse_value(value)
    check_keys(TrainConfig, settings, where="--set")
    if "data" in settings:
        raise ConfigError("--set data=...", fix="name the data before the options")
    return settings
