"""Commands that hold networks to their papers: verify."""

import json
from typing import Annotated

import typer

from resnets.cli.app import AsJson, app


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="networks, or patterns such as 'resnet*'; none: all of them"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold networks to what their papers say; exit code 1 if one fails."""
    from resnets.console import say, show_verdicts
    from resnets.verification import matching
    from resnets.verification import verify as verify_model

    verdicts = []
    for name in matching(names or ["*"]):
        found = verify_model(name)
        verdicts += found
        if not as_json:
            show_verdicts(name, found)
    counts = {status: 0 for status in ("PASS", "FAIL", "NOTE")}
    for verdict in verdicts:
        counts[verdict.status] += 1
    if as_json:
        told = {status.lower(): count for status, count in counts.items()}
        print(json.dumps(told | {"verdicts": [verdict.to_dict() for verdict in verdicts]}))
    else:
        say(
            f"{counts['PASS']} claims hold, {counts['FAIL']} do not; "
            f"{counts['NOTE']} are results of training, only noted"
        )
    if counts["FAIL"]:
        raise typer.Exit(1)
