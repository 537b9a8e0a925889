"""The benchmark of a user's own machine: what it says, and that it ends; no speed is asserted."""

import json
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F

from resnets.benchmarking import Benchmark, Speed, benchmark, in_turns, noise, plain_training_step
from resnets.cost import measure
from resnets.errors import ConfigError, UnknownName
from resnets.models import create_model

SHORT = {"batch_size": 2, "seconds": 0.01, "device": "cpu", "threads": 1}


@pytest.fixture(autouse=True)
def turns_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnets.benchmarking.TURN", 0.0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_answer_and_train(train: bool, precision: str) -> None:
    found = benchmark("resnet20", train=train, precision=precision, **SHORT)  # type: ignore[arg-type]
    assert (found.precision, found.training, found.threads) == (precision, train, 1)
    for speed in (found.ours, found.plain):
        assert 0 < speed.min <= speed.median <= speed.max and speed.turns >= 1
    assert found.ratio == found.ours.median / found.plain.median


def test_multiply_adds_are_those_of_the_network_and_training_has_three_passes() -> None:
    with torch.device("meta"):
        once = measure(create_model("resnet20"), (3, 24, 40)).multiply_adds
    answers = benchmark("resnet20", input_size=(3, 24, 40), **SHORT)  # type: ignore[arg-type]
    trains = benchmark("resnet20", input_size=(3, 24, 40), train=True, **SHORT)  # type: ignore[arg-type]
    assert (answers.multiply_adds, trains.multiply_adds) == (once, 3 * once)
    assert answers.multiply_adds_per_second == answers.ours.median * once


def test_by_default_answers_are_fp32_and_the_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    found = benchmark("resnet20", **SHORT)  # type: ignore[arg-type]
    assert found.precision == "fp32"
    assert torch.get_num_threads() == before


def test_each_has_its_turn_and_the_measurement_stops_in_time() -> None:
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        time.sleep(0.01)

    steps = {"a": lambda: step("a"), "b": lambda: step("b")}
    began = time.monotonic()
    rates = in_turns(steps, images=3, seconds=0.2, device="cpu")
    took = time.monotonic() - began
    assert seen == ["a", "b"] * (len(seen) // 2)  # the first of each is not counted
    assert len(rates["a"]) == len(rates["b"]) == len(seen) // 2 - 1
    assert 0.2 <= took < 20  # a loop without an end would be longer than any busy machine
    assert max(rates["a"]) <= 3 / 0.01


def test_the_speed_of_some_turns_is_their_median_with_the_least_and_greatest() -> None:
    assert Speed.of([4.0, 1.0, 2.0]) == Speed(median=2.0, min=1.0, max=4.0, turns=3)


def test_the_plain_step_is_sgd_on_the_mean_cross_entropy() -> None:
    network = create_model("resnet20", seed=0)
    twin = create_model("resnet20", seed=0)
    pixels = noise(4, (3, 32, 32))
    plain_training_step(network, pixels, "cpu")()
    loss = F.cross_entropy(twin(pixels / 255), torch.zeros(4, dtype=torch.int64))
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    for after, before, gradient in zip(
        network.parameters(), twin.parameters(), gradients, strict=True
    ):
        torch.testing.assert_close(after, before - 1e-3 * (gradient + 5e-4 * before))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"seconds": 0.0}, "seconds"), ({"batch_size": 0}, "batch_size"), ({"device": "tpu"}, "tpu")],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    settings: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        benchmark("resnet20", **(SHORT | settings))  # type: ignore[arg-type]


def test_training_needs_two_images_and_a_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match="two for training"):
        benchmark("resnet20", train=True, batch_size=1)
    with pytest.raises(UnknownName, match="did you mean 'resnet20'"):
        benchmark("reset20")


def test_the_command_prints_a_table_or_one_json_object() -> None:
    typed = ["benchmark", "resnet20", "--train", "--input", "1x16x16", "-b", "2"]
    command = [sys.executable, "-m", "resnets", *typed, "--seconds", "0.01", "--threads", "1"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "images/s" in shown and "times plain PyTorch" in shown and torch.__version__ in shown
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    values = json.loads(done.stdout)
    derived = {"ratio", "multiply_adds_per_second"}
    assert values.keys() == Benchmark.__dataclass_fields__.keys() | derived
    assert values["ours"].keys() == {"median", "min", "max", "turns"}
    assert values["input_size"] == [1, 16, 16]
