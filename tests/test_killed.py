"""SIGKILL at any instant, then the same command: the same bits as without."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnets.checkpoint import newest_state
from runs import command, rows_of, same_state, save_folder, without_times
from soaking import SOAK, cases, record

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")

SETTINGS: dict[str, list[Any]] = {
    "fp32 in memory": ["--precision", "fp32"],
    "bf16 in memory": ["--precision", "bf16"],
    "fp32 photos": ["--precision", "fp32"],
    "bf16 photos": ["--precision", "bf16"],
}
SHORT = ("fp32 photos",)
RUNS = cases(1, 5)
"""Of each kind."""
KILLS = cases(10, 10)
"""Of each run."""
LATEST = 4.5
"""Seconds after which a process is killed at the latest; about two pass before the first step."""


def arguments(kind: str, folder: Path, out: Path, workers: int) -> list[Any]:
    common = ["--epochs", 60, "-b", 8, "--model", "resnet20", "--image-size", 24, "--threads", 1]
    common += ["--set", "auto_augment=trivial", "--set", "ema_decay=0.99", "--seed", 3]
    common += ["--set", "save_every=0.2", "-j", workers, "--out", out]
    return ["train", folder, *common, *SETTINGS[kind]]


def finish(kind: str, folder: Path, out: Path, workers: int) -> None:
    process = command(*arguments(kind, folder, out, workers))
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text


def killed(kind: str, folder: Path, out: Path, rng: np.random.Generator) -> int:
    """Start and kill a run; returns how many processes were killed before one ended by itself."""
    for kill in range(KILLS):
        process = command(*arguments(kind, folder, out, int(rng.choice([0, 1, 2]))))
        time.sleep(rng.uniform(0.2, LATEST))
        if process.poll() is not None:
            text, _ = process.communicate()
            assert process.returncode == 0, text
            return kill
        # Workers die by themselves a little later: the next command must not mind them.
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    return KILLS


@pytest.mark.parametrize("kind", SETTINGS if SOAK else SHORT)
def test_killed_runs_end_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    began = time.monotonic()
    folder = save_folder(tmp_path / "photos", 48, 32, odd="photos" in kind)
    finish(kind, folder, tmp_path / "whole", 1)
    kills, equal = 0, 0
    for number in range(RUNS):
        out = tmp_path / f"killed-{number}"
        here = killed(kind, folder, out, np.random.default_rng(number))
        finish(kind, folder, out, 2)
        same = (
            same_state(tmp_path / "whole", out)
            and without_times(rows_of(tmp_path / "whole")) == without_times(rows_of(out))
            and all(
                (tmp_path / "whole" / "model" / name).read_bytes()
                == (out / "model" / name).read_bytes()
                for name in ("model.safetensors",)
            )
        )
        state = newest_state(out / "state")
        assert state is not None and not state.damaged
        kills, equal = kills + here, equal + here * same
    record(
        f"killed, {kind}: kills of runs that ended with the same bits",
        equal,
        kills,
        time.monotonic() - began,
    )
    assert kills >= RUNS * KILLS // 2 and equal == kills
