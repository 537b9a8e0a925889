"""What people read is complete and safe, on a terminal and elsewhere."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from resnets.console import (
    Progress,
    printable,
    say,
    show_models,
    show_predictions,
    show_scores,
    warn,
)
from resnets.cost import ModelRow
from resnets.data.sources import LeftOut
from resnets.evaluation import Scores, score
from resnets.prediction import FilePrediction, Prediction

NASTY = [
    os.fsdecode(b"caf\xe9.jpg"),  # Latin-1, as a file system gives it
    "[red]alarm[/red].jpg",
    "[/].jpg",
    "two\nlines.jpg",
    "\x1b[2J.jpg",
    "gpj.\u202eexe",
    ":smile:.jpg",
    "雏菊.jpg",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def scores_of(classes: int, names: list[str] | None = None) -> Scores:
    generator = np.random.default_rng(0)
    n = len(names or range(40))
    probabilities = generator.dirichlet(np.ones(classes), n)
    labels = generator.integers(0, classes, n)
    files = names or [f"{index}.jpg" for index in range(n)]
    return score(
        probabilities,
        labels,
        files,
        [f"kind {index}" for index in range(classes)],
        data="photos",
        left_out=[LeftOut("torn.jpg", "torn.jpg: is cut short", "test")],
        notes=["test has no image of 'rose'"],
    )


def test_scores_are_shown_in_percent_with_interval_and_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = scores_of(3)
    show_scores(scores)
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "accuracy" in line)
    for number in (scores.accuracy.value, scores.accuracy.low, scores.accuracy.high):
        assert f"{100 * number:.1f}" in row
    assert " to " in row
    assert row.split()[-1] == "40"
    for text in ("test of photos", "kind 2", "left out: torn.jpg", "note: test has no image"):
        assert text in shown
    assert scores.mistakes[0].name in shown


def test_the_confusion_matrix_is_shown_with_true_classes_as_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = score(np.array([[0.1, 0.9]] * 7), np.array([0] * 7), ["x"] * 7, ["cat", "dog"])
    show_scores(scores)
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "1 cat" in line)
    assert row.split() == ["1", "cat", ".", "7"]


def test_many_classes_show_the_most_confused_pairs_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = np.array([4] * 9 + [7] * 3)
    predicted = np.array([5] * 9 + [8] * 2 + [7])
    names = [f"kind {index}" for index in range(30)]
    scores = score(np.eye(30)[predicted], labels, ["x"] * 12, names)
    show_scores(scores)
    shown = capsys.readouterr().out.partition("most confused")[2].splitlines()
    rows = [line.split() for line in shown if "kind" in line]
    assert rows[0] == ["kind", "4", "kind", "5", "9"]
    assert rows[1] == ["kind", "7", "kind", "8", "2"]


def test_of_very_many_classes_the_weakest_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.arange(120)
    predicted = np.where(labels == 77, 78, labels)
    scores = score(np.eye(120)[predicted], labels, ["x"] * 120, [f"kind-{i}" for i in labels])
    show_scores(scores)
    table = capsys.readouterr().out.partition("classes of lowest F1")[2].partition("\n\n")[0]
    rows = [line.split()[0] for line in table.splitlines() if "kind-" in line]
    assert rows[:2] == ["kind-77", "kind-78"]
    assert len(rows) == 20


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_any_name_prints_on_one_line_in_any_encoding(
    name: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    rows = [
        FilePrediction(name, (Prediction(name, 0.75),)),
        FilePrediction(name, error=f"{name}: is empty"),
    ]
    show_predictions(rows)
    wrong = score(np.array([[0.1, 0.9]]), np.array([0]), [name], [name, "other"])
    show_scores(wrong)
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    escaped = printable(name, encoding=encoding)
    assert f"{escaped}  {escaped} 75.0 %" in shown.splitlines()
    mistake = shown.partition("most confident mistakes")[2].splitlines()[3]
    assert mistake.replace("|", " ").split() == [
        *escaped.split(),
        *escaped.split(),
        "other",
        "90.0",
        "%",
    ]
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_printable_leaves_ordinary_names_alone() -> None:
    for name in ("daisy.jpg", "雏菊.jpg", "[red]x[/red]", "é", "👩‍👩‍👧.png", "a b"):
        assert printable(name) == name


@pytest.mark.parametrize("name", NASTY)
def test_json_gives_any_name_back(name: str) -> None:
    row = FilePrediction(name, (Prediction(name, 0.5),))
    line = json.dumps(row.to_dict())
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == row.to_dict()
    scores = scores_of(2, names=[name] * 6)
    assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores


def test_results_go_to_standard_output_and_warnings_do_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("a result")
    warn("a worry\n  fix: none")
    captured = capsys.readouterr()
    assert captured.out == "a result\n"
    assert captured.err == "a worry\n  fix: none\n"


def run_progress(progress: Progress) -> None:
    with progress:
        progress.begin("epoch 1", 100)
        progress.advance(50, loss=1.234, accuracy=0.5)
        progress.line("epoch 1: [red]accuracy[/red] 50.0 %")
        progress.advance(50, loss=1.0, accuracy=0.6, rate=1234.0)
        progress.end()
        progress.begin("epoch 2", None)
        progress.advance()


def test_elsewhere_progress_prints_its_lines_only() -> None:
    stream = io.StringIO()
    run_progress(Progress(stream=stream))
    assert stream.getvalue() == "epoch 1: [red]accuracy[/red] 50.0 %\n"


def test_a_quiet_progress_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for stream in (io.StringIO(), Terminal()):
        run_progress(Progress(quiet=True, stream=stream))
        assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_figures_and_whole_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    with Progress(stream=stream) as progress:
        progress.begin("epoch [1]", 100)
        progress.advance(50, loss=1.2344, accuracy=0.5, rate=1234.0)
        assert progress._bar
        progress._bar.refresh()
        progress.line("[red]plain[/red] " + 40 * "long line ")
    shown = stream.getvalue()
    for text in ("epoch [1]", "50/100", "loss 1.234", "accuracy 50.0 %", "1,234 images/s"):
        assert text in shown
    assert "[red]plain[/red]" in shown


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    run_progress(Progress(stream=stream))
    assert stream.getvalue() == "epoch 1: [red]accuracy[/red] 50.0 %\n"


def test_a_result_in_a_pipe_stays_there_while_a_bar_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with Progress(stream=Terminal()) as progress:
        progress.begin("images", 10)
        print('{"file": "a.jpg"}')
    assert capsys.readouterr().out == '{"file": "a.jpg"}\n'


def test_lines_are_there_at_once_not_when_a_buffer_is_full() -> None:
    code = """
import os
from resnets.console import Progress, say
with Progress() as progress:
    progress.line("kept")
    say("said")
    os._exit(0)  # no buffer is flushed
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("said\n", "kept\n")


def test_models_are_listed_as_a_table_or_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    row = ModelRow(
        name="resnet20",
        family="CIFAR ResNet",
        source="arXiv:1512.03385, Section 4.2",
        note="",
        parameters=269_722,
        multiply_adds=40_551_040,
        input_size=(3, 32, 32),
        sides=(1, None),
        weights=["one", "two"],
    )
    show_models([row], convention="multiply-adds are counted so")
    shown = capsys.readouterr().out
    for cell in ("resnet20", "269,722", "40,551,040", "3x32x32", "Section 4.2", "one, two"):
        assert cell in shown
    assert "counted so" in shown
    show_models([row], as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 269_722 and told["weights"] == ["one", "two"]


def test_showing_predictions_needs_no_torch() -> None:
    code = """
import sys
from resnets.console import show_predictions
class Row:
    def to_dict(self):
        return {"file": "a.jpg", "error": "is empty"}
show_predictions([Row()])
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "a.jpg  error: is empty\n", done.stderr
