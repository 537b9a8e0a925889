"""Weights of timm from a hub on this machine: timm's networks at random, then ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from file_server import NOBODY, FileServer, serving
from resnets.errors import ConfigError, ModelFileError
from resnets.models import create_model
from resnets.models.weights import read_weights

SAME = ["resnet18", "resnet18d", "resnet50c", "densenet121"]
TRANSLATED = {
    "seresnet50": "se_resnet50",
    "resnetv2_18": "preact_resnet18:stem=bare",
    "resnetv2_50": "preact_resnet50:stem=bare",
    "resnet50_gn": "resnet50:norm_layer=group",
}
HEAVY = {
    **{name: name for name in ("resnet34d", "resnet50d", "resnet101d", "resnext50_32x4d")},
    **{name: name for name in ("resnext101_64x4d", "wide_resnet50_2", "densenet161", "vgg11")},
    **{name: name for name in ("densenet169", "densenet201", "vgg13_bn")},
    **{f"seresnet{n}": f"se_resnet{n}" for n in (101, 152)},
    **{f"resnetv2_{n}": f"preact_resnet{n}:stem=bare" for n in (34, 101, 152)},
}
NETWORKS = [
    *[(name, name) for name in SAME],
    *TRANSLATED.items(),
    *[pytest.param(*pair, marks=pytest.mark.slow) for pair in HEAVY.items()],
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url.rstrip("/"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield server


@torch.no_grad()
def at_random(name: str, **options: Any) -> nn.Module:
    """timm's network with every parameter and statistic drawn."""
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm)):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.5)
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(0, 0.5)
            part.running_var.uniform_(0.5, 2)
    return network.eval()


def config(name: str, **changes: Any) -> dict[str, Any]:
    """A ``config.json`` as timm writes it for the hub."""
    told = {
        "tag": "a1_in1k",
        "input_size": [3, 224, 224],
        "test_input_size": [3, 288, 288],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 1000,
        "license": "apache-2.0",
    }
    card = {"architecture": name, "num_classes": 1000, "num_features": 2048}
    return card | {"pretrained_cfg": told | changes}


def publish(hub: FileServer, network: nn.Module, card: dict[str, Any]) -> str:
    """Put a network on the hub; returns the source that names it."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    name = f"timm/{card['architecture']}.a1_in1k"
    files = {
        "config.json": json.dumps(card).encode(),
        "model.safetensors": safetensors.torch.save(weights),
    }
    hub.add_repository(name, files)
    return f"hf-hub:{name}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(("theirs", "ours"), NETWORKS)
def test_logits_are_timms(hub: FileServer, theirs: str, ours: str) -> None:
    network = at_random(theirs)
    source = publish(hub, network, config(theirs))
    made = create_model(ours, pretrained=source).eval()
    assert read_weights(source).model == ours
    images = torch.randn(2, 3, 97, 110)
    with torch.no_grad():
        expected, found = network(images), made(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_the_hub_says_goes_with_the_weights(hub: FileServer) -> None:
    weights = read_weights(publish(hub, at_random("resnet18"), config("resnet18")))
    preprocess = weights.preprocess
    assert preprocess is not None and preprocess.input_size == (3, 224, 224)
    assert (preprocess.interpolation, preprocess.crop_pct) == ("bicubic", 0.95)
    assert preprocess.mean == (0.485, 0.456, 0.406)
    assert weights.licence == "apache-2.0" and weights.origin == "hf-hub:timm/resnet18.a1_in1k"
    assert weights.classes is not None and len(set(weights.classes)) == 1000
    assert weights.classes[:2] == ("tench", "goldfish")


def test_own_classes_are_taken_and_a_preprocessing_we_do_not_have_is_left_out(
    hub: FileServer,
) -> None:
    card = config("resnet18", tag="mine", interpolation="lanczos", label_names=["a", "b"])
    card["num_classes"] = 2
    weights = read_weights(publish(hub, at_random("resnet18", num_classes=2), card))
    assert weights.classes == ("a", "b") and weights.preprocess is None


def test_a_download_happens_once(hub: FileServer) -> None:
    source = publish(hub, at_random("resnet18"), config("resnet18"))
    read_weights(source)
    first = [line for line in hub.asked if line.startswith("GET")]
    read_weights(source)
    assert len(first) == 2 == len([line for line in hub.asked if line.startswith("GET")])


def test_a_folder_with_the_same_two_files_does_as_well(hub: FileServer, tmp_path: Path) -> None:
    publish(hub, at_random("resnet18"), config("resnet18"))
    (tmp_path / "folder").mkdir()
    for path, content in hub.files.items():
        (tmp_path / "folder" / path.rpartition("/")[2]).write_bytes(content)
    assert read_weights(tmp_path / "folder").model == "resnet18"


def test_damaged_bytes_are_refused_and_fetched_again(hub: FileServer, tmp_path: Path) -> None:
    source = publish(hub, at_random("resnet18"), config("resnet18"))
    read_weights(source)
    blob = max((tmp_path / "hub").rglob("blobs/*"), key=lambda path: path.stat().st_size)
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="not those that the hub promised, now removed"):
        read_weights(source)
    read_weights(source)


def test_pickles_of_the_hub_are_not_opened(hub: FileServer) -> None:
    files = {"config.json": b"{}", "pytorch_model.bin": b"cos\nsystem\n"}
    hub.add_repository("someone/something", files)
    with pytest.raises(ModelFileError, match="has no model.safetensors"):
        read_weights("hf-hub:someone/something")
    assert not any("pytorch_model.bin" in line for line in hub.asked)


def test_a_repository_there_is_not_is_told(hub: FileServer) -> None:
    with pytest.raises(ModelFileError, match="no repository timm/resnet51.a1_in1k on the hub"):
        read_weights("hf-hub:timm/resnet51.a1_in1k")


def test_without_network_both_ways_are_told(
    hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOBODY.rstrip("/"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's library waits between tries
    with pytest.raises(ModelFileError, match="could not be downloaded") as error:
        read_weights("hf-hub:timm/resnet18.a1_in1k")
    assert "connect to the network" in error.value.fix
    assert "config.json and model.safetensors from huggingface.co/timm/resnet18" in error.value.fix


def test_another_networks_weights_are_refused(hub: FileServer) -> None:
    source = publish(hub, at_random("resnet18d"), config("resnet18d"))
    with pytest.raises(ConfigError, match="holds the weights of resnet18d"):
        create_model("resnet18", pretrained=source)


def test_squeezes_that_timm_rounds_up_do_not_fit_and_that_is_shown(hub: FileServer) -> None:
    source = publish(hub, at_random("seresnet18"), config("seresnet18"))
    with pytest.raises(ModelFileError) as error:
        create_model("se_resnet18", pretrained=source)
    shown = [line.split() for line in error.value.problem.splitlines()]
    assert ["layer1.0.se.fc1.weight", "(4,", "64,", "1,", "1)", "(8,", "64,", "1,", "1)"] in shown
