"""Files of weights: what is understood, and what is refused without being run."""

import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from made_up_weights import PaddedOnBothSides, equal, network, put, renamed, safe, saved
from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.errors import ConfigError, MissingExtra, ModelFileError
from resnets.models import create_model
from resnets.models.weights import read_weights
from resnets.models.weights.names import translate
from resnets.models.weights.sandbox import NESTS, state_dict_in


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_WEIGHTS_DIR", str(tmp_path / "kept"))


AKAMASTER = {"fc.": "linear."}
KUANGLIU = {"fc.": "linear.", ".downsample.": ".shortcut."}


@pytest.mark.parametrize("suffix", ["pt", "th", "ckpt", "pth.tar"])
def test_a_bare_state_dict_is_read(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path / f"weights.{suffix}", saved(network().state_dict()))
    assert equal(create_model("resnet20", pretrained=path).state_dict(), network().state_dict())


def test_safetensors_are_read(tmp_path: Path) -> None:
    made = create_model("resnet20", pretrained=str(safe(tmp_path, network().state_dict())))
    assert equal(made.state_dict(), network().state_dict())


@pytest.mark.parametrize("nest", NESTS)
def test_weights_are_found_where_checkpoints_keep_them(nest: str) -> None:
    content = {nest: network().state_dict(), "epoch": 3, "optimizer": {"state": {}}}
    tensors, notes = state_dict_in(content)
    assert equal(tensors, network().state_dict()) and notes == [f"weights from {nest}"]


def test_what_training_scripts_save_beside_is_no_hindrance(tmp_path: Path) -> None:
    content = {
        "model": {"state_dict": network().state_dict()},
        "args": argparse.Namespace(lr=0.1),
        "best_prec1": np.float64(0.9),
        "best": np.float32(0.9),
    }
    weights = read_weights(put(tmp_path / "checkpoint.pth", saved(content)))
    assert equal(weights.tensors, network().state_dict())


def test_averaged_weights_come_before_those_they_average(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network())
    content = {"model": create_model("resnet20", seed=9).state_dict()}
    content["model_ema"] = averaged.state_dict()
    weights = read_weights(put(tmp_path / "checkpoint.pth", saved(content)))
    assert equal(weights.tensors, network().state_dict())
    assert "weights from model_ema, beside model" in weights.notes
    assert any("prefix module." in note for note in weights.notes)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model."])
def test_prefixes_of_wrappers_are_dropped(prefix: str) -> None:
    tensors, notes = translate(renamed(network().state_dict(), {}, prefix))
    assert equal(tensors, network().state_dict())
    assert len(notes) == prefix.count(".") and all("without their prefix" in each for each in notes)


@pytest.mark.parametrize(
    ("name", "options", "rules"),
    [
        ("resnet20_option_b", {}, KUANGLIU),
        ("resnet18:stem=cifar", {"num_classes": 10}, KUANGLIU),
        ("resnet20_option_b", {}, {}),
    ],
    ids=["option B, shortcut", "ResNet-18 for CIFAR", "torchvision's names"],
)
def test_public_cifar_resnets_are_understood(
    tmp_path: Path, name: str, options: dict[str, int], rules: dict[str, str]
) -> None:
    ours = network(name, **options)
    theirs = renamed(ours.state_dict(), rules, "module.")
    made = create_model(name, pretrained=safe(tmp_path, theirs))
    assert equal(made.state_dict(), ours.state_dict())


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_public_cifar_resnets_that_pad_on_both_sides_answer_as_they_did(
    tmp_path: Path, name: str
) -> None:
    theirs = create_model(name, seed=3)
    with torch.no_grad():
        for key, value in theirs.state_dict().items():
            if "bn" in key and value.is_floating_point():
                value.uniform_(0.5, 1.5)
    state = renamed(theirs.state_dict(), AKAMASTER, "module.")
    theirs.get_submodule("layer2.0").downsample = PaddedOnBothSides(16)
    theirs.get_submodule("layer3.0").downsample = PaddedOnBothSides(32)
    ours = create_model(name, pretrained=safe(tmp_path, state))
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = theirs.double().eval()(images)
    found = ours.double().eval()(images)
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    state = network().state_dict()
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    path = safe(tmp_path, halves)
    made = create_model("resnet20", pretrained=path)
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert torch.equal(made.state_dict()["conv1.weight"], halves["conv1.weight"].float())


