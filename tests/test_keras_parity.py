"""Keras's ResNets and ours: a Keras model is made at random, converted, and compared."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported

import h5py
import keras
import numpy as np
import pytest
import torch
from keras.src.backend.common import dtypes
from torch import Tensor, nn

from resnets.engines.pytorch import TorchEngine
from resnets.errors import ConfigError, ModelFileError
from resnets.importing import import_model
from resnets.models import Network, create_model
from resnets.models.weights import fit_weights, read_weights
from resnets.models.weights.keras import from_keras
from resnets.prediction import load

PAIRS = {
    "ResNet50": "resnet50_v1",
    "ResNet50V2": "keras_resnet50v2",
    "ResNet101": "resnet101_v1",
    "ResNet101V2": "keras_resnet101v2",
    "ResNet152": "resnet152_v1",
    "ResNet152V2": "keras_resnet152v2",
}
SIZES = [pytest.param(name, marks=[] if "50" in name else pytest.mark.slow) for name in PAIRS]
CLASSES = 7
pytestmark = pytest.mark.filterwarnings(  # Keras's own, with numpy 2
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNETS_WEIGHTS_DIR", str(tmp_path / "kept"))


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keras in double precision, all of it.

    With any backend but TensorFlow it takes batch norms, means and products in single precision
    whatever its settings say, by a table of result types.
    """
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def at_random(name: str) -> Any:
    """Keras's network with every weight and every statistic drawn."""
    rng = np.random.default_rng(4)
    build = getattr(keras.applications, name)
    model = build(
        weights=None, input_shape=(64, 64, 3), classes=CLASSES, classifier_activation=None
    )
    for layer in model.layers:
        for variable in layer.variables:
            shape = variable.shape
            if variable.name == "kernel":
                drawn = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
            elif variable.name in ("gamma", "moving_variance"):
                drawn = rng.uniform(0.5, 1.5, shape)
            else:
                drawn = rng.normal(0, 0.3, shape)
            variable.assign(drawn)
    return model


def variables_of(model: Any) -> dict[str, Any]:
    return {f"{layer.name}.{each.name}": each for layer in model.layers for each in layer.variables}


def values_of(model: Any) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(keras.ops.convert_to_numpy(variable).copy())
        for name, variable in variables_of(model).items()
    }


def ours_of(model: Any, name: str, dtype: torch.dtype) -> Network:
    network = create_model(PAIRS[name], num_classes=CLASSES).to(dtype)
    tensors, recognised = from_keras(values_of(model))
    assert recognised == PAIRS[name]
    network.load_state_dict(fit_weights(tensors, network, replace_head=False))
    return network.eval()


def pixels(dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 3, 64, 64, dtype=dtype, generator=torch.Generator().manual_seed(6))


def assert_close(found: Tensor, expected: Tensor, within: float, what: str) -> None:
    """Equal to a share of the reference's largest absolute value."""
    largest = expected.abs().max()
    assert torch.isfinite(largest) and largest > 0, what
    assert (found - expected).abs().max() <= within * largest, what


@pytest.mark.parametrize("name", SIZES)
def test_outputs_and_gradients_are_keras(name: str, float64: None) -> None:
    theirs = at_random(name)
    ours = ours_of(theirs, name, torch.float64)
    pull = torch.randn(2, CLASSES, dtype=torch.float64)

    images = nn.Parameter(pixels(torch.float64))
    expected = theirs(images.permute(0, 2, 3, 1), training=False)
    (expected * pull).sum().backward()
    mine = nn.Parameter(pixels(torch.float64))
    found = ours(mine)
    (found * pull).sum().backward()
    assert_close(found.detach(), expected.detach(), 1e-9, "logits")
    assert mine.grad is not None and images.grad is not None
    assert_close(mine.grad, images.grad, 1e-9, "pixels")

    gradients = {}
    for key, variable in variables_of(theirs).items():
        gradient = variable.value.grad
        gradients[key] = torch.zeros(tuple(variable.shape)) if gradient is None else gradient
    expected_gradients, _ = from_keras(gradients)  # the same reordering as of the weights
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert_close(parameter.grad, expected_gradients[key], 1e-9, key)


