"""A sealed model answers the same for every kind of source, and one bad file stops no other."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.data import Dataset, from_arrays, open_dataset
from resnets.data.manifest import manifest
from resnets.data.transforms import preprocess_image
from resnets.errors import ConfigError, DataError, ModelFileError, UnreadableImage
from resnets.models import create_model
from resnets.prediction import Classifier, FilePrediction, find_images, load

CLASSES = ["daisy", "rose", "tulip"]
PREPROCESS = Preprocess(
    input_size=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3), crop_pct=0.875
)


def card(**changes: Any) -> dict[str, Any]:
    values = {
        "architecture": "resnet20",
        "options": {},
        "num_classes": 3,
        "label_names": CLASSES,
        "preprocess": PREPROCESS.to_dict(),
    }
    return values | changes


def weights_of(classes: int = 3, in_channels: int = 3) -> dict[str, Tensor]:
    model = create_model("resnet20", num_classes=classes, in_channels=in_channels, seed=0)
    return model.state_dict()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    seal(folder, weights_of(), card())
    return folder


@pytest.fixture(scope="module")
def classifier(sealed: Path) -> Classifier:
    return load(sealed)


def photo(seed: int = 0, height: int = 48, width: int = 60) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((width, height)))


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
    return path


# One image, many kinds of source ----------------------------------------------------------------


def test_every_kind_of_source_gives_the_same_answer(classifier: Classifier, tmp_path: Path) -> None:
    image = photo()
    path = write(tmp_path / "photo.png", image)
    expected = classifier.predict(image, top=3)
    assert sum(each.probability for each in expected) == pytest.approx(1)
    for source in (path, str(path), path.read_bytes(), PIL.Image.open(path), image[::-1][::-1]):
        assert classifier.predict(source, top=3) == expected


def test_answers_are_those_of_the_network_ranked(classifier: Classifier) -> None:
    image = photo(3)
    model = create_model("resnet20", num_classes=3, seed=0).eval()
    with torch.no_grad():
        probabilities = torch.softmax(model(preprocess_image(image, PREPROCESS)[None]), 1)[0]
    ranked = classifier.predict(image, top=3)
    order = probabilities.argsort(descending=True).tolist()
    assert [each.label for each in ranked] == [CLASSES[index] for index in order]
    for each, index in zip(ranked, order, strict=True):
        assert each.probability == pytest.approx(float(probabilities[index]), abs=1e-5)


def test_many_images_are_answered_in_order(classifier: Classifier, tmp_path: Path) -> None:
    images = [photo(seed, 40 + seed) for seed in range(5)]
    one_by_one = [classifier.predict(image, top=3) for image in images]
    mixed = [images[0], write(tmp_path / "1.png", images[1]), PIL.Image.fromarray(images[2])]
    for sources in (images, tuple(images), iter(images), [*mixed, *images[3:]]):
        together = classifier.predict(sources, top=3)
        for ours, alone in zip(together, one_by_one, strict=True):
            assert [each.label for each in ours] == [each.label for each in alone]
            for a, b in zip(ours, alone, strict=True):
                assert a.probability == pytest.approx(b.probability, abs=1e-5)
    assert classifier.predict([]) == []


def test_a_photo_on_its_side_is_turned_upright(classifier: Classifier) -> None:
    image = PIL.Image.fromarray(photo())
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    file = io.BytesIO()
    image.transpose(PIL.Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    assert classifier.predict(file.getvalue(), top=3) == classifier.predict(photo(), top=3)


def test_more_labels_than_classes_are_all_of_them(classifier: Classifier) -> None:
    assert len(classifier.predict(photo(), top=99)) == 3
    assert len(classifier.predict(photo())) == 1
    with pytest.raises(ConfigError, match="top=0"):
        classifier.predict(photo(), top=0)


WRONG: dict[str, Callable[[], Any]] = {
    "float array": lambda: photo() / 255,
    "grey array": lambda: photo()[..., 0],
    "batch array": lambda: photo()[None],
    "channels first": lambda: photo().transpose(2, 0, 1),
    "empty array": lambda: photo()[:0],
    "tensor": lambda: torch.zeros(3, 32, 32),
    "dict": lambda: {"image": photo()},
    "None": lambda: None,
    "missing file": lambda: "no/such/daisy.jpg",
    "list with a number": lambda: [photo(), 3],
}


@pytest.mark.parametrize("source", WRONG.values(), ids=WRONG)
def test_a_wrong_source_is_answered_with_what_is_accepted(
    classifier: Classifier, source: Callable[[], Any]
) -> None:
    with pytest.raises(DataError) as caught:
        classifier.predict(source())
    assert "path, bytes, a PIL image or an (H, W, 3) uint8 RGB array" in caught.value.fix


def test_a_folder_is_answered_with_the_way_to_predict_one(
    classifier: Classifier, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="is a folder") as caught:
        classifier.predict(tmp_path)
    assert "find_images" in caught.value.fix


def test_the_first_unreadable_image_is_named(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImage, match="torn.jpg"):
        classifier.predict([photo(), tmp_path / "torn.jpg"])


# Files ------------------------------------------------------------------------------------------


def test_one_bad_file_does_not_stop_the_others(classifier: Classifier, tmp_path: Path) -> None:
    good = [write(tmp_path / f"{index}.png", photo(index)) for index in range(4)]
    empty, missing = tmp_path / "empty.jpg", tmp_path / "missing.jpg"
    empty.touch()
    paths = [good[0], empty, good[1], good[2], missing, good[3]]
    rows = list(classifier.predict_files(paths, top=2, batch_size=2))
    assert [row.file for row in rows] == [str(path) for path in paths]
    assert [row.error is None for row in rows] == [True, False, True, True, False, True]
    assert rows[1].error == "is empty (0 bytes)"
    assert rows[1].to_dict() == {"file": str(empty), "error": "is empty (0 bytes)"}
    assert rows[1].to_csv() == [[str(empty), "", "", "", "is empty (0 bytes)", ""]]
    for row, path in zip((rows[0], rows[5]), (good[0], good[3]), strict=True):
        alone = classifier.predict(path, top=2)
        assert row.predictions
        assert [each.label for each in row.predictions] == [each.label for each in alone]
        assert row.predictions[0].probability == pytest.approx(alone[0].probability, abs=1e-5)
        assert row.to_csv()[1][:3] == [str(path), 2, alone[1].label]


def test_files_are_read_as_rows_are_taken(classifier: Classifier, tmp_path: Path) -> None:
    path = write(tmp_path / "photo.png", photo())
    taken = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield path

    rows = classifier.predict_files(paths(), batch_size=4)
    for _ in range(20):
        assert isinstance(next(rows), FilePrediction)
    assert taken < 100


def test_folders_are_walked_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("10.jpg", "2.JPG", "b/1.png", "a/3.webp", "a/c/1.jpg", "1.jpeg"):
        write(tmp_path / name.lower().replace("webp", "png"), photo()).rename(tmp_path / name)
    for name in (".DS_Store", "Thumbs.db", "notes.txt", ".hidden.jpg", "._1.jpg"):
        (tmp_path / name).touch()
    for name in (".ipynb_checkpoints/1.jpg", ".git/2.jpg"):
        write(tmp_path / name, photo())
    found = [str(path.relative_to(tmp_path)) for path in find_images([tmp_path])]
    expected = ["1.jpeg", "2.JPG", "10.jpg", "a/3.webp", "a/c/1.jpg", "b/1.png"]
    assert found == [str(Path(name)) for name in expected]


def test_named_files_are_kept_as_given_and_in_order(tmp_path: Path) -> None:
    write(tmp_path / "folder/1.jpg", photo())
    named = [tmp_path / "missing.jpg", tmp_path / "folder", tmp_path / "photo.unknown"]
    assert find_images(named) == [named[0], tmp_path / "folder/1.jpg", named[2]]


def test_a_folder_without_an_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="no image in the folder") as caught:
        find_images([tmp_path])
    assert ".webp" in caught.value.fix


def test_links_in_a_circle_are_walked_once(tmp_path: Path) -> None:
    write(tmp_path / "a/1.jpg", photo())
    (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
    assert find_images([tmp_path]) == [tmp_path / "a/1.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_answered_and_comes_back_from_json(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = write(tmp_path / "photo.png", photo())
    odd = os.fsencode(tmp_path) + b"/caf\xe9\n[red].png"
    path.rename(os.fsdecode(odd))
    (row,) = classifier.predict_files(find_images([tmp_path]))
    assert row.predictions
    assert os.fsencode(json.loads(json.dumps(row.to_dict()))["file"]) == odd
    assert row.to_csv()[0][0] == os.fsdecode(odd)


# Loading ----------------------------------------------------------------------------------------


def test_a_run_folder_opens_as_its_model(sealed: Path, classifier: Classifier) -> None:
    again = load(sealed.parent)
    assert again.classes == tuple(CLASSES)
    assert again.preprocess == PREPROCESS
    assert again.card["architecture"] == "resnet20"
    assert again.predict(photo(), top=3) == classifier.predict(photo(), top=3)


def test_loading_draws_no_random_number(sealed: Path) -> None:
    before = torch.get_rng_state()
    load(sealed)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mean_image_and_grey_input_are_carried_by_the_model(tmp_path: Path) -> None:
    grey = Preprocess(input_size=(1, 32, 32), mean=(0.5,), std=(0.25,), mean_image=True)
    mean_image = torch.rand(1, 32, 32)
    weights = weights_of(in_channels=1)
    folder = tmp_path / "model"
    named = weights | {"preprocess.mean_image": mean_image}
    seal(folder, named, card(preprocess=grey.to_dict()))
    model = create_model("resnet20", num_classes=3, in_channels=1)
    model.load_state_dict(weights)
    with torch.no_grad():
        batch = preprocess_image(photo(), grey, mean_image)[None]
        probability = torch.softmax(model.eval()(batch), 1).max()
    (best,) = load(folder).predict(photo())
    assert best.probability == pytest.approx(float(probability), abs=1e-5)


def without(name: str) -> dict[str, Tensor]:
    weights = weights_of()
    del weights[name]
    return weights


UNFIT: dict[str, tuple[Callable[[], dict[str, Tensor]], dict[str, Any], str]] = {
    "a tensor missing": (lambda: without("fc.bias"), {}, "fc.bias: nothing instead of"),
    "a tensor too many": (
        lambda: weights_of() | {"extra": torch.zeros(2)},
        {},
        r"extra: float32 \(2,\) instead of nothing",
    ),
    "other classes": (lambda: weights_of(4), {}, r"fc.weight: float32 \(4, 64\) instead of"),
    "another dtype": (
        lambda: weights_of() | {"fc.bias": torch.zeros(3, dtype=torch.float64)},
        {},
        "fc.bias: float64",
    ),
    "not finite": (
        lambda: weights_of() | {"fc.bias": torch.tensor([0, 0, torch.nan])},
        {},
        "fc.bias holds impossible numbers",
    ),
    "a negative variance": (
        lambda: weights_of() | {"bn1.running_var": -torch.ones(16)},
        {},
        "bn1.running_var holds impossible numbers",
    ),
    "no mean image": (
        weights_of,
        {"preprocess": PREPROCESS.to_dict() | {"mean_image": True}},
        "preprocess.mean_image: nothing instead of",
    ),
    "unknown network": (weights_of, {"architecture": "resnet21"}, "no model named 'resnet21'"),
    "unknown option": (weights_of, {"options": {"colour": 1}}, "colour"),
    "unknown preprocessing": (weights_of, {"preprocess": {"zoom": 2}}, "unknown setting 'zoom'"),
    "no class names": (weights_of, {"label_names": None}, "NoneType"),
}


@pytest.mark.parametrize(("weights", "changes", "told"), UNFIT.values(), ids=UNFIT)
def test_a_model_that_does_not_fit_together_is_refused(
    tmp_path: Path,
    weights: Callable[[], dict[str, Tensor]],
    changes: dict[str, Any],
    told: str,
) -> None:
    seal(tmp_path / "model", weights(), card(**changes))
    with pytest.raises(ModelFileError, match=told):
        load(tmp_path)


def test_of_many_differences_a_few_are_told(tmp_path: Path) -> None:
    seal(tmp_path / "model", {"x": torch.zeros(1)}, card())
    with pytest.raises(ModelFileError, match="conv1.weight.*; and .* more"):
        load(tmp_path)


# Evaluating -------------------------------------------------------------------------------------


def photos(classes: list[str] = CLASSES) -> Dataset:
    """Six photos to test on, of daisy, rose, tulip, daisy, ..., whatever the order of classes."""
    images = np.stack([photo(seed) for seed in range(6)])
    labels = np.array([classes.index(CLASSES[seed % 3]) for seed in range(6)])
    return from_arrays((images, labels), test=(images, labels), classes=classes)


def test_evaluation_agrees_with_prediction(classifier: Classifier) -> None:
    scores = classifier.evaluate(photos())
    labels = [classifier.predict(photo(seed))[0].label for seed in range(6)]
    right = [label == CLASSES[seed % 3] for seed, label in enumerate(labels)]
    assert scores.n == 6
    assert scores.accuracy.value == pytest.approx(np.mean(right))
    assert scores.split == "test"


def test_classes_in_another_order_give_the_same_scores(classifier: Classifier) -> None:
    turned, straight = photos(["tulip", "daisy", "rose"]), photos()
    assert turned.splits["test"].labels.tolist() != straight.splits["test"].labels.tolist()
    assert classifier.evaluate(turned) == classifier.evaluate(straight)


def test_a_folder_is_scored_with_its_unreadable_files_named(
    classifier: Classifier, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        for index in range(6):
            write(tmp_path / split / CLASSES[index % 3] / f"{index}.png", photo(index))
    (tmp_path / "test/rose/torn.png").write_bytes(b"")
    scores = classifier.evaluate(tmp_path)
    assert scores.n == 6
    assert [item.path for item in scores.left_out] == ["test/rose/torn.png"]
    assert [row.support for row in scores.per_class] == [2, 2, 2]


def test_a_split_there_is_not_is_answered_with_those_there_are(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="no split 'val'") as caught:
        classifier.evaluate(photos(), split="val")
    assert "train, test" in caught.value.fix


def test_without_data_the_run_is_scored_on_its_own(sealed: Path, tmp_path: Path) -> None:
    for index in range(18):
        write(tmp_path / "photos" / CLASSES[index % 3] / f"{index}.png", photo(index))
    dataset = open_dataset(tmp_path / "photos")
    run = tmp_path / "run"
    shutil.copytree(sealed, run / "model")
    recorded = manifest(dataset, validation=None, data_dir=None, asked={})
    (run / "data.json").write_text(json.dumps(recorded), encoding="utf-8")
    for split in ("val", "test"):
        assert load(run).evaluate(split=split) == load(run).evaluate(dataset, split=split)


def test_without_data_and_a_run_folder_the_data_is_asked_for(classifier: Classifier) -> None:
    with pytest.raises(DataError, match=r"data\.json") as caught:
        classifier.evaluate()
    assert "name the data" in caught.value.fix


def test_predicting_never_imports_torchvision(sealed: Path) -> None:
    code = f"""
import sys
import numpy
from resnets.prediction import load
load({str(sealed)!r}).predict(numpy.zeros((40, 40, 3), numpy.uint8))
assert "torchvision" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