def test_a_sealed_model_and_the_run_folder_around_it_are_read(tmp_path: Path) -> None:
    preprocess = Preprocess(input_size=(3, 32, 32), mean=(0.5, 0.4, 0.3))
    card = {
        "architecture": "resnet20",
        "options": {},
        "label_names": list("abcdefghij"),
        "preprocess": preprocess.to_dict(),
        "license": "MIT",
    }
    seal(tmp_path / "run" / "model", network().state_dict(), card)
    for place in ("run", "run/model"):
        weights = read_weights(tmp_path / place)
        assert equal(weights.tensors, network().state_dict())
        assert (weights.model, weights.licence) == ("resnet20", "MIT")
        assert weights.preprocess == preprocess and weights.classes == tuple("abcdefghij")
    file = tmp_path / "run/model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelFileError, match="is damaged"):
        create_model("resnet20", pretrained=tmp_path / "run")


class Payload:
    """An object whose unpickling calls something."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def payloads(marker: Path) -> dict[str, Any]:
    write = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f"touch {marker}"),
        "eval": Payload(eval, write),
        "exec": Payload(exec, write),
        "open": Payload(open, str(marker), "w"),
        "a tensor's storage": Payload(
            torch._utils._rebuild_tensor_v2, Payload(eval, write), 0, (1,), (1,)
        ),
        "getattr": Payload(getattr, Payload(__import__, "os"), "remove"),
        "inside a state dict": {"state_dict": {"fc.weight": Payload(eval, write)}},
    }


@pytest.mark.parametrize(
    ("kind", "form"), [*[(kind, "zip") for kind in payloads(Path("x"))], ("os.system", "pickle")]
)
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, kind: str, form: str
) -> None:
    marker = tmp_path / "marker"
    content = payloads(marker)[kind]
    file = tmp_path / "evil.pth"
    if form == "zip":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content, protocol=2))  # as torch 1.x
    with pytest.raises(ModelFileError, match="evil.pth needs code to be opened.* it asks for"):
        create_model("resnet20", pretrained=file)
    assert not marker.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits that other systems lack")
def test_code_that_ran_all_the_same_could_do_little(tmp_path: Path) -> None:
    attempts = {
        "os.system('touch marker')": "PermissionError",
        "subprocess.run(['touch', 'marker'])": "PermissionError",
        "socket.create_connection(('127.0.0.1', 9))": "PermissionError",
        "bytearray(8 << 30)": "MemoryError",
        "open('large', 'wb').write(bytes(128 << 20))": "OSError",
        "[open('small', 'wb') for _ in range(100)]": "OSError",
    }
    code = f"""
import os, socket, subprocess
from resnets.models.weights.sandbox import limit
limit(1_000)
for attempt in {list(attempts)}:
    try:
        eval(attempt)
    except Exception as refusal:
        print(type(refusal).__name__)
    else:
        print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(attempts.values())
    assert not (tmp_path / "marker").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # this test is why
def test_programs_are_refused_by_name(tmp_path: Path) -> None:
    torch.jit.script(nn.ReLU()).save(str(tmp_path / "program.pt"))
    with pytest.raises(ModelFileError, match="is TorchScript, a program"):
        read_weights(tmp_path / "program.pt")
    with zipfile.ZipFile(tmp_path / "exported.pt", "w") as archive:
        archive.writestr("exported/archive_format", "pt2")
    with pytest.raises(ModelFileError, match="is an exported program"):
        read_weights(tmp_path / "exported.pt")
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(ModelFileError, match="needs code to be opened") as error:
        read_weights(tmp_path / "whole.pt")
    assert "torch.save(model.state_dict()" in error.value.fix


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", saved([1, 2])])
def test_what_holds_no_weights_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelFileError, match="w.pth"):
        read_weights(put(tmp_path / "w.pth", content))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory has no limit here")
def test_a_small_file_that_unfolds_into_a_huge_tensor_is_stopped(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)  # one number in the file
    with pytest.raises(ModelFileError, match="huge.pth"):
        read_weights(put(tmp_path / "huge.pth", saved({"fc.weight": huge})))


def test_sources_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no weights at nowhere.pt"):
        read_weights("nowhere.pt")
    with pytest.raises(ModelFileError, match="none of the endings"):
        read_weights(put(tmp_path / "w.onnx", b""))
    with pytest.raises(ModelFileError, match="holds no model.safetensors"):
        read_weights(tmp_path)
    with pytest.raises(ConfigError, match="torchvision has weights of many networks"):
        read_weights("torchvision")
    with pytest.raises(ModelFileError, match="no file of safetensors"):
        read_weights(put(tmp_path / "w.safetensors", b"12345678"))


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [("w.h5", "h5py", "keras"), ("hf-hub:timm/resnet18.a1_in1k", "huggingface_hub", "hub")],
)
def test_a_source_that_needs_an_extra_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, module: str, extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    put(tmp_path / "w.h5", b"")
    with pytest.raises(MissingExtra, match=f"needs {module}") as error:
        read_weights(source)
    assert error.value.fix == f"pip install 'resnets[{extra}]'"
