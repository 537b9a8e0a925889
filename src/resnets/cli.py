"""The command line: a command reads its arguments, calls one public function, prints."""

import time

STARTED = time.monotonic()  # a budget counts from here: before typer, and long before torch

import csv  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Annotated, Any, Literal  # noqa: E402

import typer  # noqa: E402
from typer.core import TyperGroup  # noqa: E402

from resnets.config import TrainConfig, check_keys  # noqa: E402
from resnets.console import warn  # noqa: E402
from resnets.errors import ConfigError, ResnetsError  # noqa: E402

if TYPE_CHECKING:
    from resnets.prediction import FilePrediction


class Commands(TyperGroup):
    """The commands, with one place where expected trouble becomes two lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except ResnetsError as problem:
            warn(f"resnets: {problem}")
            sys.exit(problem.exit_code)
        except BrokenPipeError:
            raise  # `resnets predict ... | head`: typer ends quietly
        except KeyboardInterrupt:
            print("resnets: stopped", file=sys.stderr)
            sys.exit(130)
        except Exception as bug:
            if type(bug).__module__.partition(".")[0] in ("typer", "click"):
                raise  # a mistyped command, or an ordinary end
            traceback.print_exc()
            print(
                "resnets: this is our bug; please report it with the lines above", file=sys.stderr
            )
            sys.exit(70)


app = typer.Typer(
    cls=Commands,
    help="Train, evaluate and use image classifiers with residual networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunPath = Annotated[Path, typer.Argument(help="a run folder or a sealed model", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="where named data sets lie, or are downloaded to", show_default=False),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps")]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="bf16 may change answers")]


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="names to list, such as 'resnet1*'")] = "*",
    as_json: AsJson = False,
) -> None:
    """List the networks: name, parameters, input size, paper."""
    from resnets.console import show_models
    from resnets.models import model_rows

    show_models(model_rows(pattern), as_json=as_json)


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
    epochs: Annotated[int | None, typer.Option(help="passes over the training images")] = None,
    budget: Annotated[
        str | None, typer.Option(help="time from start to exit instead, such as 10m")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="run folder  [default: runs/NAME]")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="default, paper-cifar or tutorial-cifar96")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="repeat a run from its config.toml")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the network's input")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="images per step")
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
    precision: Annotated[str | None, typer.Option(help="auto, bf16 or fp32")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-j", help="processes that decode photos")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="decides everything that is drawn")] = None,
    data_dir: DataDir = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="any other setting, as key=value", metavar="KEY=VALUE"),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="start again; the old folder is kept as NAME.1")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="go on to a larger --epochs than before")
    ] = False,
) -> None:
    """Train a classifier; the same command continues a run that was stopped."""
    given: dict[str, Any] = {
        "model": model,
        "epochs": epochs,
        "budget": budget,
        "recipe": recipe,
        "image_size": image_size,
        "batch_size": batch_size,
        "learning_rate": lr,
        "weight_decay": weight_decay,
        "validation": validation,
        "patience": patience,
        "balance": balance,
        "precision": precision,
        "device": device,
        "threads": threads,
        "workers": workers,
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
        fresh=fresh,
        extend=extend,
        started=STARTED,
        **given,
    )
    if run.scores:
        show_scores(run.scores)
    say(f"run folder: {run.path}")
    say(f"next: resnets predict {run.path} IMAGE...")


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[
        str | None, typer.Argument(help="other labelled images  [default: the run's own data]")
    ] = None,
    split: Annotated[str, typer.Option(help="which part: train, val or test")] = "test",
    device: Device = "cpu",
    precision: Precision = "fp32",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled images, with 95 % intervals and its worst mistakes."""
    from resnets.console import Progress, show_scores
    from resnets.prediction import load

    classifier = load(run, device=device, precision=precision)
    with Progress() as progress:
        progress.begin(f"scoring {split}", None)
        scores = classifier.evaluate(
            data, split=split, data_dir=data_dir, progress=lambda done, total: progress.advance()
        )
    if as_json:
        print(json.dumps(scores.to_dict()))
    else:
        show_scores(scores)


@app.command()
def predict(
    run: RunPath,
    images: Annotated[
        list[Path], typer.Argument(help="image files or folders of images", show_default=False)
    ],
    top: Annotated[int, typer.Option(help="so many labels per image", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per image")] = False,
    device: Device = "cpu",
    precision: Precision = "fp32",
    as_csv: Annotated[
        bool, typer.Option("--csv", help="rows of file,rank,label,probability,error")
    ] = False,
) -> None:
    """Classify images: one row each, in the given order; exit code 1 if one was unreadable."""
    from resnets.console import show_predictions
    from resnets.prediction import find_images, load

    if as_json and as_csv:
        raise ConfigError("--json and --csv together", fix="choose one of them")
    classifier = load(run, device=device, precision=precision)
    unreadable = 0

    def rows() -> "Iterator[FilePrediction]":
        nonlocal unreadable
        for row in classifier.predict_files(find_images(images), top=top):
            unreadable += row.error is not None
            yield row

    if as_json:
        for row in rows():
            print(json.dumps(row.to_dict()), flush=True)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "rank", "label", "probability", "error"])
        for row in rows():
            writer.writerows(row.to_csv())
    else:
        show_predictions(rows())
    if unreadable:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def top_level(
    version: Annotated[
        bool, typer.Option("--version", help="versions, threads and bf16 support")
    ] = False,
) -> None:
    """Train, evaluate and use image classifiers with residual networks."""
    if version:
        import torch

        from resnets import __version__
        from resnets.machine import available_cores, bf16_gains

        cuda = torch.cuda.is_available()
        bf16 = "yes" if bf16_gains("cuda" if cuda else "cpu") else "no"
        print(
            f"resnets {__version__}, torch {torch.__version__}, "
            f"python {sys.version.split()[0]}, {available_cores()} threads, "
            f"bf16: {bf16}, GPU: {torch.cuda.get_device_name() if cuda else 'none'}"
        )
        raise typer.Exit


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """``key=value`` texts as settings; a value is TOML, or text where it is no TOML."""
    import tomllib

    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: no value", fix="write it as --set key=value")
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    check_keys(TrainConfig, settings, where="--set")
    if "data" in settings:
        raise ConfigError("--set data=...", fix="name the data before the options")
    return settings


def main() -> None:
    """The entry point of ``resnets`` and of ``python -m resnets``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    app()
