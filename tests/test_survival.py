"""What a run outlasts: other runs, changed data, full disks, steps that are no numbers."""

import itertools
import json
import os
import shutil
import time
from typing import Any

import pytest
import torch

import resnets.training.disk
import resnets.training.session
from resnets.checkpoint import newest_state, read_sealed
from resnets.errors import CannotGoOn, ConfigError, DataError
from resnets.training import loop
from resnets.training.run import train
from resnets.training.runfolder import RunFolder
from resnets.training.skipping import SKIPS
from runs import dataset, fit, rows_of, same_state, save_folder
from soaking import cases, record

disk: Any = resnets.training.disk
session: Any = resnets.training.session
STEADY: dict[str, Any] = {
    "save_every": 1e-9,
    "model": "resnet20",
    "batch_size": 8,
    "validation": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "precision": "fp32",
}


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", epochs=1, **STEADY)
    before = sorted(path.name for path in run.path.rglob("*"))
    with RunFolder(run.path).held():
        for settings in ({"epochs": 2, "extend": True}, {"epochs": 1, "fresh": True}):
            with pytest.raises(ConfigError, match="another run is training in"):
                fit(dataset(), out=run.path, **STEADY, **settings)
    assert sorted(path.name for path in run.path.rglob("*")) == before
    fit(dataset(), out=run.path, epochs=2, extend=True, **STEADY)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_worker_that_outlives_its_run_does_not_hold_the_folder(tmp_path):
    read, write = os.pipe()
    with RunFolder(tmp_path).held():
        worker = os.fork()
        if worker == 0:
            os.write(write, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(read, 1)
    try:
        with RunFolder(tmp_path).held():
            pass
    finally:
        os.kill(worker, 9)
        os.waitpid(worker, 0)


def break_step(monkeypatch, broken):
    """Let the gradient of the steps in ``broken`` be infinite; keeps the weights before each."""
    before: dict[int, Any] = {}
    running: list[int] = []
    true_gradients, true_step = loop.add_gradients, loop.take_step

    def add(task, model, inputs, targets, labels):
        loss, correct = true_gradients(task, model, inputs, targets, labels)
        if running[-1] in broken:
            model.fc.weight.grad[0, 0] = torch.inf
        return loss, correct

    def take(task, state, batch, rate, stop, **more):
        running.append(state.step)
        if state.step in broken:
            before[state.step] = {k: v.clone() for k, v in state.model.state_dict().items()}
        return true_step(task, state, batch, rate, stop, **more)

    monkeypatch.setattr(loop, "add_gradients", add)
    monkeypatch.setattr(loop, "take_step", take)
    return before


@pytest.mark.parametrize("step", [0, 5, 11])
def test_an_infinite_gradient_changes_nothing_and_names_the_images(tmp_path, monkeypatch, step):
    before = break_step(monkeypatch, {step})
    with pytest.raises(CannotGoOn, match=r"the gradient of fc\.weight is not finite") as stopped:
        fit(dataset(), out=tmp_path / "run", epochs=2, **STEADY)
    assert "--on-nonfinite skip" in stopped.value.fix
    state = newest_state(tmp_path / "run" / "state")
    assert state is not None and state.step == step
    for name, value in before[step].items():
        assert torch.equal(state.tensors[f"model.{name}"], value), name
    (entry,) = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert entry["step"] == step + 1 and len(entry["images"]) == 8
    assert all(name in stopped.value.problem for name in entry["images"][:3])


def test_skipping_goes_on_from_the_state_before_and_is_counted(tmp_path, monkeypatch, capsys):
    before = break_step(monkeypatch, {2, 7})
    told = train(
        dataset(), out=tmp_path / "run", epochs=2, threads=1, on_nonfinite="skip", **STEADY
    )
    assert told.classifier.card["training"]["skipped"] == 2
    assert capsys.readouterr().err.count("skipped step") == 2
    state = newest_state(tmp_path / "run" / "state")
    assert state is not None and state.info["skipped"] == [2, 7]
    assert set(before) == {2, 7}

    # in two parts, with the same steps broken: the same bits
    fit(dataset(), out=tmp_path / "parts", epochs=1, on_nonfinite="skip", **STEADY)
    fit(dataset(), out=tmp_path / "parts", epochs=2, on_nonfinite="skip", extend=True, **STEADY)
    assert same_state(tmp_path / "run", tmp_path / "parts")


def test_skipping_has_a_limit(tmp_path, monkeypatch):
    break_step(monkeypatch, set(range(1, 100)))
    with pytest.raises(CannotGoOn, match=f"after {SKIPS} skipped steps"):
        fit(dataset(), out=tmp_path / "run", epochs=4, on_nonfinite="skip", **STEADY)


def save_each_step(monkeypatch):
    monkeypatch.setattr(disk, "SAVE_SHARE", float("inf"))


def test_a_full_disk_is_outlasted_for_a_while_and_the_old_state_stays(
    tmp_path, monkeypatch, capsys
):
    save_each_step(monkeypatch)
    refused = []
    save = session.save_state

    def failing(folder, step, tensors, info):
        if step in (3, 4):
            refused.append(step)
            raise CannotGoOn("cannot write: no space", fix="make room")
        return save(folder, step, tensors, info)

    monkeypatch.setattr(session, "save_state", failing)
    train(dataset(), out=tmp_path / "run", epochs=2, threads=1, **STEADY)
    told = capsys.readouterr().err
    assert refused == [3, 4] and told.count("training goes on") == 2 and "refusal 2 of 5" in told
    monkeypatch.setattr(session, "save_state", save)
    fit(dataset(), out=tmp_path / "plain", epochs=2, **STEADY)
    assert same_state(tmp_path / "run", tmp_path / "plain")


def test_a_disk_that_stays_full_ends_the_run(tmp_path, monkeypatch):
    save_each_step(monkeypatch)
    save, written = session.save_state, list[Any]()

    def failing(folder, step, tensors, info):
        if written:
            raise CannotGoOn("cannot write: no space", fix="make room")
        written.append(save(folder, step, tensors, info))

    monkeypatch.setattr(session, "save_state", failing)
    with pytest.raises(CannotGoOn, match="no space"):
        fit(dataset(), out=tmp_path / "run", epochs=40, **STEADY)
    kept = newest_state(tmp_path / "run" / "state")
    assert kept is not None and kept.step == int(written[0].name.split("-")[1])


def test_little_room_is_told_before_the_first_step(tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    train(dataset(), out=tmp_path / "run", epochs=1, threads=1, **STEADY)
    assert (
        "has room for 1 MB, and its training states and model need up to" in capsys.readouterr().err
    )


def changed_photos(tmp_path):
    folder = save_folder(tmp_path / "photos", 20, 16)
    run = fit(folder, out=tmp_path / "run", epochs=1, **STEADY)
    (folder / "train" / "left" / "000.png").unlink()
    shutil.copy(folder / "test" / "left" / "002.png", folder / "train" / "left" / "new.png")
    return folder, run.path


def test_changed_data_can_be_accepted_and_is_recorded(tmp_path):
    folder, run = changed_photos(tmp_path)
    again = {"out": run, "epochs": 3, "extend": True, **STEADY}
    with pytest.raises(DataError, match="1 added .*1 removed") as refused:
        fit(folder, **again)
    assert "--accept-data-change" in refused.value.fix
    fit(folder, accept_data_change=True, **again)
    recorded = json.loads((run / "data.json").read_text())
    assert len(recorded["changes"]) == 1 and "new.png" in recorded["changes"][0]
    assert any(name.endswith("new.png") for name in recorded["splits"]["train"]["images"])
    assert float(rows_of(run)[-1]["epoch"]) == pytest.approx(3, abs=0.25)


def test_touched_files_are_no_change(tmp_path):
    folder = save_folder(tmp_path / "photos", 20, 16)
    run = fit(folder, out=tmp_path / "run", epochs=1, **STEADY)
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    fit(folder, out=run.path, epochs=2, extend=True, **STEADY)


def test_exact_refuses_another_environment_and_names_it(tmp_path, monkeypatch):
    fit(dataset(), out=tmp_path / "run", epochs=1, **STEADY)
    again = {"out": tmp_path / "run", "epochs": 2, "extend": True, **STEADY}
    here = session.environment
    monkeypatch.setattr(session, "environment", lambda config: here(config) | {"torch": "9.9"})
    with pytest.raises(ConfigError, match=r"torch .* -> 9\.9"):
        fit(dataset(), exact=True, **again)
    monkeypatch.setattr(session, "environment", here)
    fit(dataset(), exact=True, **again)


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    plain = fit(dataset(), out=tmp_path / "plain", epochs=2, **STEADY)
    jumps = itertools.cycle([0.0, 3e8, -3e8, 1e9])
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: max(0.0, true_time() + next(jumps)))
    fit(dataset(), out=tmp_path / "jumps", epochs=1, **STEADY)
    jumping = fit(dataset(), out=tmp_path / "jumps", epochs=2, extend=True, **STEADY)
    assert same_state(plain.path, jumping.path)
    assert all(float(row["seconds"]) >= 0 for row in rows_of(jumping.path))


def test_the_newest_state_is_told_by_its_step_not_by_its_time(tmp_path):
    fit(dataset(), out=tmp_path / "run", epochs=2, **STEADY)
    old, new = sorted((tmp_path / "run" / "state").glob("*.safetensors"))
    os.utime(old, (4e9, 4e9))
    os.utime(new, (1, 1))
    state = newest_state(tmp_path / "run" / "state")
    assert state is not None and f"{state.step:09d}" in new.name


def test_scoring_more_often_changes_no_bit_of_the_training(tmp_path, monkeypatch):
    settings = STEADY | {"validation": 0.25, "model": "resnet20:drop_path=0.2", "epochs": 2}
    plain = fit(dataset(), out=tmp_path / "plain", **settings)
    validate = session.Scorer.validate

    def often(self, weights, split, features=None):
        torch.manual_seed(99)
        torch.rand(3)
        return [validate(self, weights, split, features) for _ in range(3)][-1]

    monkeypatch.setattr(session.Scorer, "validate", often)
    scored = fit(dataset(), out=tmp_path / "often", **settings)
    assert same_state(plain.path, scored.path)


@pytest.mark.parametrize("way", ["gradient", "rate"])
def test_whatever_is_not_finite_leaves_the_weights_before_it(tmp_path, monkeypatch, way):
    began, steps = time.monotonic(), cases(2, 50)
    kept = 0
    for step in range(steps):
        out = tmp_path / str(step)
        if way == "gradient":
            with monkeypatch.context() as patch:
                before = break_step(patch, {step})
                with pytest.raises(CannotGoOn):
                    fit(dataset(), out=out, epochs=20, **STEADY)
                expected, last = before[step], step
        else:
            watched: dict[int, Any] = {}
            with monkeypatch.context() as patch:
                true_step = loop.take_step

                def take(task, state, *how, watched=watched, true_step=true_step, **more):
                    weights = state.model.state_dict()
                    watched[state.step] = {k: v.clone() for k, v in weights.items()}
                    return true_step(task, state, *how, **more)

                patch.setattr(loop, "take_step", take)
                with pytest.raises(CannotGoOn):
                    fit(dataset(), out=out, epochs=20, seed=step, learning_rate=1e30, **STEADY)
                last = max(watched)
                expected = watched[last]
        state = newest_state(out / "state")
        assert state is not None and state.step == last
        kept += all(torch.equal(state.tensors[f"model.{k}"], v) for k, v in expected.items())
        report = json.loads((out / "nonfinite.json").read_text())
        assert report[-1]["step"] == last + 1 and report[-1]["images"]
    record(
        f"not finite by its {way}: weights as before the step",
        kept,
        steps,
        time.monotonic() - began,
    )
    assert kept == steps


def test_what_the_message_advises_works(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        break_step(patch, {5})
        with pytest.raises(CannotGoOn, match=r"fc\.weight is not finite") as stopped:
            fit(dataset(), out=tmp_path / "run", epochs=2, learning_rate=0.04, **STEADY)
        assert "--lr 0.01 --fresh, or --on-nonfinite skip" in stopped.value.fix
        run = fit(dataset(), out=tmp_path / "run", epochs=2, on_nonfinite="skip", **STEADY)
    assert run.classifier.card["training"]["skipped"] == 1


def test_a_model_is_sealed_although_no_state_can_be_saved_any_more(tmp_path, monkeypatch):
    settings = STEADY | {"validation": 0.2, "epochs": 3}
    save_each_step(monkeypatch)
    save = session.save_state

    def failing(folder, step, tensors, info):
        if step > 6:
            raise CannotGoOn("cannot write: no space", fix="make room")
        return save(folder, step, tensors, info)

    monkeypatch.setattr(session, "save_state", failing)
    with pytest.raises(CannotGoOn, match="no space"):
        fit(dataset(), out=tmp_path / "run", **settings)
    card = read_sealed(tmp_path / "run").card["training"]
    assert not card["finished"] and card["best_step"] > 0
