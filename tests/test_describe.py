"""``models`` and ``describe`` say what networks are, what they cost and how two differ."""

import json
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from typer.testing import CliRunner

from resnets.checkpoint import seal
from resnets.cli.app import app
from resnets.cost import measure
from resnets.description import compare, describe, parse_size
from resnets.errors import ConfigError, ModelFileError, UnknownName
from resnets.models import create_model, list_models


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is remembered in the test's own folder."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))


def typed(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def told(*arguments: object) -> Any:
    return json.loads(typed(*arguments, "--json"))


def sealed(folder: Path, **card: Any) -> Path:
    network = create_model("resnet20", num_classes=4, in_channels=1)
    whole = {
        "architecture": "resnet20",
        "options": {},
        "num_classes": 4,
        "input_size": [1, 28, 28],
    }
    seal(folder / "model", network.state_dict(), whole | card)
    return folder


def test_a_description_says_what_the_network_is_and_costs() -> None:
    values = told("describe", "resnet50")
    assert values["family"] == "ResNet"
    assert "1512.03385" in values["source"] and "first 3x3" in values["note"]
    assert values["input_size"] == [3, 224, 224]
    assert values["parameters"] == 25_557_032
    assert values["multiply_adds"] == 4_089_184_256
    assert values["receptive_field"] == {
        "size": [427, 427],
        "stride": [32, 32],
        "start": [0.5, 0.5],
    }
    assert "ResNet paper" in values["convention"]
    assert len(values["blocks"]) == 1 + 16 + 2
    convolutions = [layer for layer in values["layers"] if layer["kind"] == "Conv2d"]
    assert len(convolutions) == 49 + 4  # Table 1, and the projections


def test_the_table_has_a_row_for_each_block_or_for_each_layer() -> None:
    shown = typed("describe", "resnet20")
    assert "269,722" in shown
    row = next(line for line in shown.splitlines() if "layer2.0" in line)
    # Section 4.2: 3x3 from 16 to 32 channels with stride 2, then 3x3 of 32; norms of 32
    parameters = 9 * 16 * 32 + 9 * 32 * 32 + 2 * 2 * 32
    for cell in ("BasicBlock", "32x16x16", f"{parameters:,}"):
        assert cell in row
    assert "layer2.0.conv1" not in shown
    shown = typed("describe", "resnet20", "--layers")
    assert "layer2.0.conv1" in shown and "biases" in shown


def test_options_may_stand_in_the_name() -> None:
    option_c = describe("resnet18:shortcut=C")
    assert option_c.cost.parameters == describe("resnet18_option_c").cost.parameters == 12_043_816


@pytest.mark.parametrize("name", ["resnet50", "resnet20"])
def test_another_input_size_costs_in_proportion(name: str) -> None:
    network = describe(name)
    channels, height, width = network.cost.input_size
    twice = told("describe", name, "--input", f"{channels}x{2 * height}x{width}")
    head = network.cost.blocks[-1].multiply_adds  # does not depend on the size
    assert twice["multiply_adds"] - head == 2 * (network.cost.multiply_adds - head)
    grey = told("describe", name, "--input", f"1x{height}x{width}")
    assert grey["input_size"][0] == 1 and grey["parameters"] < twice["parameters"]


def test_a_run_folder_is_described_as_it_was_trained(tmp_path: Path) -> None:
    run = sealed(tmp_path / "run")
    for path in (run, run / "model"):
        values = told("describe", path)
        assert values["architecture"] == "resnet20"
        assert (values["classes"], values["input_size"]) == (4, [1, 28, 28])
        with torch.device("meta"):
            same = create_model("resnet20", num_classes=4, in_channels=1)
        assert values["multiply_adds"] == measure(same, (1, 28, 28)).multiply_adds
    with_options = sealed(tmp_path / "other", options={"shortcut": "B"})
    assert describe(with_options).spec.shortcut == "B"  # type: ignore[attr-defined]


def test_the_architecture_of_a_run_with_options_can_be_typed_again(tmp_path: Path) -> None:
    dilated = {"replace_stride_with_dilation": [True, False, False], "shortcut": "B"}
    run = sealed(tmp_path / "run", options=dilated)
    first = describe(run)
    again = describe(first.architecture, first.cost.input_size)
    assert again.spec == first.spec and again.architecture == first.architecture


def test_two_networks_side_by_side_and_what_differs() -> None:
    both = told("describe", "resnet50", "resnet50_v1")
    assert [each["parameters"] for each in both["models"]] == [25_557_032] * 2
    assert both["spec"] == [{"field": "stride_on", "values": ["conv2", "conv1"]}]
    # the stride, and so one convolution's cost, moves in the first block of the later stages
    assert [row["name"] for row in both["blocks"]] == ["layer2.0", "layer3.0", "layer4.0"]
    shown = typed("describe", "resnet50", "resnet50_v1")
    assert "stride_on" in shown and "conv2" in shown and "layer3.0" in shown


def test_a_block_that_only_one_has_is_beside_nothing() -> None:
    both = compare("resnet50", "resnet101").to_dict()
    assert both["spec"] == [{"field": "depths", "values": [(3, 4, 6, 3), (3, 4, 23, 3)]}]
    names = [row["name"] for row in both["blocks"]]
    assert names == [f"layer3.{number}" for number in range(6, 23)]
    assert all(row["values"][0] is None for row in both["blocks"])
    shown = typed("describe", "resnet50", "resnet101")
    assert "layer3.6 to layer3.22" in shown and "none" in shown


def test_a_network_beside_itself_differs_in_nothing() -> None:
    assert "differ in nothing" in typed("describe", "resnet20", "resnet20")


def test_networks_of_different_kinds_are_compared_in_what_both_have() -> None:
    both = compare("vgg16", "densenet121").to_dict()
    assert both["spec"] == []
    assert {row["name"] for row in both["blocks"]} >= {"stage1", "features.transition1"}
    shown = typed("describe", "vgg16", "vgg19")
    assert "stages" in shown and "stage5" in shown


def test_layers_that_run_only_in_training_are_told() -> None:
    # arXiv:1409.4842: an auxiliary head has a 1x1 convolution, a hidden and an output layer
    shown = typed("describe", "googlenet_2014")
    heads = 13_378_280 - 6_998_552
    assert f"{heads:,}" in shown and "in training only" in shown


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["resnet-50"], "did you mean 'resnet50'"),
        (["resnet50:shortcut=Q"], "not one of A, B, C"),
        (["resnet50:shotcut=C"], "did you mean 'shortcut'"),
        (["resnet50", "--input", "224"], "'224' is no input size"),
        (["resnet50", "--input", "3x0x32"], "3x0x32 is no input size"),
        (["tutorial_resnet34_32", "--input", "3x224x224"], "sides of 17 to 48"),
        (["runs/nothing"], "no model or run folder at runs/nothing"),
        (["resnet20", "resnet32", "--diagram", "both.svg"], "one by one"),
        (["resnet20", "resnet32", "--layers"], "one by one"),
        (["resnet20", "--diagram", "drawing.png"], "a diagram is an SVG"),
        (["resnet20", "--diagram", "/dev/null/x.svg"], "cannot make the folder /dev/null"),
    ],
)
def test_a_mistake_is_told_with_its_fix(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["describe", *arguments])
    assert done.exit_code in (2, 3) and problem in done.stderr
    assert done.stderr.splitlines()[-1].startswith("  fix: ")
    assert done.stdout == ""


def test_the_errors_are_the_packages_own(tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        describe("resnet19")
    with pytest.raises(ModelFileError):
        describe(tmp_path)
    with pytest.raises(ConfigError):
        parse_size("3x²x4")


def test_models_lists_names_with_size_cost_paper_and_weights() -> None:
    rows = told("models", "resnet5*")
    assert [row["name"] for row in rows] == list_models("resnet5*")
    by_name = {row["name"]: row for row in rows}
    assert by_name["resnet50"]["multiply_adds"] == 4_089_184_256
    assert by_name["resnet50"]["weights"]
    assert not by_name["resnet56"]["weights"]
    shown = typed("models", "resnet18")
    for cell in ("11,689,512", "1,814,073,344", "3x224x224", "arXiv:1512.03385"):
        assert cell in shown


def test_the_diagram_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    shown = typed("describe", "resnet20", "--diagram", tmp_path / "net.svg")
    assert str(tmp_path / "net.svg") in shown.replace("\n", "")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "multiply_adds" in told("describe", "resnet20", "--diagram", tmp_path / "net.svg")
