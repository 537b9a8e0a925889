"""The report of a run shows what its saved answers say, and a browser shows the report."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch

from resnets.checkpoint import read_sealed
from resnets.errors import ConfigError, ModelFileError
from resnets.report import compare, read_run, write_comparison, write_report
from resnets.report.charts import Axis
from resnets.report.comparison import holm
from resnets.training.seeing import report_again
from runs import command, fit, rows_of, save_folder

CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """The words of a page, its images and its block of facts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.images: list[str] = []
        self.loaded: list[str] = []
        self.facts = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"])
        self.loaded += [values[key] for key in ("src", "href") if key in values]

    def handle_data(self, data):
        if self._inside == "script":
            self.facts += data
        elif self._inside != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on stripes of which every fifth lies under the other class."""
    root = tmp_path_factory.mktemp("report")
    data = save_folder(root / "photos", 200, 16)
    for split in ("train", "test"):
        for image in sorted((data / split).glob("*/*.png"))[::5]:
            other = {"left": "right", "right": "left"}[image.parent.name]
            image.rename(data / split / other / f"<b>{image.name}")
    settings = {"model": "resnet20", "epochs": 2, "validation": 0.3}
    return data, [fit(data, seed=seed, out=root / f"run{seed}", **settings) for seed in (0, 1)]


def read(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def facts(runs):
    return json.loads(read(runs[1][0].path / "report.html").facts)


@pytest.fixture(scope="module")
def saved(runs):
    """Labels and calibrated probabilities, straight from the files."""
    path = runs[1][0].path
    with np.load(path / "predictions" / "test.npz") as file:
        logits, labels, names = file["logits"].astype(float), file["labels"], file["names"].tolist()
    temperature = json.loads((path / "model" / "model.json").read_text())["temperature"]
    return labels, scipy.special.softmax(logits / temperature, axis=1), names


# Every figure, from the saved answers -----------------------------------------------------------


def test_scores_are_scikit_learns(facts, saved):
    labels, probabilities, _ = saved
    answers = probabilities.argmax(axis=1)
    scores = facts["scores"]
    assert scores["accuracy"]["value"] == sklearn.metrics.accuracy_score(labels, answers)
    assert scores["log_loss"]["value"] == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities)
    )
    assert scores["brier"]["value"] == pytest.approx(
        ((probabilities - np.eye(2)[labels]) ** 2).sum(axis=1).mean()
    )
    assert scores["confusion"] == sklearn.metrics.confusion_matrix(labels, answers).tolist()
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, answers, zero_division=0
    )
    for index, (row, shown) in enumerate(zip(scores["per_class"], facts["per_class"], strict=True)):
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            (precision[index], recall[index], f1[index], support[index])
        )
        assert shown["recall"]["value"] == pytest.approx(recall[index])
        wilson = scipy.stats.binomtest(
            round(recall[index] * support[index]), int(support[index])
        ).proportion_ci(method="wilson")
        assert (shown["recall"]["low"], shown["recall"]["high"]) == pytest.approx(
            (wilson.low, wilson.high)
        )


def test_the_reliability_diagram_is_a_binned_statistic(facts, saved):
    labels, probabilities, _ = saved
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, 16)
    accuracy, _, place = scipy.stats.binned_statistic(top, right, "mean", edges)
    mean, _, _ = scipy.stats.binned_statistic(top, top, "mean", edges)
    count, _, _ = scipy.stats.binned_statistic(top, top, "count", edges)
    there = count > 0
    bins = facts["reliability"]["calibrated"]
    assert [each["accuracy"] for each in bins] == pytest.approx(accuracy[there])
    assert [each["probability"] for each in bins] == pytest.approx(mean[there])
    assert [each["n"] for each in bins] == count[there].tolist()
    error = (count[there] / len(labels) * abs(accuracy - mean)[there]).sum()
    assert facts["scores"]["calibration_error"]["value"] == pytest.approx(error)


def test_the_curve_of_coverage_and_error_is_counted_by_hand(facts, saved):
    labels, probabilities, _ = saved
    top, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    for point in facts["coverage"]:
        given = top >= point["threshold"] - 1e-12
        assert point["coverage"] == pytest.approx(given.mean())
        assert point["error"] == pytest.approx(wrong[given].mean())
    assert facts["coverage"][-1]["coverage"] == 1


def test_the_pictures_are_of_the_most_confident_mistakes_and_the_least_certain(facts, saved):
    labels, probabilities, names = saved
    wrong = [i for i in range(len(labels)) if probabilities[i].argmax() != labels[i]]
    wrong.sort(key=lambda i: -probabilities[i].max())
    assert [row["name"] for row in facts["mistakes"]] == [names[i] for i in wrong[:24]]
    order = sorted(range(len(labels)), key=lambda i: abs(probabilities[i, 0] - probabilities[i, 1]))
    assert [row["name"] for row in facts["least_certain"]] == [names[i] for i in order[:24]]


def test_the_curves_are_the_rows_of_metrics_csv(runs, facts):
    rows = rows_of(runs[1][0].path)
    assert [row["step"] for row in facts["curves"]] == [float(row["step"]) for row in rows]
    assert facts["curves"][-1]["val_loss"] == float(rows[-1]["val_loss"])


# The page ---------------------------------------------------------------------------------------


def test_the_page_loads_nothing_and_holds_its_pictures(runs):
    page = read(runs[1][0].path / "report.html")
    assert all(each.startswith("data:image/") for each in page.loaded)
    facts = json.loads(page.facts)
    assert len(page.images) == len(facts["mistakes"]) + len(facts["least_certain"]) + 16
    words = " ".join(page.words)
    for shown in ("How it learned", "The most confident mistakes", "resnets train --config"):
        assert shown in words
    assert f"{100 * facts['scores']['accuracy']['value']:.1f} %" in words
    assert any(name.startswith("test/") and "<b>" in name for name in page.words)  # as text


@pytest.mark.parametrize("batch_size", [8, 50])  # fewer than are shown, and more
def test_training_samples_are_those_that_training_saw(runs, monkeypatch, batch_size):
    from resnets.training import loop, seeing

    seen = []
    taken = loop.add_gradients

    def watched(task, model, inputs, *rest):
        seen.append((task, inputs.detach().clone()))
        return taken(task, model, inputs, *rest)

    monkeypatch.setattr(loop, "add_gradients", watched)
    data, _ = runs
    out = data.parent / f"watched{batch_size}"
    settings = {"model": "resnet20", "epochs": 1, "precision": "fp32", "batch_size": batch_size}
    run = fit(data, out=out, **settings)
    task, first = seen[0]
    assert len(first) == batch_size
    shown = seeing.first_images(task, run.classifier.opened(None, "train", None).splits["train"])
    assert len(shown) == min(batch_size, 16)
    expected = seeing.visible(first[: len(shown)].float(), task.preprocess, task.mean_image)
    np.testing.assert_array_equal(np.stack(shown), expected)


def test_a_report_is_drawn_again_and_without_its_data(runs, tmp_path):
    data, (run, _) = runs
    again = report_again(run.path, out=tmp_path / "again.html")
    first = (run.path / "report.html").read_text(encoding="utf-8")
    assert again.read_text(encoding="utf-8") == first
    data.rename(data.with_name("gone"))
    try:
        page = read(report_again(run.path, out=tmp_path / "bare.html"))
    finally:
        data.with_name("gone").rename(data)
    assert not page.images and "cannot be read any more" in " ".join(page.words)


def test_what_is_no_finished_run_is_told(runs, tmp_path):
    _, (run, _) = runs
    with pytest.raises(ModelFileError, match="no model or run folder"):
        write_report(tmp_path / "nothing")
    shutil.copytree(run.path / "model", tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"it has no config\.toml"):
        write_report(tmp_path / "model")
    shutil.copytree(run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "predictions")
    with pytest.raises(ModelFileError, match="is missing"):
        write_report(tmp_path / "run")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(runs, tmp_path, width):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 800})
        trouble = []
        view.on("console", lambda message: trouble.append(message.text))
        view.on("request", lambda request: trouble.append(request.url))
        view.goto((runs[1][0].path / "report.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert view.locator("svg").count() >= 5
        browser.close()
    requested = [line for line in trouble if not line.startswith(("data:", "file:"))]
    assert not requested


def test_charts_as_png(runs, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    from resnets.report import facts_of
    from resnets.report.plots import save_plots

    files = save_plots(facts_of(read_run(runs[1][0].path)), tmp_path / "plots")
    assert {file.stem for file in files} == {
        *("loss", "accuracy", "reliability", "coverage", "confusion")
    }
    for file in files:
        pixels = np.asarray(Image.open(file).convert("L"))
        assert pixels.shape[0] > 400 and len(np.unique(pixels)) > 20


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.043), (0, 37.2), (-2, 5), (0, 1e-6)])
def test_ticks_are_few_round_and_inside(low, high):
    ticks = Axis("", low, high).ticks()
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high * (1 + 1e-9) for tick in ticks)
    step = ticks[1] - ticks[0]
    assert re.fullmatch(r"[125]\.0+e[+-]\d+", f"{step:.6e}")


# Runs beside each other -------------------------------------------------------------------------


def test_two_runs_are_compared_image_by_image(runs):
    pair = compare([read_run(run.path) for run in runs[1]]).pairs[0]
    with (
        np.load(runs[1][0].path / "predictions/test.npz") as one,
        np.load(runs[1][1].path / "predictions/test.npz") as other,
    ):
        assert (one["names"] == other["names"]).all()
        first = one["logits"].argmax(1) == one["labels"]
        second = other["logits"].argmax(1) == other["labels"]
    alone, theirs = int((first & ~second).sum()), int((second & ~first).sum())
    assert (pair.first_alone, pair.second_alone, pair.n) == (alone, theirs, len(first))
    assert pair.difference == pytest.approx(first.mean() - second.mean())
    n = alone + theirs
    assert pair.p == pytest.approx(scipy.stats.binomtest(alone, n).pvalue if n else 1.0)
    assert pair.low <= pair.difference <= pair.high


def test_no_winner_is_called_inside_the_noise_and_one_outside(runs, tmp_path):
    from resnets.evaluation import read_predictions

    good = tmp_path / "good"
    shutil.copytree(runs[1][0].path, good)
    bad = tmp_path / "bad"
    shutil.copytree(good, bad)
    for path, turned in ((good, 0), (bad, 1)):
        kept = read_predictions(path / "predictions/test.npz")
        many = kept.take(np.arange(len(kept)).repeat(9))
        names = tuple(f"{index}" for index in range(len(many)))
        logits = 5 * np.eye(2)[(many.labels + turned) % 2]
        type(many)(
            split="test",
            data="x",
            classes=many.classes,
            names=names,
            labels=many.labels,
            logits=logits,
        ).save(path / "predictions/test.npz")
    comparison = write_comparison([good, bad, good], tmp_path / "comparison.html")
    verdicts = [pair.verdict() for pair in comparison.pairs]
    assert "is better" in verdicts[0] and verdicts[1] == "no more than chance"
    assert "is better" in " ".join(read(tmp_path / "comparison.html").words)


def test_holm_is_the_step_down_procedure():
    ps = [0.01, 0.04, 0.03, 0.005]
    assert holm(ps) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979, by hand
    assert holm([0.5]) == [0.5] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_runs_without_a_common_image_are_not_compared(runs, tmp_path):
    from dataclasses import replace

    one = read_run(runs[1][0].path)
    renamed = replace(one.answers, names=tuple(f"x{name}" for name in one.answers.names))
    with pytest.raises(ConfigError, match="no image in common"):
        compare([one, replace(one, answers=renamed)])
    with pytest.raises(ConfigError, match="nothing to be compared"):
        compare([one])


def test_the_commands(runs, tmp_path):
    first, second = (run.path for run in runs[1])
    done = command("report", first, second, "--out", tmp_path / "both.html")
    text, _ = done.communicate(timeout=120)
    assert done.returncode == 0 and "McNemar" in text, text
    done = command("report", first, "--out", tmp_path / "one.html", "--png", tmp_path / "png")
    text, _ = done.communicate(timeout=120)
    assert done.returncode == 0 and text.count("picture:") == 5, text
    done = command("report", tmp_path)
    text, _ = done.communicate(timeout=120)
    assert done.returncode == 2 and "fix:" in text, text


def test_a_report_that_cannot_be_written_takes_nothing_from_the_run(runs, monkeypatch, tmp_path):
    from resnets.errors import CannotGoOn
    from resnets.training import session

    def refused(*_, **__):
        raise CannotGoOn("cannot write report.html: no room", fix="make room")

    monkeypatch.setattr(session, "write_report", refused)
    run = fit(runs[0], model="resnet20", epochs=1, out=tmp_path / "run")
    assert read_sealed(run.path).card["training"]["finished"]
    assert not (run.path / "report.html").exists()
    assert torch.is_tensor(next(iter(read_sealed(run.path).weights.values())))
