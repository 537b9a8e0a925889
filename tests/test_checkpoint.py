"""Files that are whole or not there: sealed models and training states."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

from resnets.checkpoint import newest_state, read_sealed, save_state, seal
from resnets.errors import CannotGoOn, ModelFileError
from resnets.sealing import write_durably

WEIGHTS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(7)}
CARD = {"architecture": "resnet20", "label_names": ["Gänseblümchen", "rose"]}


def test_a_sealed_model_reads_back_equal_from_its_folder_and_its_run(tmp_path):
    seal(tmp_path / "run" / "model", WEIGHTS, CARD)
    for path in (tmp_path / "run", tmp_path / "run" / "model"):
        sealed = read_sealed(path)
        assert sealed.card == CARD
        assert all(torch.equal(sealed.weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_the_sums_are_those_of_sha256sum(tmp_path):
    seal(tmp_path / "model", WEIGHTS, CARD)
    lines = (tmp_path / "model" / "SHA256SUMS").read_text().splitlines()
    expected = [
        f"{hashlib.sha256((tmp_path / 'model' / name).read_bytes()).hexdigest()}  {name}"
        for name in ("model.json", "model.safetensors")
    ]
    assert lines == expected


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "SHA256SUMS"])
def test_one_flipped_bit_is_refused(tmp_path, name):
    seal(tmp_path / "model", WEIGHTS, CARD)
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        read_sealed(tmp_path / "model")


@pytest.mark.parametrize("left_under", ["model.new", "model.old"])
def test_a_writer_killed_between_renames_leaves_a_model_that_is_found(tmp_path, left_under):
    seal(tmp_path / "model", WEIGHTS, CARD)
    (tmp_path / "model").rename(tmp_path / left_under)
    assert read_sealed(tmp_path).card == CARD
    assert read_sealed(tmp_path / "model").card == CARD
    seal(tmp_path / "model", WEIGHTS, {**CARD, "license": "MIT"})
    assert read_sealed(tmp_path).card["license"] == "MIT"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_wrong_path_says_what_to_give(tmp_path):
    with pytest.raises(ModelFileError, match="no model or run folder at .*nowhere"):
        read_sealed(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="is no run folder and no sealed model"):
        read_sealed(tmp_path)


def test_the_newest_two_states_stay_and_the_newest_is_read(tmp_path):
    for step in (10, 20, 30):
        save_state(tmp_path, step, {"w": torch.full((3,), float(step))}, {"rows": [step]})
    assert len(list(tmp_path.iterdir())) == 2
    state = newest_state(tmp_path)
    assert state is not None and (state.step, state.info) == (30, {"rows": [30]})
    assert torch.equal(state.tensors["w"], torch.full((3,), 30.0))


def test_a_damaged_newest_state_is_named_and_the_one_before_is_used(tmp_path):
    save_state(tmp_path, 10, {"w": torch.zeros(3)}, {})
    newest = save_state(tmp_path, 20, {"w": torch.ones(3)}, {})
    newest.write_bytes(newest.read_bytes()[:-1])
    state = newest_state(tmp_path)
    assert state is not None and state.step == 10 and state.damaged == [newest]
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="every training state"):
        newest_state(tmp_path)


def test_no_state_is_no_error(tmp_path):
    assert newest_state(tmp_path / "state") is None


def test_files_follow_the_umask(tmp_path):
    write_durably(tmp_path / "file", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_refusing_disk_leaves_the_old_file_and_names_the_bytes(tmp_path, monkeypatch):
    path = tmp_path / "state.bin"
    write_durably(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotGoOn, match=r"state\.bin.*No space left.*5 bytes needed"):
        write_durably(path, b"newer")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_reading_our_own_files_never_reaches_pickle(tmp_path):
    seal(tmp_path / "model", WEIGHTS, CARD)
    save_state(tmp_path / "state", 1, WEIGHTS, {})
    program = """
import pickle, sys, torch, resnets.checkpoint as checkpoint
def refuse(*args, **kwargs): raise SystemExit("pickle was reached")
pickle.load = pickle.loads = pickle.Unpickler = torch.load = refuse
checkpoint.read_sealed(sys.argv[1])
checkpoint.newest_state(checkpoint.Path(sys.argv[1]) / "state")
print(json.dumps("read")) if (json := __import__("json")) else None
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == "read", done.stderr