@pytest.mark.parametrize("name", SIZES)
def test_outputs_are_keras_in_single_precision(name: str) -> None:
    theirs = at_random(name)
    ours = ours_of(theirs, name, torch.float32)
    with torch.no_grad():
        images = pixels(torch.float32)
        expected = theirs(images.permute(0, 2, 3, 1), training=False)
        assert_close(ours(images), expected, 1e-5, "logits")


def save(model: Any, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


@pytest.mark.parametrize("file", ["m.keras", "m.h5", "m.weights.h5"])
def test_a_saved_model_is_read_and_sealed(tmp_path: Path, file: str) -> None:
    theirs = at_random("ResNet50V2")
    path = save(theirs, tmp_path / file)
    made = create_model("keras_resnet50v2", pretrained=path).eval()
    imported = import_model(
        path, out=tmp_path / "sealed", classes=list("abcdefg"), mean=[0.5], std=[0.5], image_size=64
    )
    sealed = load(tmp_path / "sealed")
    assert imported.model == "keras_resnet50v2"
    images = pixels(torch.float32)
    with torch.no_grad():
        expected = theirs(images.permute(0, 2, 3, 1), training=False)
        assert_close(made(images), expected, 1e-5, "logits")
        assert_close(TorchEngine(sealed.model)(images), expected, 1e-5, "logits")


def test_blue_first_is_turned_round(tmp_path: Path) -> None:
    theirs = at_random("ResNet50")
    import_model(
        save(theirs, tmp_path / "m.keras"),
        out=tmp_path / "sealed",
        classes=list("abcdefg"),
        mean=[0.485, 0.458, 0.408],
        std=[1 / 255],
        bgr=True,
    )
    images = pixels(torch.float32)
    with torch.no_grad():
        expected = theirs(images.flip(1).permute(0, 2, 3, 1), training=False)
        assert_close(TorchEngine(load(tmp_path / "sealed").model)(images), expected, 1e-5, "logits")


def test_v1_5_is_not_taken_for_v1(tmp_path: Path) -> None:
    path = save(at_random("ResNet50"), tmp_path / "m.keras")
    with pytest.raises(ConfigError, match="holds the weights of resnet50_v1"):
        create_model("resnet50", pretrained=path)


def test_a_dense_layer_of_ones_own_is_the_head(tmp_path: Path) -> None:
    body = keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3)
    )
    theirs = keras.Sequential([body, keras.layers.Dense(3, name="flowers")])
    path = save(theirs, tmp_path / "m.keras")
    images = pixels(torch.float32)
    with torch.no_grad():
        expected = theirs(images.permute(0, 2, 3, 1), training=False)
        made = create_model("resnet50_v1", pretrained=path).eval()
        assert_close(made(images), expected, 1e-5, "logits")


def test_another_keras_network_is_refused(tmp_path: Path) -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="mine")]
    path = save(keras.Sequential(layers), tmp_path / "m.keras")
    with pytest.raises(ModelFileError, match="the layer 'mine' is none of a Keras ResNet"):
        read_weights(path)


def test_a_file_that_leads_to_other_files_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.ones((1, 1), np.float32)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file.create_group("conv1_conv")["kernel"] = h5py.ExternalLink("secret.h5", "/kernel")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        (tmp_path / "raw").write_bytes(b"secret..")
        file.create_group("conv1_conv").create_dataset(
            "kernel", (2, 1), np.float32, external=[(str(tmp_path / "raw"), 0, 8)]
        )
    with pytest.raises(ModelFileError, match="has a link at kernel"):
        read_weights(tmp_path / "linked.h5")
    with pytest.raises(ModelFileError, match="has its kernel in another file"):
        read_weights(tmp_path / "outside.h5")
