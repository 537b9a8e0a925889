"""``resnets import``: a foreign checkpoint becomes a sealed model, or nothing is written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from made_up_weights import PaddedOnBothSides
from resnets.checkpoint import read_sealed
from resnets.errors import ConfigError, ModelFileError
from resnets.importing import import_model, read_classes
from resnets.models import create_model
from resnets.prediction import load

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NORMAL: dict[str, Any] = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_WEIGHTS_DIR", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """resnet20 as akamaster's training script saves it."""
    state = create_model("resnet20", seed=1).state_dict()
    theirs = {f"module.{name.replace('fc.', 'linear.')}": value for name, value in state.items()}
    path = tmp_path / "resnet20-12fca82f.th"
    torch.save({"state_dict": theirs, "best_prec1": 91.7}, path)
    return path


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnets", "import", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_public_checkpoint_becomes_a_sealed_model(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    done = run(
        checkpoint, "--model", "resnet20", "--classes", "classes.txt",
        "--mean", "0.4914,0.4822,0.4465", "--std", "0.2023,0.1994,0.2010", "--out", "sealed",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "names without their prefix module.: 116" in done.stdout
    assert "names of public CIFAR ResNets: 2" in done.stdout
    assert "resnet20: 269,722 parameters, 10 classes, all set" in done.stdout
    assert done.stdout.splitlines()[-1] == "next: resnets predict sealed IMAGE..."

    classifier = load("sealed")
    assert classifier.classes == tuple(CLASSES)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    network = create_model("resnet20", seed=1).eval()
    for stage, new in (("layer2.0", 16), ("layer3.0", 32)):  # as the file's network has them
        network.get_submodule(stage).downsample = PaddedOnBothSides(new)
    scaled = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(NORMAL[key])[None, :, None, None] for key in ("mean", "std"))
    expected = network((scaled - mean) / std).softmax(1)[0].detach()
    (best,) = classifier.predict(image)
    assert best.label == CLASSES[int(expected.argmax())]
    assert best.probability == pytest.approx(float(expected.max()), abs=1e-5)
    card = read_sealed("sealed").card
    assert card["origin"]["source"].endswith("resnet20-12fca82f.th")
    assert len(card["origin"]["sha256"]) == 64

    Image.fromarray(image).save(tmp_path / "one.png")
    command = [sys.executable, "-m", "resnets", "predict", "sealed", "one.png", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(told.stdout)["predictions"][0]["label"] == best.label


def test_a_sealed_model_carries_all_it_was_made_with(checkpoint: Path) -> None:
    made = import_model(
        checkpoint,
        out="sealed",
        model="resnet20",
        classes=CLASSES,
        mean=[0.5],
        std=[0.25],
        image_size=40,
        crop_pct=0.8,
        interpolation="bicubic",
        licence="MIT",
    )
    sealed = read_sealed("sealed")
    assert sealed.card["license"] == "MIT" and sealed.card["crop_pct"] == 0.8
    assert made.preprocess.input_size == (3, 40, 40)
    assert (made.preprocess.mean, made.preprocess.std) == ((0.5,) * 3, (0.25,) * 3)
    again = import_model("sealed", out="again")  # which says all of it itself
    assert (again.model, again.classes) == (made.model, made.classes)
    assert again.preprocess == made.preprocess


def test_options_of_a_network_are_sealed_too(tmp_path: Path) -> None:
    state = create_model("resnet18:stem=cifar", num_classes=2, seed=1).state_dict()
    torch.save(state, "w.pth")
    import_model("w.pth", model="resnet18:stem=cifar", classes=["a", "b"], out="sealed", **NORMAL)
    assert torch.equal(load("sealed").model.state_dict()["conv1.weight"], state["conv1.weight"])


def test_grey_networks_take_one_mean(tmp_path: Path) -> None:
    torch.save(create_model("resnet20", in_channels=1, seed=1).state_dict(), "grey.pth")
    made = import_model("grey.pth", model="resnet20", classes=CLASSES, mean=[0.1], std=[0.3])
    assert made.preprocess.input_size == (1, 32, 32) and made.path == Path("imported/grey")


def refused(kind: type[Exception], match: str, source: Path, **given: Any) -> str:
    """The fix of the error that an import ends with, after which there is no folder."""
    settings = {"model": "resnet20", "classes": CLASSES, "out": "sealed"} | NORMAL | given
    with pytest.raises(kind, match=match) as error:
        import_model(source, **settings)
    assert not Path("sealed").exists()
    assert not [path for path in Path().iterdir() if path.name.startswith("sealed")]
    return str(getattr(error.value, "fix"))  # noqa: B009


def test_what_is_missing_is_asked_for(checkpoint: Path) -> None:
    assert "--model" in refused(ConfigError, "does not say whose weights", checkpoint, model=None)
    assert "--classes" in refused(ConfigError, "does not name its 10", checkpoint, classes=None)
    assert "--mean 0.485" in refused(ConfigError, "were normalised", checkpoint, std=None)


def test_what_does_not_go_together_is_refused(checkpoint: Path) -> None:
    refused(ConfigError, "9 classes are named, the weights have", checkpoint, classes=CLASSES[1:])
    refused(ConfigError, "'bird' is empty or named twice", checkpoint, classes=["bird"] * 10)
    refused(ConfigError, "do not fit 3", checkpoint, mean=[0.5, 0.5])
    fix = refused(ConfigError, "not those of pixels between 0 and 1", checkpoint, mean=[123.7])
    assert fix == "divide mean and std by 255"


def test_weights_of_another_network_are_shown_beside_it(checkpoint: Path) -> None:
    refused(ModelFileError, r"layer1\.3\.conv1\.weight +\(16, 16, 3, 3\) +nothing", checkpoint,
            model="resnet32")  # fmt: skip


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = create_model("resnet20", seed=1).state_dict()
    state["fc.bias"][3] = float("nan")
    torch.save(state, "nan.pth")
    refused(ModelFileError, "fc.bias holds numbers that are not finite", Path("nan.pth"))


def test_a_folder_that_is_there_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="photos is there already"):
        import_model(checkpoint, model="resnet20", classes=CLASSES, out="photos", **NORMAL)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.png"]


def test_a_mistake_on_the_command_line_is_told_with_its_fix(checkpoint: Path) -> None:
    done = run(checkpoint, "--model", "resnet-20")
    assert done.returncode == 2 and "did you mean 'resnet20'" in done.stderr
    done = run(checkpoint, "--model", "resnet20", "--mean", "half")
    assert done.returncode == 2 and "--mean half is no number" in done.stderr
    assert "Traceback" not in done.stderr


def test_class_names_are_read_from_lines_json_and_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat\n  dog \n\n", encoding="utf-8")
    (tmp_path / "a.json").write_text('["cat", "dog"]', encoding="utf-8")
    (tmp_path / "b.json").write_text('{"cat": 1}', encoding="utf-8")
    for text in ("a.txt", "a.json", "cat, dog"):
        assert read_classes(text) == ["cat", "dog"]
    with pytest.raises(ConfigError, match="no JSON list"):
        read_classes("b.json")
    with pytest.raises(ConfigError, match="no file c.txt"):
        read_classes("c.txt")
