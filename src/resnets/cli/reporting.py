"""Commands that show a run: report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.app import AsJson, DataDir, app


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="a run folder, or several to hold against each other"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="HTML file", show_default="RUN/report.html, or comparison.html for several"
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="folder for the charts as PNG too (resnets[plot])")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Draw a run as one HTML file, or say whether one run is better than another."""
    from resnets.console import say, show_pairs
    from resnets.report import facts_of, read_run, write_comparison
    from resnets.report.plots import save_plots
    from resnets.training.seeing import report_again

    if len(runs) > 1:
        out = out or Path("comparison.html")
        comparison = write_comparison(runs, out)
        if as_json:
            print(json.dumps(comparison.to_dict()))
        else:
            show_pairs(comparison)
            say(f"comparison: {out}")
        return
    where = report_again(runs[0], out=out, data_dir=data_dir)
    facts = facts_of(read_run(runs[0])) if as_json or png else {}
    if as_json:
        print(json.dumps(facts))
    else:
        say(f"report: {where}")
    for file in save_plots(facts, png) if png else ():
        if not as_json:
            say(f"picture: {file}")
