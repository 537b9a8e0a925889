"""A run is calibrated at its end and again by `resnets calibrate`; models answer together."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnets.calibrating import calibrate_model
from resnets.checkpoint import read_sealed
from resnets.engines.mirrored import Mirrored
from resnets.engines.pytorch import TorchEngine
from resnets.errors import ConfigError, ModelFileError
from resnets.evaluation import read_predictions
from resnets.metrics import softmax
from resnets.prediction import evaluate_together, is_model, load
from runs import command, fit, pictures, save_folder


def folder_with_wrong_labels(root):
    """Stripes of which every fifth lies under the other class."""
    save_folder(root, 600, 16)
    for split in ("train", "test"):
        images = sorted((root / split).glob("*/*.png"))
        for image in images[::5]:
            other = {"left": "right", "right": "left"}[image.parent.name]
            image.rename(root / split / other / f"wrong-{image.name}")
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("calibrating")
    data = folder_with_wrong_labels(root / "photos")
    return data, [
        fit(data, model="resnet20", epochs=2, validation=0.2, seed=seed, out=root / f"run{seed}")
        for seed in (0, 1)
    ]


def test_a_run_ends_with_a_temperature_fitted_on_val(runs):
    _, (run, _) = runs
    card = read_sealed(run.path).card
    kept = read_predictions(run.path / "predictions" / "val.npz")
    assert len(kept) == card["calibration"]["n"] == 120
    assert card["temperature"] == card["calibration"]["temperature"] != 1.0
    before, after = card["calibration"]["log_loss"]
    assert after < before
    recorded = json.loads((run.path / "data.json").read_text())["splits"]["val"]["images"]
    assert set(kept.names) == set(recorded)


def test_the_scores_of_a_run_are_those_of_the_calibrated_answers_it_kept(runs):
    _, (run, _) = runs
    card, kept = read_sealed(run.path).card, read_predictions(run.path / "predictions/test.npz")
    own = softmax(kept.logits, card["temperature"])[np.arange(len(kept)), kept.labels]
    assert run.scores.log_loss.value == pytest.approx(-np.log(own).mean(), rel=1e-6)
    again = run.classifier.evaluate()
    assert again.log_loss.value == pytest.approx(run.scores.log_loss.value, rel=1e-4)
    assert again.selective == run.scores.selective


def test_predictions_are_calibrated_and_say_where_they_are_unsure(runs, tmp_path):
    data, (run, _) = runs
    shutil.copytree(run.path, tmp_path / "run")
    calibrate_model(tmp_path / "run", target_error=0.3)
    classifier = load(tmp_path / "run")
    assert classifier.threshold is not None
    files = sorted((data / "test").glob("*/*.png"))
    kept = read_predictions(run.path / "predictions/test.npz")
    expected = softmax(kept.logits, classifier.temperature).max(axis=1)
    for row in classifier.predict_files(files):
        name = row.file.removeprefix(f"{data}/")
        index = next(i for i, known in enumerate(kept.names) if name.endswith(known))
        assert row.predictions
        best = row.predictions[0].probability
        assert best == pytest.approx(expected[index], abs=1e-5)
        assert row.to_dict()["unsure"] == row.unsure == (best < classifier.threshold)


def test_calibrating_again_changes_probabilities_and_no_answer_or_weight(runs, tmp_path):
    _, (run, _) = runs
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    before, answered = read_sealed(copy), load(copy).predict(list(pictures(6, 16)[0]))
    calibration, scores = calibrate_model(copy, target_error=0.3)
    after = read_sealed(copy)
    assert after.card["temperature"] == before.card["temperature"]  # the same images
    assert after.card["threshold"] == calibration.threshold
    assert scores and scores.accuracy == run.scores.accuracy
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    again = load(copy).predict(list(pictures(6, 16)[0]))
    assert [row[0].label for row in again] == [row[0].label for row in answered]


def test_calibrating_again_takes_back_what_was_said_of_the_calibration_before(runs, tmp_path):
    _, (run, _) = runs
    shutil.copytree(run.path, tmp_path / "run")
    before = read_sealed(tmp_path / "run").card["scores"]["notes"]
    kept = read_predictions(tmp_path / "run" / "predictions" / "val.npz")
    wrong = np.where(np.ptp(kept.logits, axis=1) == np.ptp(kept.logits, axis=1).max(), 1, 0)
    labels = kept.logits.argmax(axis=1) ^ wrong  # the surest answer, and no other
    replace(kept, labels=labels).save(tmp_path / "run" / "predictions" / "val.npz")
    calibrate_model(tmp_path / "run", target_error=1e-6)
    (said,) = read_sealed(tmp_path / "run").card["calibration"]["notes"]
    assert "no threshold reaches" in said
    assert said in read_sealed(tmp_path / "run").card["scores"]["notes"]
    calibrate_model(tmp_path / "run", target_error=0.9)
    assert read_sealed(tmp_path / "run").card["scores"]["notes"] == [
        note for note in before if "no threshold" not in note
    ]


def test_other_images_can_calibrate_and_a_torn_run_is_not_touched(runs, tmp_path):
    data, (run, _) = runs
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    calibration, _ = calibrate_model(copy, data / "train")
    assert calibration.n == 600
    (copy / "predictions" / "test.npz").unlink()
    before = (copy / "model" / "model.json").read_bytes()
    with pytest.raises(ModelFileError, match="not beside it"):
        calibrate_model(copy)
    assert (copy / "model" / "model.json").read_bytes() == before


def test_models_together_answer_with_the_mean_of_their_probabilities(runs):
    _, both = runs
    models = [load(run.path) for run in both]
    scores = evaluate_together(models)
    kept = [read_predictions(run.path / "predictions/test.npz") for run in both]
    assert kept[0].names == kept[1].names
    members = [
        softmax(answers.logits, model.temperature)
        for answers, model in zip(kept, models, strict=True)
    ]
    mean = np.mean(members, axis=0)
    right = (mean.argmax(axis=1) == kept[0].labels).mean()
    assert scores.accuracy.value == pytest.approx(right)
    assert scores.log_loss.value == pytest.approx(
        -np.log(mean[np.arange(len(mean)), kept[0].labels]).mean(), rel=1e-3
    )
    assert any("2 models together; alone: run0" in note for note in scores.notes)


def test_mirrored_answers_are_the_mean_of_both_views(runs):
    _, (run, _) = runs
    plain, mirrored = load(run.path), load(run.path, tta="flip")
    batch = torch.randn(5, 3, 16, 16)
    assert isinstance(plain.engine, TorchEngine) and isinstance(mirrored.engine, Mirrored)
    expected = (plain.engine(batch) + plain.engine(batch.flip(3))) / 2
    torch.testing.assert_close(mirrored.engine(batch), expected)
    image = pictures(1, 16)[0][0]
    seen, reflected = mirrored.predict(image), mirrored.predict(image[:, ::-1].copy())
    assert seen[0].probability == pytest.approx(reflected[0].probability, abs=1e-6)


def test_what_is_a_model_and_what_is_data(runs, tmp_path):
    data, (run, _) = runs
    assert is_model(run.path) and is_model(run.path / "model")
    (data / "train" / "model").mkdir()
    assert not is_model(data / "train")  # a class of that name
    (data / "train" / "model").rmdir()
    assert not is_model(tmp_path / "nothing")


def test_a_temperature_that_is_none_is_refused(runs, tmp_path):
    from resnets.checkpoint import seal

    _, (run, _) = runs
    sealed = read_sealed(run.path)
    for wrong in ({"temperature": 0.0}, {"temperature": "warm"}, {"threshold": 1.5}):
        seal(tmp_path / "model", sealed.weights, sealed.card | wrong)
        with pytest.raises(ModelFileError, match=next(iter(wrong))):
            load(tmp_path)
    with pytest.raises(ConfigError, match="target error"):
        calibrate_model(run.path, target_error=0)


def test_the_commands(runs):
    data, both = runs
    calibrated = command("calibrate", both[0].path, "--target-error", 0.25)
    text, _ = calibrated.communicate(timeout=120)
    assert calibrated.returncode == 0, text
    assert "fitted on 120 images of val" in text and "calibration error" in text
    assert f"next: resnets report {both[0].path}" in text, "the report shows the one before"
    together = command("evaluate", both[0].path, both[1].path, data, "--tta", "flip")
    text, _ = together.communicate(timeout=120)
    assert together.returncode == 0 and "2 models together" in text, text


def test_without_validation_images_nothing_is_calibrated(runs, tmp_path):
    data, _ = runs
    run = fit(data, model="resnet20", epochs=1, validation=0, out=tmp_path / "run")
    card = read_sealed(run.path).card
    assert (card["temperature"], card["threshold"], card["calibration"]) == (1.0, None, None)
    assert replace(run.scores, notes=()) == replace(run.classifier.evaluate(), notes=())
