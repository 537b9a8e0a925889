"""torch.compile as a setting: what it says, what it leaves alone, how it fails."""

import shutil
from typing import Any

import pytest
import torch

from resnets.config import TrainConfig
from resnets.errors import CannotGoOn, ConfigError
from resnets.training.compiling import Compiled
from resnets.training.run import train
from runs import dataset, fit, rows_of, same_state

SETTINGS: dict[str, Any] = {"model": "resnet20", "steps": 4, "batch_size": 8, "precision": "fp32"}


@pytest.mark.parametrize(
    ("compiling", "plain", "compiled", "steps"),
    [(10.0, 0.3, 0.2, 101), (0.25, 0.5, 0.25, 2), (10.0, 0.2, 0.2, None), (10.0, 0.1, 0.3, None)],
)
def test_compiling_pays_when_the_gain_has_made_up_for_it(
    compiling: float, plain: float, compiled: float, steps: int | None
) -> None:
    measured = Compiled(compiling, plain, compiled)
    assert measured.pays_after == steps
    if steps is None:
        assert "never pays" in str(measured)
        return
    assert f"pays after {steps:,} steps" in str(measured)
    assert compiling + (steps + 1) * compiled < (steps + 1) * plain
    assert compiling + (steps - 1) * compiled >= (steps - 1) * plain - 1e-9


def test_what_is_timed_before_a_run_changes_nothing_in_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    fit(dataset(), out=tmp_path / "plain", **SETTINGS)
    train(dataset(), out=tmp_path / "timed", threads=1, compile=True, **SETTINGS)
    assert "compiled in 0." in capsys.readouterr().err
    assert same_state(tmp_path / "plain", tmp_path / "timed")


def test_without_a_compiler_a_run_says_so(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

    monkeypatch.setattr(torch, "compile", lambda function, **options: fail)
    with pytest.raises(CannotGoOn, match="torch.compile failed: InvalidCxxCompiler") as refused:
        fit(dataset(), out=tmp_path / "run", compile=True, **SETTINGS)
    assert "leave out --compile" in refused.value.fix


def test_recomputed_activations_cannot_be_compiled():
    with pytest.raises(ConfigError, match="recomputed activations"):
        TrainConfig(compile=True, checkpoint_activations=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ here")
def test_a_compiled_run_trains_alike_and_continues_to_the_same_bits(tmp_path):
    settings = SETTINGS | {"compile": True, "steps": None, "epochs": 4, "validation": 0.0}
    settings |= {"warmup": 0.0, "schedule": "constant", "learning_rate": 0.01}
    whole = fit(dataset(), out=tmp_path / "whole", **settings)
    fit(dataset(), out=tmp_path / "parts", **(settings | {"epochs": 2}))
    parts = fit(dataset(), out=tmp_path / "parts", **settings, extend=True)
    assert same_state(whole.path, parts.path)
    losses = []
    for compiled in (False, True):
        first = settings | {"compile": compiled, "steps": 1, "epochs": None}
        run = fit(dataset(), out=tmp_path / f"first-{compiled}", **first)
        losses.append(float(rows_of(run.path)[-1]["train_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
