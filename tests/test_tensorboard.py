"""Event files are read back with TensorBoard's own reader."""

import sys

import pytest

from resnets.errors import CannotGoOn, MissingExtra
from resnets.training.state import Row
from resnets.training.tensorboard import TAGS, EventFiles
from runs import dataset, fit, rows_of

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    """Tag -> its (step, value) pairs."""
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    (text,) = (events.Tensors(tag) for tag in tags["tensors"])
    return scalars, text[0].tensor_proto.string_val[0].decode()


def test_tensorboard_reads_the_rows_of_a_run_that_went_on(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", epochs=2, tensorboard=True)
    fit(dataset(), out=run.path, epochs=4, tensorboard=True, extend=True)
    scalars, text = read(run.path / "tensorboard")
    rows = rows_of(run.path)
    assert scalars.keys() == set(TAGS.values()) and len(rows) >= 5
    for column, tag in TAGS.items():
        expected = [(int(row["step"]), float(row[column])) for row in rows]
        assert [step for step, _ in scalars[tag]] == [step for step, _ in expected]
        assert [value for _, value in scalars[tag]] == pytest.approx([v for _, v in expected])
    assert "tensorboard = true" in text and "epochs = 4" in text


def test_it_may_be_asked_for_when_a_run_goes_on_and_changes_no_result(tmp_path):
    plain = fit(dataset(), out=tmp_path / "plain", epochs=2)
    fit(dataset(), out=plain.path, epochs=3, extend=True)
    late = fit(dataset(), out=tmp_path / "late", epochs=2)
    assert not (late.path / "tensorboard").exists()
    fit(dataset(), out=late.path, epochs=3, extend=True, tensorboard=True)
    (scalars, _), rows = read(late.path / "tensorboard"), rows_of(late.path)
    assert len(scalars["loss/val"]) == len(rows)
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in rows_of(plain.path)]


def test_an_unknown_value_has_no_point(tmp_path):
    events = EventFiles(tmp_path, "")
    rows: list[Row] = [
        {"step": 3, "train_loss": 0.5, "val_loss": None},
        {"step": 6, "train_loss": 0.25},
    ]
    events.write(rows[:1])
    events.write(rows)
    events.close()
    scalars, _ = read(tmp_path)
    assert scalars == {"loss/train": [(3, 0.5), (6, 0.25)]}


def test_a_disk_that_refuses_is_told_and_the_next_time_nothing_is_missing(tmp_path):
    (tmp_path / "events").write_text("in the way of a folder")
    events = EventFiles(tmp_path / "events", "")
    rows = [{"step": 1, "train_loss": 1.0}]
    with pytest.raises(CannotGoOn, match="cannot write"):
        events.write(rows)
    (tmp_path / "events").unlink()
    events.write(rows)
    events.close()
    assert read(tmp_path / "events")[0] == {"loss/train": [(1, 1.0)]}


def test_without_the_extra_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra) as error:
        fit(dataset(), out=tmp_path / "run", epochs=1, tensorboard=True)
    assert "resnets[tensorboard]" in error.value.fix
    assert not (tmp_path / "run").exists()
