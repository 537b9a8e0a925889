"""Training end to end, on made images whose class is plain to see."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.checkpoint import newest_state, read_sealed
from resnets.data import from_arrays
from resnets.errors import CannotGoOn, ConfigError, DataError, UnknownName
from resnets.training.run import train
from resnets.training.setup import resolve
from runs import command, dataset, fit, pictures, rows_of, same_state, save_folder, without_times


def test_arrays_train_to_a_sealed_model_that_is_right(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", epochs=16, batch_size=8)
    assert run.scores is not None
    assert run.scores.split == "test" and run.scores.n == 20
    assert run.scores.accuracy.value == 1.0
    images, labels = pictures(6, 16, seed=9)
    answers = run.classifier.predict(list(images))
    assert [answer[0].label for answer in answers] == [("left", "right")[k] for k in labels]
    rows = rows_of(run.path)
    assert [float(row["epoch"]) for row in rows] == pytest.approx(range(1, 17), abs=0.2)
    card = read_sealed(run.path).card
    best = max(rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    assert card["training"]["best_step"] == int(best["step"])
    assert card["scores"]["accuracy"]["value"] == run.scores.accuracy.value
    assert card["label_names"] == ["left", "right"]


def test_the_same_call_again_returns_the_finished_run(tmp_path):
    options = {"out": tmp_path / "run", "epochs": 1, "batch_size": 8}
    first = fit(dataset(), **options)
    before = (first.path / "model" / "SHA256SUMS").read_bytes()
    assert fit(dataset(), **options).scores == first.scores
    assert (first.path / "model" / "SHA256SUMS").read_bytes() == before


def test_other_settings_in_the_same_folder_name_the_ways_on(tmp_path):
    options = {"out": tmp_path / "run", "epochs": 1, "batch_size": 8}
    fit(dataset(), **options)
    with pytest.raises(ConfigError, match=r"learning_rate = 0\.05, not 0\.5(.|\n)*--fresh"):
        fit(dataset(), **options, learning_rate=0.5)
    with pytest.raises(ConfigError, match="--extend"):
        fit(dataset(), **(options | {"epochs": 2}))
    longer = fit(dataset(), **(options | {"epochs": 2}), extend=True)
    assert float(rows_of(longer.path)[-1]["epoch"]) == pytest.approx(2, abs=0.2)
    fresh = fit(dataset(), **options, learning_rate=0.5, fresh=True)
    assert len(rows_of(tmp_path / "run.1")) > len(rows_of(fresh.path)), "the old run is kept"
    assert max(float(row["learning_rate"]) for row in rows_of(fresh.path)) > 0.2
    assert read_sealed(fresh.path).card["training"]["extended"] == []


def test_a_config_file_repeats_a_run_bit_for_bit(tmp_path):
    first = fit(dataset(), out=tmp_path / "a", epochs=2, batch_size=8, auto_augment="trivial")
    fit(dataset(), out=tmp_path / "b", config=first.path / "config.toml")
    assert same_state(tmp_path / "a", tmp_path / "b")
    assert without_times(rows_of(tmp_path / "a")) == without_times(rows_of(tmp_path / "b"))


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        fit(dataset(), out=tmp_path / str(seed), epochs=1, seed=seed)
    assert not same_state(tmp_path / "0", tmp_path / "1")


@pytest.mark.parametrize("count", [4, 9, 33])
def test_a_set_smaller_than_a_batch_trains_without_an_empty_epoch(tmp_path, count):
    data = from_arrays(pictures(count, 16), classes=("left", "right"))
    run = fit(data, out=tmp_path / "run", epochs=2, batch_size=32)
    rows = rows_of(run.path)
    assert int(rows[-1]["step"]) >= 1 and float(rows[-1]["train_loss"]) > 0
    again = fit(data, out=tmp_path / "run", epochs=2, batch_size=32)
    assert again.path == run.path, "the same call, though its batch size had to be lowered"


def test_without_validation_the_averaged_last_weights_are_sealed(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", epochs=2, batch_size=8, validation=0.0)
    state = newest_state(run.path / "state")
    assert state is not None
    sealed = read_sealed(run.path).weights
    for name, value in sealed.items():
        assert torch.equal(value, state.tensors[f"average.{name}"]), name
    assert all(row["val_accuracy"] == "" for row in rows_of(run.path))


def test_scores_on_validation_say_that_the_epoch_was_chosen_there(tmp_path):
    data = from_arrays(pictures(40, 16), val=pictures(20, 16, 1), classes=("left", "right"))
    run = fit(data, out=tmp_path / "run", epochs=1, batch_size=8)
    assert run.scores is not None and run.scores.split == "val"
    assert any("the epoch was chosen" in note for note in run.scores.notes)


def test_patience_ends_a_run_that_no_longer_improves(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", epochs=60, batch_size=8, patience=2)
    rows = rows_of(run.path)
    assert len(rows) < 60
    best = read_sealed(run.path).card["training"]["best_step"]
    assert [int(row["step"]) for row in rows].index(best) == len(rows) - 3


def test_a_run_that_patience_ended_can_be_extended(tmp_path):
    options = {"out": tmp_path / "run", "batch_size": 8, "patience": 1}
    steps = [
        int(rows_of(fit(dataset(), **options, epochs=epochs, extend=True).path)[-1]["step"])
        for epochs in (30, 60)
    ]
    assert steps[0] < steps[1]
    extended = read_sealed(tmp_path / "run").card["training"]["extended"]
    assert extended == [[steps[0], round(30 * 44 / 8)]]


@pytest.mark.parametrize(("validation", "held_out"), [(None, 6), (0.0, 0), (0.5, 16)])
def test_validation_is_what_is_asked_for_also_in_plain_class_folders(
    tmp_path, validation, held_out
):
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(19):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{index}.png")
    run = fit(tmp_path / "photos", out=tmp_path / "run", epochs=1, validation=validation)
    parts = json.loads((run.path / "data.json").read_text())["splits"]
    counts = {part: split["count"] for part, split in parts.items()}
    expected = {"train": 32 - held_out, "val": held_out, "test": 6}
    assert counts == {part: count for part, count in expected.items() if count}
    for part in counts:
        assert run.classifier.evaluate(split=part).n == counts[part]


def test_a_run_is_scored_on_the_images_it_had_also_when_some_are_gone(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{index}.png")
    run = fit(tmp_path / "photos", out=tmp_path / "run", epochs=1)
    parts = json.loads((run.path / "data.json").read_text())["splits"]
    tested = list(parts["test"]["images"])
    for name in tested[:5]:
        (tmp_path / "photos" / name).unlink()
    scores = run.classifier.evaluate(split="test")
    assert scores.n == len(tested) - 5
    assert "5 of 12 images of test are gone since the run" in scores.notes


def test_the_same_image_in_train_and_test_stops_the_run_unless_allowed(tmp_path, capsys):
    folder = save_folder(tmp_path / "photos", 20, 16)
    copied = (folder / "train" / "left" / "000.png").read_bytes()
    (folder / "test" / "left" / "copy.png").write_bytes(copied)
    settings = {"out": tmp_path / "run", "epochs": 1, "threads": 1, "validation": 0.0}
    with pytest.raises(DataError, match="left/000.png = test/left/copy.png") as refusal:
        train(folder, **settings)
    assert "--allow duplicates" in refusal.value.fix
    assert not (tmp_path / "run").exists()
    with pytest.raises(UnknownName, match="did you mean 'duplicates'"):
        train(folder, allow=["duplicate"], **settings)
    train(folder, allow=["duplicates"], **settings)
    told = capsys.readouterr().err
    assert "1 image of test is in train too" in told and "test/left/copy.png" in told
    recorded = json.loads((tmp_path / "run" / "data.json").read_text())
    assert recorded["allowed"] == ["duplicates"]
    assert {"kind": "duplicates", "count": 1}.items() <= recorded["findings"][0].items()
    assert train(folder, **settings).path == tmp_path / "run"  # it is finished, and asks no more


def test_many_unreadable_files_are_trained_without_only_where_allowed(tmp_path):
    folder = save_folder(tmp_path / "photos", 20, 16)
    for index in range(2, 10):
        (folder / "train" / ("left", "right")[index % 2] / f"{index:03}.png").write_bytes(b"")
    settings = {"out": tmp_path / "run", "epochs": 1, "threads": 1, "validation": 0.0}
    with pytest.raises(DataError, match="8 of 32 files") as refusal:
        train(folder, **settings)
    assert "--allow unreadable" in refusal.value.fix
    run = train(folder, allow=["unreadable"], **settings)
    left_out = json.loads((run.path / "data.json").read_text())["left_out"]
    assert [item["split"] for item in left_out] == ["train"] * 8


@pytest.mark.parametrize("bring_test", [True, False])
def test_parts_that_are_made_here_hold_no_copies_of_training_images(bring_test, tmp_path):
    save_folder(tmp_path / "made", 40, 16)
    folder = tmp_path / "made" if bring_test else tmp_path / "made" / "train"
    for copied in sorted((tmp_path / "made" / "train").rglob("*[05].png")):
        (copied.with_name(f"copy{copied.name}")).write_bytes(copied.read_bytes())
    run = fit(folder, out=tmp_path / "run", epochs=1)
    splits = json.loads((run.path / "data.json").read_text())["splits"]
    trained = set(splits["train"]["images"].values())
    for part in splits.keys() - {"train"}:
        assert splits[part]["count"] and not trained & set(splits[part]["images"].values())
    shutil.rmtree(run.path / "model")  # it goes on with the same parts
    fit(folder, out=tmp_path / "run", epochs=1)


def test_a_budget_ends_with_five_validations_and_the_lowest_rate(tmp_path):
    run = fit(dataset(), out=tmp_path / "run", budget="9s", batch_size=8)
    rows = rows_of(run.path)
    assert len(rows) >= 5
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[-1] < max(rates) / 2, "the machine decides how many steps fit"
    state = newest_state(run.path / "state")
    assert state is not None and len(state.info["plans"]) >= 2
    assert state.info["plans"][-1][1] == int(rows[-1]["step"])
    before = read_sealed(run.path).card["scores"]
    shutil.rmtree(run.path / "model")  # killed between the last state and the seal
    fit(dataset(), out=tmp_path / "run", budget="9s", batch_size=8)
    assert read_sealed(run.path).card["scores"] == before


def test_a_budget_too_short_to_score_says_the_shortest_and_writes_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"of a budget of 2 s\n.*--budget 1m"):
        fit(dataset(), out=tmp_path / "run", budget=2.0)
    assert not (tmp_path / "run").exists()


def test_settings_that_change_nothing_are_told(tmp_path, capsys):
    data = from_arrays(pictures(20, 16), classes=("left", "right"))
    train(data, out=tmp_path / "run", epochs=1, validation=0.0, patience=3, threads=1)
    assert "patience has no effect: nothing validates" in capsys.readouterr().err


@pytest.mark.parametrize("own", [True, False])
def test_validation_is_told_to_have_no_effect_only_beside_a_val_split(tmp_path, capsys, own):
    val = pictures(10, 16, 1) if own else None
    data = from_arrays(pictures(20, 16), val=val, classes=("left", "right"))
    train(data, out=tmp_path / "run", epochs=1, validation=0.3, threads=1)
    assert ("validation has no effect" in capsys.readouterr().err) == own


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({"batch_size": 32}, 0.1),  # the root of a quarter of 128
        ({"batch_size": 32, "model": "nin_cifar"}, 0.005),
        ({"batch_size": 32, "learning_rate": 0.3}, 0.3),
        ({"batch_size": 32, "recipe": "paper-cifar"}, 0.1),
    ],
)
def test_the_default_rate_fits_the_batch_and_the_network(options, rate):
    images, labels = pictures(64, 32)
    data = from_arrays((images, labels), classes=("left", "right"))
    config, _ = resolve(options, data)
    assert config.learning_rate == pytest.approx(rate)


def test_a_network_that_takes_few_sizes_gets_one_and_refuses_others(tmp_path):
    with pytest.raises(ConfigError, match="--image-size 96"):
        fit(dataset(), out=tmp_path / "run", model="tutorial_resnet18_96", image_size=32)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["arrays", "torch data set"])
def test_arrays_and_torch_data_sets_are_data_too(tmp_path, kind):
    images, labels = pictures(20, 16)
    data: object = (images, labels)
    if kind != "arrays":
        tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
        data = torch.utils.data.TensorDataset(tensors, torch.from_numpy(labels))
    run = fit(data, classes=("left", "right"), out=tmp_path / "run", epochs=1)
    assert run.classifier.classes == ("left", "right")


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup": 0.2, "cutmix": 1.0, "erasing": 0.25},
        {"auto_augment": "rand"},
        {"balance": "weights"},
        {"balance": "order"},
        {"ema_decay": 0.0, "label_smoothing": 0.0},
        {"mean_image": True},
        {"precision": "bf16"},
        {"precision": "fp32", "channels_last": False},
        {"image_size": 24},
        {"crop": "resized"},
        {"schedule": "steps", "lr_drops": (0.5,)},
        {"schedule": "linear", "start_size": 24, "full_size_from": 0.3, "image_size": 32},
        {"optimizer": "muon", "orthogonal_rate": 0.1},
        {"model": "resnet20:stem=whitened", "whiten": True, "image_size": 32},
        {"alternate_flips": True, "flip": True},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_setting_trains_and_is_written_down(tmp_path, settings):
    run = fit(dataset(24), out=tmp_path / "run", epochs=1, batch_size=8, **settings)
    text = (run.path / "config.toml").read_text()
    assert all(name in text for name in settings)
    assert np.isfinite(float(rows_of(run.path)[-1]["train_loss"]))


def test_the_mean_image_is_a_tensor_in_the_sealed_model(tmp_path):
    data = dataset()
    run = fit(data, out=tmp_path / "run", epochs=1, recipe="paper-cifar")
    kept = json.loads((run.path / "data.json").read_text())["splits"]["train"]["images"]
    images, _ = pictures(48, 16)
    chosen = [int(name.rpartition("/")[2]) for name in kept]
    tensor = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).float() / 255
    resized = torch.nn.functional.interpolate(
        tensor, (32, 32), mode="bilinear", antialias=True, align_corners=False
    )
    sealed = read_sealed(run.path).weights["preprocess.mean_image"]
    assert torch.allclose(sealed, resized.mean(0), atol=1e-4)


def test_a_loss_that_is_not_finite_stops_with_the_weights_before_it(tmp_path):
    with pytest.raises(CannotGoOn, match="the loss is nan"):
        fit(
            dataset(),
            out=tmp_path / "run",
            epochs=5,
            learning_rate=1e30,
            warmup=0.0,
            momentum=0.0,
            precision="fp32",
        )
    state = newest_state(tmp_path / "run" / "state")
    assert state is not None
    statistics = [value for name, value in state.tensors.items() if "running_mean" in name]
    assert all(torch.isfinite(value).all() for value in statistics)


def test_changed_data_is_refused_with_what_changed(tmp_path):
    folder = save_folder(tmp_path / "photos", 20, 16)
    run = fit(folder, out=tmp_path / "run", epochs=1, batch_size=8)
    shutil.rmtree(run.path / "model")  # as if it had been stopped
    (folder / "train" / "left" / "000.png").unlink()
    with pytest.raises(DataError, match=r"1 removed \(train: .*000\.png\)"):
        fit(folder, out=tmp_path / "run", epochs=1, batch_size=8)


def test_a_folder_that_is_no_run_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="is no run folder"):
        fit(dataset(), out=tmp_path, epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("kind", ["in memory", "fast", "photos", "photos from the cache"])
def test_interrupted_twice_and_continued_is_bit_identical(tmp_path, kind):
    odd = kind.startswith("photos")
    side = 72 if odd else 16
    folder = save_folder(tmp_path / "photos", 64, side, odd=odd)
    settings = ["--epochs", 4 if odd else 12, "-b", 8, "--model", "resnet20"]
    settings += ["--image-size", 32, "--set", "auto_augment=trivial", "--set", "mixup=0.2"]
    settings += ["--threads", 1 if odd else 2]
    settings += ["--cache"] if "cache" in kind else []
    if kind == "fast":
        settings += ["--model", "resnet20:stem=whitened"]
        for each in ("optimizer=muon", "whiten=true", "alternate_flips=true", "start_size=24"):
            settings += ["--set", each]

    whole = command("train", folder, *settings, "--out", tmp_path / "whole", "-j", 1)
    text, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, text

    cut = tmp_path / "cut"
    for attempt, (signal_sent, code) in enumerate(((signal.SIGINT, 130), (signal.SIGTERM, 143))):
        process = command("train", folder, *settings, "--out", cut, "-j", 2 * attempt)
        wanted = attempt + 2
        while process.poll() is None and not (
            (cut / "metrics.csv").exists() and len(rows_of(cut)) >= wanted
        ):
            time.sleep(0.02)
        os.killpg(process.pid, signal_sent)  # as Ctrl-C and service managers do: workers too
        began = time.monotonic()
        text, _ = process.communicate(timeout=60)
        assert process.returncode == code, text
        assert time.monotonic() - began < 10
        assert "the same command continues there" in text

    final = command("train", folder, *settings, "--out", cut, "-j", 1)
    text, _ = final.communicate(timeout=300)
    assert final.returncode == 0 and "continuing" in text, text
    assert same_state(tmp_path / "whole", cut)
    assert without_times(rows_of(tmp_path / "whole")) == without_times(rows_of(cut))
    models = [read_sealed(run).weights for run in (tmp_path / "whole", cut)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_step_that_python_cannot_interrupt_still_ends_in_time(tmp_path):
    program = """
import hashlib, pathlib, sys
from resnets.training.stopping import StopWatch
saved = pathlib.Path(sys.argv[1])
with StopWatch(lambda: saved.write_text("state")):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"one long call", b"that never returns to Python", 10**9)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "saved")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143 and "the state before it is saved" in told
    assert time.monotonic() - began < 10
    assert (tmp_path / "saved").read_text() == "state"


def test_the_public_calls_of_the_front_page_work_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_folder(tmp_path / "photos", 24, 16)
    run = resnets.train(folder, epochs=2, batch_size=8, threads=1, quiet=True)
    assert run.path == Path("runs/photos")
    classifier = resnets.load("runs/photos")
    answer = classifier.predict(folder / "test" / "left" / "000.png", top=2)
    assert sorted(one.label for one in answer) == ["left", "right"]
    assert sum(one.probability for one in answer) == pytest.approx(1)
    scores = classifier.evaluate(folder, split="test")
    assert run.scores is not None and scores.accuracy == run.scores.accuracy
