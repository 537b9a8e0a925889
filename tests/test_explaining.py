"""`resnets explain` and `resnets embed` as a user meets them."""

import contextlib
import csv
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from typer.testing import CliRunner

from patches import CLASSES, PREPROCESS, batch_of, patched, trained
from resnets.checkpoint import seal
from resnets.cli.app import app
from resnets.data import from_arrays
from resnets.errors import ConfigError, DataError
from resnets.explanation import Embedding, PictureNames
from resnets.prediction import Classifier, load


class Answer(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path) -> Answer:
    """The command in this process: a new one takes seconds to import torch."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, [*map(str, arguments)])
    return Answer(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed model and class folders of patches; one file is no image."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("desk")
    card = {
        "architecture": "resnet20",
        "options": {},
        "num_classes": len(CLASSES),
        "label_names": list(CLASSES),
        "preprocess": PREPROCESS.to_dict(),
    }
    seal(root / "run" / "model", trained().state_dict(), card)
    images, labels, _ = patched(12, seed=4)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "photos" / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    (root / "torn.jpg").write_text("<html>not found</html>")
    (root / "empty").mkdir()
    return root


@pytest.fixture(scope="module")
def classifier(desk: Path) -> Classifier:
    return load(desk / "run")


# explain ------------------------------------------------------------------------------------------


def test_each_image_gets_its_picture_and_a_torn_one_its_reason(desk: Path) -> None:
    files = ["photos/red/0.png", "torn.jpg", "nowhere.png", "photos/green/1.png"]
    done = run("explain", "run", *files, "--out", "why", "--json", "--check", cwd=desk)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == files
    assert "web page" in rows[1]["error"] and rows[2]["error"] == "does not exist"
    for row, label in ((rows[0], "red"), (rows[3], "green")):
        assert row["at"] == "layer3" and row["method"] == "grad-cam"
        first, second = row["classes"]
        assert first["label"] == label and second["label"] != label
        assert 0 <= first["deletion"] <= 1 and first["passed"]
        with Image.open(desk / row["picture"]) as drawn:
            assert drawn.mode == "RGB" and drawn.width > 3 * 224


def test_the_same_command_again_writes_the_same(desk: Path) -> None:
    told = []
    for _ in range(2):
        done = run("explain", "run", "photos/red", "--out", "twice", "--at", "layer2", cwd=desk)
        assert done.returncode == 0, done.stderr
        pictures = sorted((desk / "twice").iterdir())
        told.append((done.stdout, [picture.read_bytes() for picture in pictures]))
    assert told[0] == told[1]
    assert "red" in told[0][0] and "deletion" in told[0][0] and len(told[0][1]) == 3


def test_a_class_is_asked_for_by_name(desk: Path, classifier: Classifier) -> None:
    done = run(
        *("explain", "run", "photos/red/0.png", "--out", "asked"),
        *("--class", "blue", "--method", "occlusion", "--json"),
        cwd=desk,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert [each["label"] for each in row["classes"]] == ["blue", "red"]
    assert Path(row["picture"]).name == "0-occlusion-blue.png"
    again = classifier.explain(desk / "photos/red/0.png", method="occlusion", label="blue")
    for told, found in zip(row["classes"], again.to_dict()["classes"], strict=True):
        assert told["label"] == found["label"]
        for key in ("probability", "deletion", "insertion"):
            assert told[key] == pytest.approx(found[key], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["photos", "--class", "gren"], "did you mean 'green'?"),
        (["photos", "--at", "layr3"], "did you mean 'layer3'?"),
        (["photos", "--at", "pooled"], "pooled has no map"),
        (["photos", "--method", "gradcam"], "did you mean 'grad-cam'?"),
        (["photos", "--method", "occlusion", "--at", "layer3"], "occlusion looks at the image"),
        (["photos", "--receptive-field", "layer3:99,0"], "layer3 has no unit 99,0"),
        (["photos", "--activations", "logits"], "logits has no map"),
        (["photos", "--filters", "layr1"], "did you mean 'layer1'?"),
        (["empty"], "no image in the folder empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_before_anything_is_made(
    desk: Path, arguments: list[str], told: str
) -> None:
    done = run("explain", "run", *arguments, "--out", "nothing", cwd=desk)
    assert done.returncode == 2 and told in done.stderr
    problem, fix = done.stderr.strip().splitlines()
    assert problem.startswith("resnets: ") and fix.startswith("  fix: ")
    assert not (desk / "nothing").exists()


def test_a_folder_that_is_a_file_cannot_be_written_to(desk: Path) -> None:
    done = run("explain", "run", "photos/red/0.png", "--out", "torn.jpg", cwd=desk)
    assert done.returncode == 3 and "torn.jpg: File exists" in done.stderr


def test_names_of_pictures_are_safe_and_no_two_alike() -> None:
    names = PictureNames(Path("out"), "grad-cam-a/b")
    files = [Path(name) for name in ("a/1.jpg", "b/1.jpg", "b/1.PNG", "1-2.jpg", "c/..jpg")]
    files += [Path("é\n:*?<script>.jpg"), Path("\udcff.jpg"), Path("x" * 300 + ".jpg")]
    files += [Path("IMG.jpg"), Path("img.jpg")]
    given = [names.of(file) for file in files]
    assert given == [names.of(file) for file in files]
    assert len({path.name.casefold() for path in given}) == len(files)
    assert given[0] == Path("out/1-grad-cam-a_b.png")
    for path in given:
        assert path.parent == Path("out") and len(path.name) < 150
        assert re.fullmatch(r"[A-Za-z0-9_][\w.-]*\.png", path.name, re.ASCII)


# embed --------------------------------------------------------------------------------------------


def test_features_are_what_the_head_reads(desk: Path, classifier: Classifier) -> None:
    images, labels, _ = patched(12, seed=4)
    files = {int(path.stem): path for path in (desk / "photos").rglob("*.png")}
    found = classifier.embed(files[number] for number in range(12))
    assert found.labels == tuple(CLASSES[label] for label in labels)
    model = classifier.model
    with torch.no_grad():
        logits = model.get_submodule("fc")(torch.from_numpy(found.features))
        torch.testing.assert_close(logits, model(batch_of(images)), rtol=1e-4, atol=1e-4)


def test_a_data_set_is_embedded_split_after_split(classifier: Classifier) -> None:
    images, labels, _ = patched(8, seed=4)
    data = from_arrays((images, labels), test=(images[:4], labels[:4]), classes=CLASSES)
    seen = []
    found = classifier.embed(data, progress=lambda: seen.append(1))
    assert found.features.shape == (12, 64) and len(seen) == 12
    np.testing.assert_allclose(found.features[:4], found.features[8:], atol=1e-5)
    assert found.names[8:] == data.splits["test"].names


def test_neighbours_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2_100, 16)).astype(np.float32)  # more than two blocks
    names = tuple(map(str, range(2_100)))
    embedding = Embedding(names=names, labels=("",) * 2_100, features=features)
    distances, rows = (
        NearestNeighbors(n_neighbors=5, metric="cosine").fit(features).kneighbors(None, 4)
    )
    found = embedding.neighbours(4)
    assert [[each.row for each in near] for near in found] == rows.tolist()
    similarities = [[each.similarity for each in near] for near in found]
    np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)


def test_neighbours_of_few_images_and_of_empty_features() -> None:
    features = np.array([[1, 0], [2, 0], [0, 0]], np.float32)
    embedding = Embedding(names=("a", "b", "c"), labels=("", "", ""), features=features)
    assert embedding.neighbours(9) == [[(1, 1.0), (2, 0.0)], [(0, 1.0), (2, 0.0)], [(0, 0), (1, 0)]]
    alone = Embedding(names=("a",), labels=("",), features=features[:1])
    assert alone.neighbours(1) == [[]]
    with pytest.raises(ConfigError, match="0 neighbours"):
        alone.neighbours(0)


def test_embed_writes_both_kinds_and_prints_neighbours(desk: Path) -> None:
    command = ("embed", "run", "photos", "torn.jpg", "--out")
    done = run(*command, "made/features.npz", "--neighbours", 2, "--json", cwd=desk)
    assert done.returncode == 1
    assert "left out: torn.jpg: is a web page" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 12 and all(len(row["neighbours"]) == 2 for row in rows)
    right = [near["label"] == row["label"] for row in rows for near in row["neighbours"]]
    assert np.mean(right) > 0.9
    table = run(*command, "made/features.csv", cwd=desk)
    assert table.returncode == 1 and "12 images, 64 features each" in table.stdout
    with np.load(desk / "made/features.npz", allow_pickle=False) as kept:
        with open(desk / "made/features.csv", newline="") as file:
            lines = list(csv.DictReader(file))
        assert [line["name"] for line in lines] == kept["names"].tolist()
        assert [line["label"] for line in lines] == kept["labels"].tolist()
        numbers = [[float(line[f"feature_{k}"]) for k in range(64)] for line in lines]
        np.testing.assert_allclose(numbers, kept["features"], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["photos", "--out", "features.pt"], "end its name in .npz or .csv"),
        (["photoz", "--out", "features.npz"], "did you mean 'photos'?"),
        (["empty", "--out", "features.npz"], "no image in the folder empty"),
        (["torn.jpg", "--out", "features.npz"], "no image to embed; torn.jpg is a web page"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_embedded_is_told(desk: Path, arguments: list[str], told: str) -> None:
    done = run("embed", "run", *arguments, cwd=desk)
    assert done.returncode == 2 and told in done.stderr
    assert not list(desk.glob("features.*"))


def test_no_readable_image_is_an_error(classifier: Classifier) -> None:
    with pytest.raises(DataError, match="no image to embed"):
        classifier.embed([])
