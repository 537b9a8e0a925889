"""Transfer learning: what is taken over, what stays as it is, and what is computed once."""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from resnets.checkpoint import newest_state, read_sealed
from resnets.config import Preprocess
from resnets.data import from_arrays
from resnets.data.sources import ArrayImages, Split
from resnets.errors import ConfigError, ModelFileError, UnknownName
from resnets.models import create_model
from resnets.training import features
from resnets.training.features import cached_features
from resnets.training.run import train
from resnets.training.transfer import Start, begin_with, freeze, modules_before, read_start
from runs import command, fit, pictures, rows_of, same_state, save_folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("features")
    monkeypatch.setattr(features, "default_cache_dir", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on two classes of 16x16 pictures."""
    data = from_arrays(pictures(48, 16), classes=("left", "right"))
    out = tmp_path_factory.mktemp("runs") / "trained"
    return fit(data, out=out, epochs=3, batch_size=8).path


def other_data(count=36, classes=("one", "two", "three"), seed=3):
    return from_arrays(pictures(count, 16, seed, classes=len(classes)), classes=classes)


def weights_of(run):
    return read_sealed(run).weights


def test_other_classes_get_a_new_head_and_all_else_is_taken_over(trained):
    start = read_start(str(trained), "auto")
    network = create_model("resnet20", num_classes=3, seed=1)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    told = begin_with(network, start, ("one", "two", "three"))
    assert "the head is new: 3 other classes instead of 2" in told
    for name, value in network.state_dict().items():
        expected = drawn[name] if name.startswith("fc.") else weights_of(trained)[name]
        assert torch.equal(value, expected), name


def test_the_same_classes_in_another_order_keep_their_rows_of_the_head(trained):
    start = read_start(str(trained), "auto")
    network = create_model("resnet20", num_classes=2, seed=1)
    told = begin_with(network, start, ("right", "left"))
    assert "its head included" in told
    weights = weights_of(trained)
    assert torch.equal(network.state_dict()["fc.weight"], weights["fc.weight"][[1, 0]])
    assert torch.equal(network.state_dict()["fc.bias"], weights["fc.bias"][[1, 0]])


def test_the_preprocessing_goes_with_the_weights(trained, tmp_path):
    run = fit(other_data(), out=tmp_path / "run", epochs=1, batch_size=8, start_from=str(trained))
    card = read_sealed(run.path).card
    assert card["preprocess"] == read_sealed(trained).card["preprocess"]
    assert card["training"]["start_from"] == str(trained)


def test_a_mean_image_goes_with_the_weights_too(tmp_path):
    first = fit(
        from_arrays(pictures(32, 16), classes=("left", "right")),
        out=tmp_path / "first", epochs=1, batch_size=8, mean_image=True,
    )  # fmt: skip
    second = fit(other_data(), out=tmp_path / "second", epochs=1, start_from=str(first.path))
    name = "preprocess.mean_image"
    assert torch.equal(weights_of(second.path)[name], weights_of(first.path)[name])


def test_weights_that_were_trained_go_on_at_a_fifth_of_the_rate(trained, tmp_path, capsys):
    data = other_data()
    train(data, out=tmp_path / "a", epochs=1, start_from=str(trained), threads=1)
    assert "weights that are trained already (--lr)" in capsys.readouterr().err
    text = (tmp_path / "a" / "config.toml").read_text()
    assert "learning_rate = 0.01" in text, "a fifth of 0.2, and the root of 8 / 128"
    train(data, out=tmp_path / "b", epochs=1, start_from=str(trained), learning_rate=0.3, threads=1)
    assert "learning_rate = 0.3" in (tmp_path / "b" / "config.toml").read_text()
    assert "a learning rate of" not in capsys.readouterr().err


def test_what_is_frozen_stays_to_the_bit_and_the_rest_is_trained(trained, tmp_path):
    run = fit(
        other_data(), out=tmp_path / "run", epochs=2, batch_size=8,
        start_from=str(trained), freeze="layer2", ema_decay=0.0,
    )  # fmt: skip
    before, after = weights_of(trained), weights_of(run.path)
    for name, value in after.items():
        frozen = name.startswith(("conv1", "bn1", "layer1", "layer2"))
        if frozen:
            assert torch.equal(value, before[name]), name
        elif name.startswith("layer3") and value.is_floating_point():
            assert not torch.equal(value, before[name]), name


def test_frozen_norms_and_dropout_behave_as_in_evaluation():
    network = create_model("resnet20", seed=0).train()
    freeze(network, "layer2")
    assert not network.get_submodule("layer2.0.bn1").training
    assert not network.get_submodule("bn1").training
    assert network.get_submodule("layer3.0.bn1").training
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == name.startswith(("layer3", "fc")), name


@pytest.mark.parametrize("name", ["resnet50", "preact_resnet18", "densenet121", "vgg11"])
def test_all_means_everything_but_the_head(name):
    with torch.device("meta"):
        network = create_model(name)
    before = modules_before(network, network.points[-2])
    holding = {key for key, module in network.named_modules() if list(module.parameters(False))}
    assert holding - set(before) == {network.head}
    freeze(network, "all")
    trained = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {f"{network.head}.weight", f"{network.head}.bias"}
    assert not any(m.training for key, m in network.named_modules() if key != network.head)


def test_auxiliary_heads_follow_the_order_of_the_classes_too():
    network, other = create_model("googlenet", num_classes=2, seed=0), ("b", "a")
    tensors = {name: value.clone() for name, value in network.state_dict().items()}
    start = Start(
        source="here", model="googlenet", tensors=tensors, preprocess=None, mean_image=None,
        classes=("a", "b"),
    )  # fmt: skip
    begin_with(network, start, other)
    for layer in ("fc", "aux1.fc2", "aux2.fc2"):
        found = network.state_dict()[f"{layer}.weight"]
        assert torch.equal(found, tensors[f"{layer}.weight"][[1, 0]]), layer


def test_a_point_that_is_not_there_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'layer3'"):
        modules_before(create_model("resnet20"), "layer4")
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        modules_before(create_model("resnet20"), "logits")


def settings(trained, **more):
    return {
        "epochs": 4,
        "batch_size": 8,
        "start_from": str(trained),
        "freeze": "all",
        "ema_decay": 0.0,
    } | more


def test_cached_features_train_as_the_whole_network_does(trained, tmp_path):
    cached = fit(other_data(), out=tmp_path / "cached", **settings(trained))
    whole = fit(other_data(), out=tmp_path / "whole", **settings(trained, cache_features=False))
    for name, value in weights_of(whole.path).items():
        found = weights_of(cached.path)[name]
        assert (found.double() - value.double()).abs().max() <= 1e-6 * value.abs().max(), name
    for one, other in zip(rows_of(cached.path), rows_of(whole.path), strict=True):
        assert float(one["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=1e-6, abs=1e-6)


def test_an_augmentation_asked_for_is_seen_in_every_epoch(trained, tmp_path, cache):
    fit(other_data(), out=tmp_path / "run", **settings(trained, flip=True))
    assert not list(cache.iterdir()), "an image that changes has no features to keep"


def split_of(images: np.ndarray) -> Split:
    digests = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    names = tuple(map(str, range(len(images))))
    return Split(ArrayImages(images), np.zeros(len(images), np.int64), names, digests)


def test_features_are_computed_once_and_anew_only_for_what_changed(cache):
    network = create_model("resnet20", seed=0)
    preprocess = Preprocess(input_size=(3, 16, 16))
    images, _ = pictures(20, 16)

    def computed(images: np.ndarray, preprocess: Preprocess) -> int:
        told: list[int] = []
        found = cached_features(network, split_of(images), preprocess, tell=told.append)
        assert found.shape == (len(images), 64) and sum(told) == len(images)
        return sum(told[1:])  # the first were known

    assert computed(images, preprocess) == 20
    assert computed(images, preprocess) == 0
    assert computed(images[::-1].copy(), preprocess) == 0, "the order does not matter"
    images[7] += 1
    assert computed(images, preprocess) == 1
    assert computed(images, Preprocess(input_size=(3, 16, 16), mean=(0.5, 0.5, 0.5))) == 20
    with torch.no_grad():
        network.get_parameter("layer1.0.conv1.weight").mul_(1.5)
    assert computed(images, preprocess) == 20, "other weights"
    with torch.no_grad():
        network.get_parameter("fc.weight").mul_(1.5)
    assert computed(images, preprocess) == 0, "the head plays no part"
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert computed(images, preprocess) == 20, "damaged files count as none"


def test_cached_features_are_those_of_the_network(cache):
    network = create_model("resnet20", seed=0).train()
    preprocess = Preprocess(input_size=(3, 16, 16))
    images, _ = pictures(9, 16)
    for _ in range(2):  # computed, then read
        found = cached_features(network, split_of(images), preprocess)
        assert network.training
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            expected = network.eval().features(pixels, at=["pooled"])["pooled"]
        network.train()
        assert torch.allclose(found, expected, atol=1e-6)


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago(cache, monkeypatch):
    monkeypatch.setattr(features, "MOST_BYTES", 20_000)
    images, _ = pictures(20, 16)
    for brightness in range(6):
        preprocess = Preprocess(input_size=(3, 16, 16), mean=(brightness / 10,) * 3)
        cached_features(create_model("resnet20", seed=0), split_of(images), preprocess)
    assert 0 < sum(file.stat().st_size for file in cache.iterdir()) <= 20_000


def test_a_run_goes_on_without_the_weights_it_began_with(trained, tmp_path):
    borrowed = tmp_path / "borrowed"
    shutil.copytree(trained, borrowed)
    options = {"epochs": 2, "batch_size": 8, "start_from": str(borrowed)}
    whole = fit(other_data(), out=tmp_path / "whole", **options)
    cut = fit(other_data(), out=tmp_path / "cut", **options).path
    shutil.rmtree(cut / "model")
    state = newest_state(cut / "state")
    assert state is not None
    shutil.rmtree(borrowed)
    fit(other_data(), out=cut, **options)
    assert same_state(whole.path, cut)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start_from": "no/such/run"}, ConfigError, "no/such/run is no run, no weight file"),
        ({"start_from": "resnet-50"}, ConfigError, "did you mean 'resnet50'"),
        ({"start_from": "RUN", "model": "resnet32"}, ConfigError, "which is another network"),
        ({"start_from": "RUN", "freeze": "layer9"}, UnknownName, "no point named 'layer9'"),
        ({"start_from": "EMPTY"}, ModelFileError, "is no run folder and no sealed model"),
        ({"start_from": "RUN", "model": "resnet20:shortcut=B"}, ConfigError, "another network"),
    ],
)
def test_what_cannot_be_started_from_is_told_and_nothing_is_written(
    trained, tmp_path, options, error, message
):
    (tmp_path / "empty").mkdir()
    places = {"RUN": str(trained), "EMPTY": str(tmp_path / "empty")}
    options = {key: places.get(value, value) for key, value in options.items()}
    with pytest.raises(error, match=message):
        fit(other_data(), out=tmp_path / "run", epochs=1, **options)
    assert not (tmp_path / "run").exists()


def test_freezing_without_weights_is_told_to_have_no_effect(tmp_path, capsys):
    train(other_data(), out=tmp_path / "run", epochs=1, freeze="layer1", threads=1)
    assert "freeze has no effect: no weights are given to start from" in capsys.readouterr().err


def test_auxiliary_heads_are_trained_with_the_network(tmp_path):
    """Their weights move, and the loss is that of the answer and 0.3 of each other."""
    data = from_arrays(pictures(8, 32), classes=("left", "right"))
    run = fit(
        data, out=tmp_path / "run", model="googlenet_2014", image_size=32, batch_size=8,
        steps=1, validation=0.0, ema_decay=0.0, label_smoothing=0.0, precision="fp32",
    )  # fmt: skip
    first = create_model("googlenet_2014", num_classes=2, seed=0).state_dict()
    state = newest_state(run.path / "state")
    assert state is not None
    for layer in ("aux1.fc2.weight", "aux2.conv.conv.weight", "fc.weight"):
        assert not torch.equal(state.tensors[f"model.{layer}"], first[layer]), layer


def test_options_that_leave_the_weights_open_may_differ(trained, tmp_path):
    model = "resnet20:drop_path=0.1"
    run = fit(other_data(), out=tmp_path / "run", epochs=1, start_from=str(trained), model=model)
    assert read_sealed(run.path).card["options"] == {"drop_path": 0.1}


def test_freezing_without_weights_to_start_from_freezes_nothing(tmp_path):
    options = {"epochs": 1, "crop": "none", "flip": False, "ema_decay": 0.0}
    run = fit(other_data(), out=tmp_path / "run", freeze="all", **options)
    first = create_model("resnet20", num_classes=3, seed=0).state_dict()
    assert not torch.equal(weights_of(run.path)["conv1.weight"], first["conv1.weight"])


def test_freezing_up_to_the_heads_input_is_freezing_all(trained, tmp_path, cache):
    fit(other_data(), out=tmp_path / "run", **settings(trained, freeze="pooled"))
    assert list(cache.iterdir())
    assert 'freeze = "all"' in (tmp_path / "run" / "config.toml").read_text()


def test_a_head_without_weights_cannot_be_all_that_trains():
    with pytest.raises(ConfigError, match="leaves nothing to train: the head has no weights"):
        freeze(create_model("lenet5"), "all")


def test_a_folder_with_a_config_and_weights_is_a_start(tmp_path):
    state = create_model("resnet20", num_classes=3, seed=7).state_dict()
    folder = tmp_path / "theirs"
    folder.mkdir()
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet20", "num_classes": 3}))
    start = read_start(str(folder), "auto")
    assert start.model == "resnet20" and start.preprocess is None
    assert torch.equal(start.tensors["conv1.weight"], state["conv1.weight"])


def test_weights_that_do_not_say_how_images_were_normalised_are_told(tmp_path, capsys):
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(create_model("resnet20", seed=7).state_dict(), path)
    train(
        other_data(), out=tmp_path / "run", start_from=str(path), model="resnet20", epochs=1,
        threads=1,
    )  # fmt: skip
    assert "nothing says how the images of" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_no_run(trained, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(features, "default_cache_dir", lambda: tmp_path / "file" / "features")
    fit(other_data(), out=tmp_path / "run", **settings(trained))
    assert "features are not kept" in caplog.text


def test_a_feature_does_not_depend_on_which_others_were_missing(cache):
    network, preprocess = create_model("resnet20", seed=0), Preprocess(input_size=(3, 16, 16))
    images, _ = pictures(20, 16)
    whole = cached_features(network, split_of(images), preprocess, folder=cache / "a")
    cached_features(network, split_of(images[:13]), preprocess, folder=cache / "b")
    pieces = cached_features(network, split_of(images), preprocess, folder=cache / "b")
    assert torch.equal(whole, pieces)


@pytest.mark.parametrize("point", ["layer2", "all"])
def test_a_run_from_weights_that_is_interrupted_ends_with_the_same_bits(trained, tmp_path, point):
    folder = save_folder(tmp_path / "photos", 48, 16)
    asked = ["train", folder, "--from", trained, "--freeze", point, "--threads", 1, "-b", 8]
    asked += ["--set", "steps=900" if point == "all" else "steps=60"]
    whole = command(*asked, "--out", tmp_path / "whole")
    text, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, text
    cut = tmp_path / "cut"
    process = command(*asked, "--out", cut)
    while process.poll() is None and not (
        (cut / "metrics.csv").exists() and len(rows_of(cut)) >= 2
    ):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    final = command(*asked, "--out", cut)
    text, _ = final.communicate(timeout=300)
    assert final.returncode == 0 and "continuing after step" in text, text
    assert same_state(tmp_path / "whole", cut)
