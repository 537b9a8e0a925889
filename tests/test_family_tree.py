"""The page on the family tree: its commands run, and its numbers are the networks'."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from resnets.cli.app import app
from resnets.cost import measure
from resnets.models import create_model
from resnets.models.specs import SPECS

PAGE = (Path(__file__).parents[1] / "docs" / "family-tree.md").read_text(encoding="utf-8")
UNITS = {"M": 1e6, "G": 1e9}


def commands() -> list[str]:
    """Every command shown, in a block or in a table; one with a NAME to fill in is none."""
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    shown = [*re.findall(r"`(resnets \w+ [^`]+)`", PAGE), *blocks.splitlines()]
    ready = [each for each in shown if each and not re.search(r"\b[A-Z]{3,}\b", each)]
    return sorted(set(ready))


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_page_work(command: str) -> None:
    program, *arguments = shlex.split(command)
    done = CliRunner().invoke(app, arguments)
    assert program == "resnets" and done.exit_code == 0, done.output


def family() -> list[tuple[str, str, str]]:
    """(name, parameters, multiply-adds) of each row of the first table."""
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| \d{4} \|", line)]
    names = [re.fullmatch(r"`resnets describe (\w+)`", row[-1].strip()) for row in rows]
    assert all(names)
    return [
        (name[1], row[3].strip(), row[4].strip())
        for name, row in zip(names, rows, strict=True)
        if name
    ]


@pytest.mark.parametrize(("name", "parameters", "multiply_adds"), family())
def test_the_numbers_of_the_page_are_the_networks(
    name: str, parameters: str, multiply_adds: str
) -> None:
    with torch.device("meta"):
        cost = measure(create_model(name), SPECS[name].input_size)
    number, *words = parameters.rstrip("*").split()
    if words[:1] == ["M"]:  # a reconstruction
        assert cost.parameters == pytest.approx(float(number) * 1e6, rel=0.05)
    else:
        assert f"{cost.parameters:,}" == number
    number, unit = multiply_adds.split()
    assert f"{cost.multiply_adds / UNITS[unit]:.3g}" == f"{float(number):.3g}"


def test_every_family_of_the_story_has_a_row() -> None:
    told = {SPECS[name].family for name, *_ in family()}
    assert {spec.family for spec in SPECS.values()} - told <= {"plain", "tutorial"}
