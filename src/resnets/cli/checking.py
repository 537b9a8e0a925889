"""The command that says whether files are whole: check."""

import json

import typer

from resnets.cli.app import AsJson, RunPath, app


@app.command()
def check(path: RunPath, as_json: AsJson = False) -> None:
    """Say whether a model or a run is whole; exit code 1 where something is damaged."""
    from resnets.checking import check as check_files
    from resnets.console import say

    parts = check_files(path)
    damaged = [part for part in parts if not part.whole]
    if as_json:
        print(json.dumps({"whole": not damaged, "parts": [part.to_dict() for part in parts]}))
    else:
        for part in parts:
            state = "whole" if part.whole else "DAMAGED"
            say(f"{state:8} {part.what:15} {part.path}: {part.found}")
        say(f"{len(damaged)} of {len(parts)} damaged" if damaged else "all is whole")
    raise typer.Exit(bool(damaged))
