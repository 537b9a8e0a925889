"""Commands that make a model's probabilities believable: calibrate."""

import json
from typing import Annotated

import typer

from resnets.cli.app import AsJson, DataDir, Device, RunPath, app


@app.command()
def calibrate(
    run: RunPath,
    data: Annotated[
        str | None,
        typer.Argument(
            help="other labelled images", show_default="the run's own validation images"
        ),
    ] = None,
    target_error: Annotated[
        float, typer.Option(help="share of wrong answers among those that are given")
    ] = 0.02,
    device: Device = "cpu",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make probabilities mean what they say, and call doubtful answers unsure.

    Training ends with it; the model is sealed again with the result.
    """
    from resnets.calibrating import calibrate_model
    from resnets.console import Progress, show_calibration, show_headlines
    from resnets.report import REPORT

    with Progress() as progress:
        progress.begin("answering", None)
        calibration, scores = calibrate_model(
            run,
            data,
            target_error=target_error,
            device=device,
            data_dir=data_dir,
            progress=lambda done, total: progress.advance(),
        )
    if as_json:
        print(json.dumps(calibration.to_dict()))
        return
    show_calibration(calibration)
    if scores:
        show_headlines(scores)
    if (run / REPORT).exists():
        print(f"next: resnets report {run} draws the report with it")
