"""Commands about data: data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.app import AsJson, DataDir, app
from resnets.errors import ConfigError, UnknownName


@app.command()
def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="a folder, a CSV with path,label, or a data set's name",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option(help="write a page with thumbnails of what belongs together")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read all files again and compare with the last time")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="a kind of finding that is no reason for exit code 1", metavar="KIND"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Look for what is wrong with data; exit code 1 for what stops or harms a training run."""
    from resnets.console import Progress, show_findings
    from resnets.data.doctor import ALLOWED_IN_TRAINING, KINDS, check_up
    from resnets.data.doctor.page import page

    for kind in allow or []:
        if kind not in {*KINDS, *ALLOWED_IN_TRAINING}:
            listing = f"kinds are {', '.join(KINDS)}"
            raise UnknownName("kind of finding", kind, KINDS, listing=listing)
    with Progress() as progress:
        findings, dataset = check_up(source, data_dir=data_dir, verify=verify, progress=progress)
    if html:
        try:
            html.write_text(page(findings, dataset), encoding="utf-8")
        except OSError as cause:
            raise ConfigError(
                f"{html} cannot be written: {cause.strerror}", fix="name another file"
            ) from cause
    if as_json:
        print(json.dumps(findings.to_dict()))
    else:
        show_findings(findings)
    if findings.that_matter(allow or []):
        raise typer.Exit(1)
