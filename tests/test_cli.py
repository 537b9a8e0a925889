"""The command line as a user meets it: two-line errors, exit codes, rows in order."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import resnets
from resnets.cli.training import parse_settings
from resnets.errors import ConfigError


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "resnets", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of pictures, two plain classes, and a run trained on it by the command."""
    root = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 0), ("light", 150)):
        (root / "photos" / label).mkdir(parents=True)
        for index in range(20):
            image = rng.integers(low, low + 100, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "photos" / label / f"{index}.png")
    done = run("train", "photos", "--epochs", 12, "-b", 7, "--seed", 3, cwd=root)
    assert done.returncode == 0, done.stderr
    return root, done


def test_training_says_what_it_chose_and_what_to_type_next(trained):
    root, done = trained
    told = done.stdout + done.stderr
    assert "resnet20" in told and "CIFAR network" in told
    assert "70 % trains" in told
    assert "next: resnets predict runs/photos" in told
    assert "accuracy" in told
    assert (root / "runs" / "photos" / "model" / "model.safetensors").exists()


def test_the_same_command_again_prints_the_result(trained):
    root, _ = trained
    again = run("train", "photos", "--epochs", 12, "-b", 7, "--seed", 3, cwd=root)
    assert again.returncode == 0 and "is finished" in again.stderr
    assert "accuracy" in again.stdout


def test_evaluate_prints_json_that_holds_the_contract(trained):
    root, _ = trained
    done = run("evaluate", "runs/photos", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["accuracy"].keys() >= {"value", "low", "high", "n"}
    assert scores["accuracy"]["n"] == 6
    keys = {"top5", "per_class", "log_loss", "brier", "calibration_error", "confusion"}
    assert keys <= scores.keys()
    table = run("evaluate", "runs/photos", "photos", "--split", "val", cwd=root)
    assert table.returncode == 0 and "light" in table.stdout


def test_predict_answers_every_image_in_order_and_exits_1_for_an_unreadable_one(trained):
    root, _ = trained
    (root / "broken.jpg").write_text("<html>not found</html>")
    files = ["photos/light/2.png", "broken.jpg", "photos/dark/1.png"]
    done = run("predict", "runs/photos", *files, "--json", "--top", 2, cwd=root)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["file"] for row in rows] == files
    assert rows[0]["predictions"][0]["label"] == "light"
    assert rows[2]["predictions"][0]["label"] == "dark"
    assert "error" in rows[1] and "predictions" not in rows[1]
    assert sum(each["probability"] for each in rows[0]["predictions"]) == pytest.approx(1)

    table = run("predict", "runs/photos", *files, "--csv", cwd=root)
    parsed = list(csv.DictReader(io.StringIO(table.stdout)))
    assert table.returncode == 1
    assert [row["file"] for row in parsed] == files
    assert [bool(row["error"]) for row in parsed] == [False, True, False]

    folder = run("predict", "runs/photos", "photos", cwd=root)
    assert folder.returncode == 0 and len(folder.stdout.splitlines()) == 40


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "photoz"], "photoz"),
        (["train", "photos", "--model", "resnet-50"], "did you mean 'resnet50'"),
        (["train", "photos", "--set", "learning_rte=0.1"], "learning_rate"),
        (["train", "photos", "--recipe", "paper-cifr"], "did you mean 'paper-cifar'"),
        (["train", "photos", "--budget", "soon"], "'soon' is no duration"),
        (["train", "empty"], "empty"),
        (["train"], "no data given"),
        (["evaluate", "runs/nothing"], "no model or run folder at runs/nothing"),
        (["evaluate", "photos"], "is no run folder and no sealed model"),
        (["evaluate", "runs/photos", "--split", "tset"], "tset"),
        (["predict", "runs/photos", "empty"], "no image in the folder empty"),
        (["predict", "runs/photos", "photos", "--json", "--csv"], "choose one"),
        (["train", "photos", "--config", "nowhere.toml"], "nowhere.toml"),
        (["train", "photos", "--set", "quiet=true"], "unknown setting 'quiet'"),
        (["train", "photos", "--epochs", "3", "--set", "epochs=5"], "epochs is given twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_two_lines_with_its_fix(trained, arguments, told):
    root, _ = trained
    (root / "empty").mkdir(exist_ok=True)
    done = (
        run(*arguments, "--out", "runs/other", cwd=root)
        if arguments[0] == "train"
        else run(*arguments, cwd=root)
    )
    assert done.returncode == 2
    assert told in done.stderr
    problem, fix = done.stderr.strip().splitlines()[-2:]
    assert problem.startswith("resnets: ") and fix.startswith("  fix: ")
    assert "Traceback" not in done.stderr
    assert not (root / "runs" / "other").exists()


@pytest.mark.parametrize("arguments", [["trian"], ["train", "--epoch", "3"], ["predict"]])
def test_a_mistyped_command_or_flag_exits_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_version_adds_torch_threads_and_bf16():
    told = run("--version").stdout
    assert resnets.__version__ in told and "torch" in told
    assert "threads" in told and "bf16" in told


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_a_name_that_no_terminal_can_show_ends_no_output(trained):
    root, _ = trained
    odd = os.path.join(os.fsencode(root), b"caf\xe9.png")
    shutil.copy(root / "photos" / "dark" / "0.png", odd)
    for form in ("--csv", "--json"):
        done = run("predict", "runs/photos", os.fsdecode(odd), form, cwd=root)
        assert done.returncode == 0 and "dark" in done.stdout, done.stderr


def test_a_labelled_folder_that_is_not_the_runs_own_is_scored_as_a_whole(trained):
    root, _ = trained
    for label in ("dark", "light"):
        (root / "others" / label).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            source = root / "photos" / label / f"{index}.png"
            (root / "others" / label / f"{index}.png").write_bytes(source.read_bytes())
    done = run("evaluate", "runs/photos", "others", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 4


def test_settings_are_toml_or_text():
    assert parse_settings(["lr_drops=[0.5, 0.75]", "flip=true", "crop=pad4", "mixup=0.2"]) == {
        "lr_drops": [0.5, 0.75],
        "flip": True,
        "crop": "pad4",
        "mixup": 0.2,
    }
    with pytest.raises(ConfigError, match="key=value"):
        parse_settings(["flip"])
