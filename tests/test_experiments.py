"""The papers' experiments, run again on made-up images under tiny schedules."""

import csv
import dataclasses
import hashlib
import importlib
import json
import shutil
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resnets.errors import ConfigError, Interrupted, UnknownName
from resnets.experiments import degradation, layer_signals
from resnets.experiments import running as engine
from resnets.experiments.pace import Pace, few_images
from resnets.experiments.wording import told
from resnets.models import create_model
from resnets.training import loop, run
from runs import command, rows_of, save_folder, without_times

CHROMIUM = shutil.which("chromium")
NETS = ("plain20", "plain32", "resnet20", "resnet32")
TINY: dict[str, Any] = {
    "image_size": 16,
    "batch_size": 12,
    "threads": 1,
    "precision": "fp32",
    "quiet": True,
}
"""Settings of ``train`` for pictures of 16 pixels."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("experiments") / "photos", 48, 16)


@pytest.fixture(scope="module")
def watched(photos):
    """The experiment, and what each network was given in each of its steps."""
    given = defaultdict(list)
    take_step, add_gradients = loop.take_step, loop.add_gradients

    def step(task, state, batch, rate, stop, **more):
        given[task.config.model].append([rate])
        return take_step(task, state, batch, rate, stop, **more)

    def gradients(task, model, inputs, targets, labels):
        if given[task.config.model]:  # the steps that are only timed are taken elsewhere
            pixels = hashlib.sha256(inputs.contiguous().numpy().tobytes()).hexdigest()
            given[task.config.model][-1] += [pixels, labels.tolist()]
        return add_gradients(task, model, inputs, targets, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", step)
        patch.setattr(loop, "add_gradients", gradients)
        out = photos.parent / "degradation"
        found = degradation(photos, nets=NETS, epochs=3, out=out, **TINY)
    return found, dict(given)


@pytest.fixture(scope="module")
def found(watched):
    return watched[0]


def read(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


# The degradation experiment -----------------------------------------------------------------


def test_all_networks_see_the_same_images_at_the_same_rates(watched):
    _, given = watched
    assert given.keys() == set(NETS)
    first = given["plain20"]
    assert len(first) == 11  # 3 epochs of 43 images (a tenth of 48 validates), 12 a step
    assert all(steps == first for steps in given.values())
    assert len({pixels for _, pixels, _ in first}) == len(first)


def test_the_rate_is_divided_by_ten_at_half_and_at_three_quarters(watched):
    rates = [rate for rate, _, _ in watched[1]["resnet32"]]
    drops = [sum(step / len(rates) >= share for share in (0.5, 0.75)) for step in range(len(rates))]
    assert rates == pytest.approx([0.1 / 10**drop for drop in drops])


def test_the_table_repeats_the_metrics_and_the_answers_of_each_run(found):
    rows = read(found.out / "degradation.csv")
    for net in NETS:
        mine = [row for row in rows if row["net"] == net]
        metrics = rows_of(found.out / f"{net}-seed0")
        assert [row["step"] for row in mine] == [row["step"] for row in metrics]
        for part in ("train", "val"):
            errors = [float(row[f"{part}_error"]) for row in mine]
            assert errors == pytest.approx([1 - float(r[f"{part}_accuracy"]) for r in metrics])
        with np.load(found.out / f"{net}-seed0/predictions/test.npz") as answers:
            wrong = (answers["logits"].argmax(1) != answers["labels"]).mean()
        assert [row["test_error"] for row in mine[:-1]] == [""] * (len(mine) - 1)
        assert float(mine[-1]["test_error"]) == pytest.approx(wrong)


def test_a_stopped_experiment_goes_on_and_trains_nothing_again(
    found, photos, tmp_path, monkeypatch
):
    calls: list[str] = []

    def interrupted(*args, **settings):
        calls.append(settings["model"])
        if len(calls) == 2:
            raise Interrupted("stopped", fix="again", exit_code=130)
        return run.train(*args, **settings)

    again = {"nets": NETS[:2], "epochs": 3, "out": tmp_path / "out", **TINY}
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(engine, "train", interrupted)
        degradation(photos, **again)
    first = tmp_path / "out/plain20-seed0"
    before = {file: file.stat().st_mtime_ns for file in first.rglob("*") if file.is_file()}
    assert before and not (tmp_path / "out/plain32-seed0").exists()
    assert {row["net"] for row in read(tmp_path / "out/degradation.csv")} == {"plain20"}

    def untimed(*_):
        raise AssertionError("the pace was measured again")

    monkeypatch.setattr(engine, "measure_pace", untimed)
    both = degradation(photos, **again)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    for net in both.nets:
        one, other = (rows_of(out / f"{net.net}-seed0") for out in (both.out, found.out))
        assert without_times(one) == without_times(other)


def test_another_schedule_in_the_same_folder_is_refused(found, photos):
    with pytest.raises(ConfigError, match="epochs = 3"):
        degradation(photos, nets=NETS, epochs=4, out=found.out, **TINY)
    with pytest.raises(ConfigError, match="label_smoothing"):
        degradation(photos, nets=NETS[:2], epochs=3, out=found.out, label_smoothing=0.1, **TINY)


def test_a_folder_of_something_else_is_left_alone(photos, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no experiment"):
        degradation(photos, nets=NETS, epochs=3, out=tmp_path, **TINY)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("nets", [(), ("plain20",), ("plain20", "resnet56"), ("plain20",) * 2])
def test_one_depth_is_nothing_to_compare(nets, photos, tmp_path):
    with pytest.raises(ConfigError, match="nothing to compare"):
        degradation(photos, nets=nets, epochs=1, out=tmp_path)


def test_other_networks_and_mistyped_ones_are_refused(photos, tmp_path):
    with pytest.raises(ConfigError, match="vgg16 is no network of two-layer blocks"):
        degradation(photos, nets=("vgg16", "plain20"), epochs=1, out=tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'plain32'"):
        degradation(photos, nets=("plain2", "plain56"), epochs=1, out=tmp_path)
    with pytest.raises(ConfigError, match="no validation error"):
        degradation(photos, nets=NETS, epochs=1, out=tmp_path, validation=0)


def test_a_network_of_110_layers_makes_all_of_them_warm_up(monkeypatch, photos, tmp_path):
    asked = []
    monkeypatch.setattr(engine, "measure_pace", lambda *_: Pace(step=1, validated=0, scored=0))
    monkeypatch.setattr(engine, "read_run", lambda path: pytest.fail("nothing was trained"))

    def noted(*_, **settings):
        asked.append(settings)
        raise Interrupted("stopped", fix="again", exit_code=130)

    monkeypatch.setattr(engine, "train", noted)
    for epochs in (25, 2_500):  # of 43 images, 12 a step: 90 and 8,958 steps
        with pytest.raises(Interrupted):
            degradation(
                photos,
                nets=("plain20", "plain110"),
                epochs=epochs,
                out=tmp_path / f"{epochs}",
                batch_size=12,
                quiet=True,
            )
    assert [settings["warmup_steps"] for settings in asked] == [9, 400]


# Signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain20", "resnet20", "preact_resnet20"])
def test_signals_are_those_that_a_probe_at_each_layer_sees(name):
    torch.manual_seed(0)
    network = create_model(name, num_classes=5, seed=1)
    inputs, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 5
    before = {key: value.clone() for key, value in network.state_dict().items()}
    signals = layer_signals(network.eval(), inputs, labels)
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    probes, seen = {}, {}

    def probe(key):
        def hook(module, given, response):
            seen[key] = response.detach().numpy().copy()
            probes[key] = torch.zeros_like(response, requires_grad=True)
            return response + probes[key]  # the gradient of a sum is that of each of its terms

        return hook

    twin = create_model(name, num_classes=5, seed=1).train()
    for key, module in twin.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) and "downsample" not in key:
            module.register_forward_hook(probe(key))
    loss = F.cross_entropy(twin(inputs), labels)
    assert [signal.name for signal in signals] == list(seen)
    assert [signal.layer for signal in signals] == list(range(1, 20))  # all but the head
    for signal in signals:
        assert signal.response_std == pytest.approx(np.std(seen[signal.name], dtype=np.float64))
        gradient = torch.autograd.grad(loss, probes[signal.name], retain_graph=True)[0]
        norm = np.sqrt((gradient.numpy().astype(np.float64) ** 2).sum())
        assert signal.gradient_norm == pytest.approx(norm, rel=1e-4)


def test_signals_are_of_the_first_weights_and_of_the_last(found):
    rows = read(found.out / "signals.csv")
    assert len(rows) == 2 * (19 + 31 + 19 + 31)
    for net in found.nets:
        assert [signal.response_std for signal in net.signals["start"]] == pytest.approx(
            [1.0] * (net.layers - 1), rel=0.05
        )  # batch norm before any step
        assert net.signals["start"] != net.signals["end"]


def test_signals_are_of_images_that_the_networks_train_on(found, photos):
    few, sizes = few_images(photos, None, {"recipe": "paper-cifar"})
    splits = json.loads((found.out / "plain20-seed0/data.json").read_text())["splits"]
    assert set(few.splits["train"].names) <= set(splits["train"]["images"])
    counts = {part: split["count"] for part, split in splits.items()}
    assert counts == {"train": sizes.train, "val": sizes.val, "test": sizes.test}


# Words and pictures -------------------------------------------------------------------------


def with_errors(found, **errors):
    """The same networks with other last errors: net -> (training, validation)."""
    nets = []
    for net in found.nets:
        train, val = errors.get(net.net, (0.5, 0.5))
        last = net.last | {"train_error": train, "val_error": val}
        nets.append(dataclasses.replace(net, curve=(*net.curve[:-1], last)))
    return nets


def test_the_words_follow_the_figures_of_plain_networks(found):
    shown = told(with_errors(found, plain20=(0.2, 0.25), plain32=(0.3, 0.35)))
    assert "plain32 ended with 30.0 % training and 35.0 % validation error" in shown
    assert "This is the degradation" in shown
    overfitted = told(with_errors(found, plain20=(0.2, 0.25), plain32=(0.1, 0.35)))
    assert "overfitting" in overfitted and "This is the degradation" not in overfitted
    turned = told(with_errors(found, plain20=(0.3, 0.35), plain32=(0.2, 0.25)))
    assert "did not show" in turned and "harder to train" not in turned


def test_the_words_follow_the_figures_of_residual_networks(found):
    shown = told(with_errors(found, resnet20=(0.2, 0.25), resnet32=(0.2, 0.24)))
    assert "does not end above the other one" in shown and "did not overtake" not in shown
    turned = told(with_errors(found, resnet20=(0.2, 0.25), resnet32=(0.2, 0.26)))
    assert "did not overtake" in turned and "does not end above" not in turned


def test_the_words_follow_the_signals(found):
    def scaled(factor):
        nets = []
        for net in found.nets:
            deep = net.layers - 1
            signals = {
                when: tuple(
                    dataclasses.replace(s, gradient_norm=factor ** ((deep - s.layer) / (deep - 1)))
                    for s in measured
                )
                for when, measured in net.signals.items()
            }
            nets.append(dataclasses.replace(net, signals=signals))
        return told(nets)

    assert "In plain32 nothing vanishes" in scaled(0.5) and "grows" not in scaled(0.5)
    assert "a signal does vanish" in scaled(1e-4)
    grown = scaled(250.0)
    assert "nothing vanishes" in grown and "250 times that at its last" in grown
    assert "On its way back the gradient grows; in resnet32" in grown


def test_the_words_are_kept_beside_the_figures(found):
    assert (
        (found.out / "degradation.md").read_text() == found.text + "\n" == told(found.nets) + "\n"
    )


def test_the_picture_has_a_line_for_each_network_in_each_panel(found):
    tree = ElementTree.parse(found.out / "degradation.svg")
    svg = "{http://www.w3.org/2000/svg}"
    lines = [path.get("class", "") for path in tree.iter(f"{svg}path")]
    assert sum(kind.startswith("line dashed") for kind in lines) == 3 * len(NETS)
    words = [text.text for text in tree.iter(f"{svg}text")]
    assert all(words.count(net) == 3 for net in NETS)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_picture_opens_in_a_browser(found):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page()
        trouble = []
        view.on("console", lambda message: trouble.append(message.text))
        view.on("pageerror", lambda error: trouble.append(str(error)))
        view.goto((found.out / "degradation.svg").as_uri())
        assert view.evaluate("document.documentElement.tagName") == "svg"
        assert view.locator("parsererror").count() == 0
        boxes = view.evaluate(
            "[...document.querySelectorAll('text')].map(t => t.getBoundingClientRect().right)"
        )
        assert max(boxes) <= view.evaluate("document.documentElement.viewBox.baseVal.width")
        browser.close()
    assert not trouble


def test_the_picture_as_png(found):
    pytest.importorskip("matplotlib")
    from PIL import Image

    pixels = np.asarray(Image.open(found.out / "degradation.png").convert("L"))
    assert pixels.shape[0] > 1_000 and len(np.unique(pixels)) > 20


def test_what_is_recorded_and_shown_is_what_was_found(found, monkeypatch, tmp_path):
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    papers, recording = (importlib.import_module(name) for name in ("papers", "recording"))
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    monkeypatch.setattr(papers, "DOCS", tmp_path)
    (tmp_path / "pictures").mkdir()
    page = tmp_path / "papers-rerun.md"
    page.write_text((benchmarks.parent / "docs/papers-rerun.md").read_text())
    for _ in range(2):  # a second time the section is written over and no row is added
        papers.record("degradation", found.out)
    rows = read(tmp_path / "degradation.csv")
    for row, theirs in zip(rows, read(found.out / "degradation.csv"), strict=True):
        assert {name: row[name] for name in theirs} == theirs
        assert row["command"].endswith(
            "degradation CIFAR10_DIR --nets plain20,plain32,resnet20,resnet32 --epochs 3"
        )
    text = page.read_text()
    assert text.count(found.text) == 1
    for net in found.nets:
        assert (
            f"| {net.net} | {net.parameters:,} | 11 | {100 * net.last['train_error']:.2f} " in text
        )
    assert text.count("## Degradation") == 1 and "## Table 6" not in text


# The commands -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands(photos, tmp_path):
    arguments = (photos, "--epochs", 1, "--out", tmp_path / "table6", "--seeds", 1)
    done = command("experiment", "table6", *arguments, "--nets", "20")
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 0 and "8.75" in text and "take about" in text, text
    done = command("experiment", "table6", *arguments, "--nets", "20")
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 0 and "is finished" in text, text
    done = command("experiment", "table6", photos, "--nets", "20,many")
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 2 and "fix:" in text, text
    nets = ("--nets", "plain20,plain32", "--epochs", 1, "--out", tmp_path / "degradation")
    done = command("experiment", "degradation", photos, *nets, "--schedule", "cosine")
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 0 and "Without shortcuts plain32 ended with" in text, text
    settings = tomllib.loads((tmp_path / "degradation/plain32-seed0/config.toml").read_text())
    assert settings["schedule"] == "cosine"
    done = command("experiment", "degradation", photos, *nets)
    text, _ = done.communicate(timeout=300)
    assert done.returncode == 2 and "schedule" in text, text
