"""Scores are right, unreadable images are named, an answer depends on nothing but its image."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import sklearn.metrics
import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.sources import ArrayImages, Dataset, FileImages, ListImages, Split
from resnets.engines.pytorch import TorchEngine
from resnets.errors import CannotGoOn, DataError, UnreadableImage
from resnets.evaluation import (
    Scores,
    evaluate,
    match_classes,
    predict_logits,
    score,
    stream_logits,
)
from resnets.metrics import softmax
from resnets.models import create_model

SMALL = Preprocess(input_size=(3, 32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
CLASSES = ("daisy", "rose", "tulip")


def by_colour(batch: Tensor) -> Tensor:
    """An engine that calls red images class 0, green ones 1 and blue ones 2."""
    return 3 * batch.mean(dim=(2, 3))


def plain(colour: int, height: int = 32, width: int = 32) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., colour] = 200
    return image


def split_of(colours: Sequence[int], labels: Sequence[int]) -> Split:
    images = ArrayImages(np.stack([plain(colour) for colour in colours]))
    names = tuple(f"test/{index:05}" for index in range(len(labels)))
    return Split(images, np.array(labels), names)


def draw(n: int, classes: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(classes, 0.5), n)
    return probabilities, generator.integers(0, classes, n), [f"{i}.jpg" for i in range(n)]


# Scores -----------------------------------------------------------------------------------------


def test_scores_equal_scikit_learn() -> None:
    probabilities, labels, names = draw(300, 20)
    classes = [f"kind {index}" for index in range(20)]
    scores = score(probabilities, labels, names, classes)
    predicted = probabilities.argmax(axis=1)
    assert scores.accuracy.value == sklearn.metrics.accuracy_score(labels, predicted)
    assert scores.top5
    assert scores.top5.value == pytest.approx(
        sklearn.metrics.top_k_accuracy_score(labels, probabilities, k=5)
    )
    assert scores.log_loss.value == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    assert np.array_equal(scores.confusion, sklearn.metrics.confusion_matrix(labels, predicted))
    report = sklearn.metrics.classification_report(
        labels, predicted, target_names=classes, output_dict=True, zero_division=0
    )
    for row in scores.per_class:
        theirs = report[row.label]
        ours = (row.precision, row.recall, row.f1, row.support)
        assert ours == pytest.approx(
            [theirs[key] for key in ("precision", "recall", "f1-score", "support")]
        )


def test_every_headline_lies_in_its_interval() -> None:
    scores = score(*draw(300, 20), [str(index) for index in range(20)])
    for name in ("accuracy", "top5", "log_loss", "brier", "calibration_error"):
        headline = getattr(scores, name)
        assert headline.low < headline.value < headline.high
        assert headline.n == 300
        assert headline.interval == ("wilson" if name in ("accuracy", "top5") else "bootstrap")


@pytest.mark.parametrize(("classes", "there"), [(10, False), (11, True)])
def test_top5_is_told_only_of_more_than_ten_classes(classes: int, there: bool) -> None:
    scores = score(*draw(50, classes), [str(index) for index in range(classes)])
    assert (scores.top5 is not None) == there


def test_mistakes_are_the_most_confident_wrong_answers_in_order() -> None:
    probabilities, labels, names = draw(200, 4)
    scores = score(probabilities, labels, names, ["a", "b", "c", "d"])
    wrong = probabilities.argmax(axis=1) != labels
    strongest = np.sort(probabilities.max(axis=1)[wrong])[::-1][:20]
    assert [mistake.probability for mistake in scores.mistakes] == strongest.tolist()
    for mistake in scores.mistakes:
        index = names.index(mistake.name)
        assert mistake.label == "abcd"[labels[index]]
        assert mistake.predicted == "abcd"[probabilities[index].argmax()]


def test_scores_survive_json_and_carry_the_promised_keys() -> None:
    scores = score(*draw(60, 12), [str(index) for index in range(12)], notes=["a note"])
    values = json.loads(json.dumps(scores.to_dict()))
    assert Scores.from_dict(values) == scores
    promised = "accuracy top5 per_class log_loss brier calibration_error confusion"
    assert set(promised.split()) <= values.keys()
    assert {"value", "low", "high", "n"} <= values["accuracy"].keys()


def test_the_same_answers_give_the_same_scores() -> None:
    drawn = draw(60, 3)
    assert score(*drawn, CLASSES) == score(*drawn, CLASSES)


# Evaluating -------------------------------------------------------------------------------------


def test_a_split_is_scored_image_by_image() -> None:
    split = split_of([0, 1, 2, 2, 1], [0, 1, 2, 2, 0])
    seen: list[tuple[int, int]] = []
    scores = evaluate(
        by_colour,
        split,
        SMALL,
        CLASSES,
        name="val",
        data="colours",
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (scores.split, scores.data, scores.n) == ("val", "colours", 5)
    assert scores.accuracy.value == 4 / 5
    assert scores.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 2))
    assert [mistake.name for mistake in scores.mistakes] == ["test/00004"]
    assert seen == [(done, 5) for done in range(1, 6)]


def write_files(folder: Path, *, torn: Sequence[int] = ()) -> Split:
    """Nine photos of three colours, three shapes; the ones in ``torn`` cannot be read."""
    paths = []
    for index in range(9):
        paths.append(f"{CLASSES[index % 3]}/{index}.png")
        path = folder / paths[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(plain(index % 3, 40 + index // 3, 50)).save(path)
        if index in torn:
            path.write_bytes(b"<html>no picture</html>")
    return Split(FileImages(folder, tuple(paths)), np.arange(9) % 3, tuple(paths))


def test_an_unreadable_image_is_named_and_left_out(tmp_path: Path) -> None:
    split = write_files(tmp_path, torn=[1, 5])
    scores = evaluate(by_colour, split, SMALL, CLASSES, batch_size=2)
    assert [item.path for item in scores.left_out] == ["rose/1.png", "tulip/5.png"]
    for item in scores.left_out:
        assert "HTML" in item.reason
        assert str(tmp_path) not in item.reason
    assert scores.n == scores.accuracy.n == 7
    assert scores.accuracy.value == 1
    assert [row.support for row in scores.per_class] == [3, 2, 2]


def test_a_vanished_file_is_left_out_too(tmp_path: Path) -> None:
    split = write_files(tmp_path)
    (tmp_path / split.names[8]).unlink()
    (left_out,) = evaluate(by_colour, split, SMALL, CLASSES).left_out
    assert left_out.path == split.names[8]


def test_nothing_left_to_score_is_an_error_with_the_reason(tmp_path: Path) -> None:
    split = write_files(tmp_path, torn=range(9))
    with pytest.raises(DataError, match=r"test has no image to score; daisy/0.png .*HTML"):
        evaluate(by_colour, split, SMALL, CLASSES)
    with pytest.raises(DataError, match="val has no image to score"):
        evaluate(by_colour, split.take(np.arange(0)), SMALL, CLASSES, name="val")


# Answers ----------------------------------------------------------------------------------------


def noise(n: int, seed: int = 0, *, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    return TorchEngine(create_model("resnet20", num_classes=3, seed=0))


def answers(engine: TorchEngine, images: ArrayImages | ListImages, batch_size: int) -> np.ndarray:
    rows = list(predict_logits(engine, images, SMALL, batch_size=batch_size))
    assert not any(isinstance(row, UnreadableImage) for row in rows)
    return softmax(np.stack([np.asarray(row) for row in rows]))


def test_probabilities_are_the_softmax_of_the_logits(engine: TorchEngine) -> None:
    images = noise(4)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = engine.model((pixels - 0.5) / 0.25)
    ours = answers(engine, ArrayImages(images), 4)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, torch.softmax(logits, 1).numpy(), atol=1e-6)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-15)


@pytest.mark.parametrize("side", [32, 57])
def test_an_answer_does_not_depend_on_who_shares_the_batch(engine: TorchEngine, side: int) -> None:
    images = ArrayImages(noise(24, side=side))
    alone = answers(engine, images, 1)
    for batch_size in (2, 7, 24):
        np.testing.assert_allclose(answers(engine, images, batch_size), alone, atol=1e-5)
    turned = answers(engine, images.take(np.arange(24)[::-1]), 24)[::-1]
    np.testing.assert_allclose(turned, alone, atol=1e-5)


def test_images_in_one_array_answer_as_images_one_by_one(engine: TorchEngine) -> None:
    images = noise(10, side=45)
    together = answers(engine, ArrayImages(images), 8)
    np.testing.assert_allclose(answers(engine, ListImages(list(images)), 8), together, atol=1e-5)


def test_grey_and_read_only_arrays_are_taken(engine: TorchEngine) -> None:
    grey = noise(3)[..., :1]
    grey.flags.writeable = False
    expected = answers(engine, ArrayImages(np.repeat(grey, 3, axis=3)), 3)
    np.testing.assert_allclose(answers(engine, ArrayImages(grey), 3), expected, atol=1e-5)


def test_the_mean_image_is_subtracted_in_both_ways(engine: TorchEngine) -> None:
    preprocess = replace(SMALL, mean_image=True)
    mean_image = torch.rand(3, 32, 32)
    images = noise(3)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits = engine.model((pixels - 0.5) / 0.25 - mean_image)
    for source in (ArrayImages(images), ListImages(list(images))):
        rows = predict_logits(engine, source, preprocess, mean_image=mean_image)
        ours = np.stack([np.asarray(row) for row in rows])
        np.testing.assert_allclose(ours, logits.numpy(), atol=1e-4)


@pytest.mark.parametrize("bad", [[], [0], [3], [0, 1, 2], [6], list(range(7))])
def test_answers_come_in_order_around_the_unreadable(bad: list[int]) -> None:
    def prepare(index: int) -> Tensor:
        if index in bad:
            raise UnreadableImage(f"{index}: torn", fix="replace it")
        return torch.full((3, 2, 2), float(index))

    rows = stream_logits(lambda batch: batch[:, :2, 0, 0], range(7), prepare, batch_size=3)
    told = [row.problem if isinstance(row, UnreadableImage) else "read" for row in rows]
    assert told == [f"{index}: torn" if index in bad else "read" for index in range(7)]


def test_few_images_are_held_at_a_time_and_no_thread_is_left() -> None:
    taken, answered, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken, most
        for index in range(500):
            taken += 1
            most = max(most, taken - answered)
            yield index

    before = threading.active_count()
    for _ in stream_logits(
        lambda batch: batch[:, :2, 0, 0], items(), lambda _: torch.zeros(3, 1, 1), batch_size=8
    ):
        answered += 1
    assert answered == 500
    assert most <= 3 * 8
    assert threading.active_count() == before


def test_a_stream_that_is_dropped_leaves_no_thread() -> None:
    before = threading.active_count()
    stream = stream_logits(
        lambda batch: batch[:, :2, 0, 0], range(500), lambda _: torch.zeros(3, 1, 1), batch_size=8
    )
    next(stream)
    del stream
    assert threading.active_count() == before


def test_other_errors_end_the_stream() -> None:
    def prepare(index: int) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stream_logits(by_colour, range(3), prepare))


def test_an_answer_that_is_not_finite_stops_the_evaluation() -> None:
    with pytest.raises(CannotGoOn, match="not a finite number"):
        evaluate(lambda batch: by_colour(batch) * torch.nan, split_of([0], [0]), SMALL, CLASSES)


# Engines ----------------------------------------------------------------------------------------


def test_the_engine_answers_as_the_module_in_eval_mode() -> None:
    model = create_model("resnet20", num_classes=3, seed=1)
    model.train()
    batch = torch.randn(5, 3, 32, 32)
    logits = TorchEngine(model)(batch)
    statistics = model.state_dict()["bn1.running_mean"].clone()
    with torch.no_grad():
        expected = model.eval()(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(statistics, torch.zeros(16))


def test_bf16_is_used_only_when_asked_for() -> None:
    model = create_model("resnet20", num_classes=0, seed=1)  # the head would be fp32 in any case
    batch = torch.randn(5, 3, 32, 32)
    exact, rough = TorchEngine(model)(batch), TorchEngine(model, precision="bf16")(batch)
    assert rough.dtype == torch.float32
    assert torch.equal(rough, rough.bfloat16().float())  # eight bits of precision
    assert not torch.equal(exact, exact.bfloat16().float())
    torch.testing.assert_close(rough, exact, atol=0.2, rtol=0.1)


# Classes by name --------------------------------------------------------------------------------


def dataset_of(classes: Sequence[str], labels: Sequence[int]) -> Dataset:
    split = split_of([0] * len(labels), labels)
    return Dataset("photos", "photos", tuple(classes), {"test": split})


def test_labels_are_matched_by_name_not_by_position() -> None:
    matched = match_classes(dataset_of(["tulip", "daisy", "rose"], [0, 1, 2, 0]), CLASSES)
    assert matched.classes == CLASSES
    assert matched.splits["test"].labels.tolist() == [2, 0, 1, 2]
    assert matched.splits["test"].labels.dtype == np.int64
    assert matched.notes == ()


def test_a_class_the_data_lack_is_a_note() -> None:
    matched = match_classes(dataset_of(["tulip", "daisy"], [0, 1]), CLASSES)
    assert matched.splits["test"].labels.tolist() == [2, 0]
    assert matched.notes == ("test has no image of 'rose'",)
    assert match_classes(matched, CLASSES).notes == matched.notes


def test_a_class_the_model_lacks_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DataError, match="'tulips'") as caught:
        match_classes(dataset_of(["daisy", "tulips"], [0, 1]), CLASSES)
    assert "did you mean 'tulip'?" in caught.value.fix


def test_a_foreign_class_without_images_does_no_harm() -> None:
    matched = match_classes(dataset_of(["weed", "daisy", "rose", "tulip"], [1, 2, 3]), CLASSES)
    assert matched.splits["test"].labels.tolist() == [0, 1, 2]


def test_an_accent_written_as_macos_does_is_the_same_name() -> None:
    matched = match_classes(dataset_of(["cafe\u0301", "tea"], [0, 1]), ["tea", "caf\u00e9"])
    assert matched.splits["test"].labels.tolist() == [1, 0]
