"""Commands that use a sealed model: evaluate, predict."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnets.cli.app import AsJson, DataDir, Device, EngineChoice, Mirror, ModelPath, Precision, app
from resnets.console import warn
from resnets.errors import ConfigError

if TYPE_CHECKING:
    from resnets.prediction import FilePrediction


@app.command()
def evaluate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... [DATA]",
            help="a run, or a sealed or exported model, or several that answer together; then "
            "other labelled images, where not the run's own are meant",
            show_default=False,
        ),
    ],
    split: Annotated[str, typer.Option(help="which part: train, val or test")] = "test",
    tta: Mirror = "none",
    device: Device = "cpu",
    precision: Precision = "fp32",
    engine: EngineChoice = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled images, with 95 % intervals and its worst mistakes."""
    from resnets.console import Progress, show_scores
    from resnets.prediction import evaluate_together, is_model, load

    data = None if len(runs) == 1 or is_model(runs[-1]) else runs[-1]
    names = runs if data is None else runs[:-1]
    how: Any = {"device": device, "precision": precision, "tta": tta, "engine": engine}
    models = [load(name, **how) for name in names]
    for note in (note for model in models for note in model.notes):
        warn(f"note: {note}")
    with Progress() as progress:
        progress.begin(f"scoring {split}", None)
        scores = evaluate_together(
            models, data, split, data_dir=data_dir, progress=lambda done, total: progress.advance()
        )
    if as_json:
        print(json.dumps(scores.to_dict()))
    else:
        show_scores(scores)


@app.command()
def predict(
    run: ModelPath,
    images: Annotated[
        list[Path], typer.Argument(help="image files or folders of images", show_default=False)
    ],
    top: Annotated[int, typer.Option(help="so many labels per image", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per image")] = False,
    tta: Mirror = "none",
    device: Device = "cpu",
    precision: Precision = "fp32",
    engine: EngineChoice = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="rows of file,rank,label,probability,error,unsure")
    ] = False,
) -> None:
    """Classify images: one row each, in the given order; exit code 1 if one was unreadable."""
    from resnets.console import show_predictions
    from resnets.prediction import find_images, load

    if as_json and as_csv:
        raise ConfigError("--json and --csv together", fix="choose one of them")
    classifier = load(run, device=device, precision=precision, tta=tta, engine=engine)
    for note in classifier.notes:
        warn(f"note: {note}")
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
        writer.writerow(["file", "rank", "label", "probability", "error", "unsure"])
        for row in rows():
            writer.writerows(row.to_csv())
    else:
        show_predictions(rows())
    if unreadable:
        raise typer.Exit(1)
