"""Damage of every kind is found, by `resnets check` and by whoever reads the file."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from resnets.checking import check
from resnets.checkpoint import newest_state, read_sealed, save_state, seal
from resnets.errors import ModelFileError
from resnets.prediction import load
from resnets.training.runfolder import RunFolder
from runs import dataset, fit
from soaking import cases, record

FLIPS = cases(60, 1000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings: dict[str, Any] = {"model": "resnet20", "batch_size": 8, "steps": 8}
    return fit(dataset(), out=tmp_path_factory.mktemp("checked") / "run", **settings).path


def files_of(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.is_file()]


def test_a_whole_run_is_whole_and_checking_changes_nothing(run: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_of(run)}
    parts = check(run)
    assert {part.what for part in parts} == {
        "settings",
        "data list",
        "metrics",
        "predictions",
        "training state",
        "sealed model",
    }
    assert all(part.whole for part in parts), parts
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files_of(run)} == before
    assert [part.what for part in check(run / "model")] == ["sealed model"]


def test_damaged_predictions_are_named(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    answers = copy / "predictions" / "test.npz"
    data = bytearray(answers.read_bytes())
    place = data.index(np.load(answers)["logits"].tobytes())  # stored, not compressed
    data[place] ^= 1
    for damaged in (bytes(data), bytes(data[:-40]), b""):
        answers.write_bytes(damaged)
        assert [part.path for part in check(copy) if not part.whole] == [answers]


def test_every_flipped_bit_is_caught(run: Path) -> None:
    rng = np.random.default_rng(0)
    files = [*(run / "model").iterdir(), *(run / "state").iterdir()]
    sizes = np.array([path.stat().st_size for path in files])
    began, caught = time.monotonic(), 0
    for _ in range(FLIPS):
        path = files[rng.choice(len(files), p=sizes / sizes.sum())]
        where, bit = int(rng.integers(path.stat().st_size)), int(rng.integers(8))
        with open(path, "r+b") as file:
            file.seek(where)
            (byte,) = file.read(1)
            file.seek(where)
            file.write(bytes([byte ^ (1 << bit)]))
        found = [part for part in check(run) if not part.whole]
        caught += len(found) == 1 and path.is_relative_to(found[0].path)
        with open(path, "r+b") as file:
            file.seek(where)
            file.write(bytes([byte]))
    record(
        "flipped bits of model and state files that were caught",
        caught,
        FLIPS,
        time.monotonic() - began,
    )
    assert caught == FLIPS
    assert all(part.whole for part in check(run))


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "SHA256SUMS"])
def test_a_truncated_model_gives_one_kind_of_error(tmp_path: Path, name: str) -> None:
    seal(tmp_path / "model", {"fc.weight": torch.arange(6.0)}, {"architecture": "resnet20"})
    path = tmp_path / "model" / name
    whole = path.read_bytes()
    for length in [*range(len(whole)), len(whole) + 1]:
        path.write_bytes((whole + b"\0")[:length])
        with pytest.raises(ModelFileError):
            read_sealed(tmp_path)


def test_a_truncated_state_gives_one_kind_of_error(tmp_path: Path) -> None:
    path = save_state(tmp_path, 3, {"w": torch.arange(4.0)}, {"rows": []})
    whole = path.read_bytes()
    for length in [*range(len(whole)), len(whole) + 1]:
        path.write_bytes((whole + b"\0")[:length])
        with pytest.raises(ModelFileError):
            newest_state(tmp_path)


def crafted(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


HEADERS: dict[str, bytes] = {
    "longer than the file": crafted(b"{}", 2**40),
    "longest number": crafted(b"{}", 2**64 - 1),
    "no JSON": crafted(b"{" * 1000),
    "a list": crafted(b"[]"),
    "huge": crafted(b'{"__metadata__":{"a":"' + b" " * 2**24 + b'"}}'),
    "too many": crafted(json.dumps({str(n): {} for n in range(100_001)}).encode()),
    "outside the file": crafted(
        json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    ),
    "no metadata": crafted(b"{}"),
    "nothing": b"",
}


@pytest.mark.parametrize("data", HEADERS.values(), ids=HEADERS)
def test_a_crafted_file_whose_hash_holds_is_refused_in_little_memory(
    tmp_path: Path, data: bytes
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / f"step-000000001-{digest[:16]}.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError):
        newest_state(tmp_path)


def changed_state(run: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = newest_state(run / "state")
    assert state is not None
    tensors = dict(state.tensors)
    change(tensors)
    save_state(folder, state.step, tensors, state.info)


def keep(tensors: dict[str, Any], name: str, value: Any) -> None:
    tensors[name] = value


UNFIT: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "not a number": (
        lambda t: keep(t, "model.fc.bias", torch.full_like(t["model.fc.bias"], torch.nan)),
        "fc.bias holds impossible numbers",
    ),
    "another shape": (lambda t: keep(t, "model.fc.bias", torch.zeros(7)), "instead of"),
    "another type": (
        lambda t: keep(t, "best.fc.bias", t["best.fc.bias"].double()),
        "fc.bias: float64",
    ),
    "missing": (lambda t: keep(t, "gone", t.pop("model.fc.bias")), "fc.bias: nothing"),
    "momentum of another shape": (
        lambda t: keep(t, "momentum.fc.bias", torch.zeros(1)),
        "training state .momentum.",
    ),
    "infinite momentum": (
        lambda t: keep(t, "momentum.fc.bias", t["momentum.fc.bias"] + torch.inf),
        "impossible numbers",
    ),
}


@pytest.mark.parametrize(("change", "told"), UNFIT.values(), ids=UNFIT)
def test_a_state_that_does_not_fit_is_refused(
    run: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    shutil.rmtree(again / "model")
    changed_state(run, again / "state", change)
    with pytest.raises(ModelFileError, match=told):
        fit(dataset(), out=again, model="resnet20", batch_size=8, steps=8)


def test_a_refused_model_leaves_the_loaded_one_as_it_was(run: Path, tmp_path: Path) -> None:
    classifier = load(run)
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    sealed = read_sealed(run)
    seal(tmp_path / "model", sealed.weights | {"fc.bias": torch.zeros(9)}, sealed.card)
    with pytest.raises(ModelFileError):
        load(tmp_path)
    after = classifier.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "resnets", "check", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_damaged_by_name_and_code(run: Path, tmp_path: Path) -> None:
    whole = command(run)
    assert whole.returncode == 0 and whole.stdout.endswith("all is whole\n")
    again = tmp_path / "run"
    shutil.copytree(run, again)
    (again / "model" / "model.json").write_text("{}")
    assert RunFolder(again).has_state
    (state, *_) = sorted((again / "state").iterdir())
    safetensors.torch.save_file({"w": torch.zeros(1)}, state)
    damaged = command(again)
    assert damaged.returncode == 1 and "2 of" in damaged.stdout
    assert "model.json is damaged: its SHA-256" in damaged.stdout
    told = json.loads(command(again, "--json").stdout)
    assert not told["whole"] and sum(not part["whole"] for part in told["parts"]) == 2
    nowhere = command(tmp_path / "nowhere")
    assert nowhere.returncode == 2 and "no model or run folder" in nowhere.stderr
