"""A network without its batch norms answers as with them, and only where they can be spared."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from networks import images
from parity import assert_close, randomise
from resnets.data import open_dataset
from resnets.engines.folding import Folded, fold
from resnets.engines.pytorch import TorchEngine
from resnets.evaluation import predict_logits
from resnets.metrics import softmax
from resnets.models import Network, create_model
from resnets.models.specs import SPECS
from resnets.prediction import load
from runs import fit

KEPT = {
    "resnet18": 0,
    "resnet50d": 0,
    "resnet20": 0,
    "plain20": 0,
    "tutorial_resnet34_32": 0,
    "resnet8_pooled": 3,  # three read a max pool
    "wide_resnet50_2": 0,
    "resnext50_32x4d": 0,
    "se_resnet18": 0,
    "vgg11_bn": 0,
    # a block's first norm reads a sum, and so does the last of all; the first block has none
    "preact_resnet18": 8,
    "preact_resnet50": 16,
    "wide_resnet16_8": 6,
    "keras_resnet50v2": 17,  # but Keras's has, because its stem has none
    # the first norm of 58 layers, those of 3 transitions and the last read joined maps
    "densenet121": 62,
    "densenet_bc_100_12": 51,  # 48, 2 and the last
    "googlenet": 2,  # the auxiliary heads do not run
    "alexnet": 0,
    "lenet5": 0,
    "nin_cifar": 0,
    "highway19": 0,
}
"""Batch norms that cannot be folded, counted in the papers' figures."""


@pytest.fixture(autouse=True)
def quiet_gradients() -> Any:
    with torch.no_grad():
        yield


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def assert_same_answers(name: str) -> nn.Module:
    """Every point of the folded network to 1e-5 of its largest value; returns that network."""
    network = create_model(name, seed=0).eval()
    randomise(network)
    batch = images(name)
    expected = network.features(batch)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold(network, batch[:1])
    assert isinstance(folded, Network) and not folded.training
    for point, value in Network.features(folded, batch).items():
        assert_close(value, expected[point], point, bound=1e-5)
    assert torch.equal(network(batch), expected["logits"])
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[key]), key
    return folded


@pytest.mark.parametrize("name", KEPT)
def test_a_folded_network_answers_as_before_at_every_point(name: str) -> None:
    assert norms_of(assert_same_answers(name)) == KEPT[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name in SPECS if name not in KEPT and "1202" not in name and "1001" not in name],
)
def test_every_network_of_the_table_can_be_folded(name: str) -> None:
    assert_same_answers(name)


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        ({}, {}),
        ({"bias": False}, {}),
        ({"groups": 2}, {"eps": 1e-3}),
        ({"groups": 4, "bias": False, "stride": 2}, {}),
        ({}, {"affine": False}),
    ],
)
def test_the_weights_are_those_of_torchs_own_folding(
    conv: dict[str, Any], norm: dict[str, Any]
) -> None:
    first, second = nn.Conv2d(4, 8, 3, **conv), nn.BatchNorm2d(8, **norm)
    for name, value in second.state_dict().items():
        if name != "num_batches_tracked":
            value.uniform_(0.01, 3)
    network = nn.Sequential(first, second).eval()
    expected = fuse_conv_bn_eval(*copy.deepcopy(network).double())
    folded = fold(network, torch.zeros(1, 4, 5, 5))
    assert isinstance(folded.get_submodule("1"), Folded)
    weight, bias = folded.get_parameter("0.weight"), folded.get_parameter("0.bias")
    assert torch.equal(weight, expected.weight.float())  # rounded to float32 once
    torch.testing.assert_close(bias, expected.bias.float(), rtol=1e-6, atol=1e-7)


class Fork(nn.Module):
    """A convolution and its norm, and something else that may read between them."""

    def __init__(self, between: str = "") -> None:
        super().__init__()
        self.between = between
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        convolved = self.conv(x)
        match self.between:
            case "relu":
                return self.norm(convolved.relu_())
            case "second norm":
                return self.norm(convolved) + self.second(convolved)
            case "both twice":
                return self.norm(self.conv(self.norm(convolved)))
            case "convolution twice":
                return self.norm(convolved) + self.second(self.conv(x))
        normed = self.norm(convolved)
        match self.between:
            case "sum":
                normed += convolved
            case "view":
                normed = normed + convolved.flatten(2).mean(2)[..., None, None]
            case "join":
                normed = torch.cat([normed, convolved], 1)
            case "operator":
                normed = normed + torch.ops.aten.relu(convolved)
        return normed


@pytest.mark.parametrize(
    "between",
    ["relu", "second norm", "both twice", "convolution twice", "sum", "view", "join", "operator"],
)
def test_a_norm_stays_where_something_else_reads_the_convolution(between: str) -> None:
    network = Fork(between).eval()
    randomise(network)
    batch = torch.randn(2, 3, 4, 4)
    folded = fold(network, batch[:1])
    assert norms_of(folded) == 2
    assert torch.equal(folded(batch), network(batch))
    assert norms_of(fold(Fork().eval(), batch[:1])) == 1


def test_a_norm_with_the_statistics_of_its_batch_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert norms_of(fold(network, torch.randn(1, 3, 4, 4))) == 1


def test_a_layer_that_computes_something_else_stays() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean())

    network = nn.Sequential(Standardised(3, 4, 1), nn.BatchNorm2d(4))
    assert norms_of(fold(network, torch.randn(1, 3, 4, 4))) == 1


def test_a_norm_with_two_names_is_folded_under_both() -> None:
    network = Fork("").eval()
    network.second = network.norm
    folded = fold(network, torch.randn(1, 3, 4, 4))
    assert norms_of(folded) == 0
    assert folded.norm is folded.second


def test_the_original_keeps_its_weights_mode_and_hooks_when_the_copy_changes() -> None:
    network = create_model("vgg11_bn", seed=0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold(network, images("vgg11_bn")[:1])
    shared = folded.get_parameter("classifier.0.weight")
    assert shared.data_ptr() == network.get_parameter("classifier.0.weight").data_ptr()
    folded.to(torch.bfloat16)
    assert network.training
    for module in (*network.modules(), *folded.modules()):
        assert not module._forward_hooks and not module._forward_pre_hooks
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key]), key


# The engine -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18", "densenet121", "googlenet"])
def test_the_engine_answers_as_the_unfolded_network(name: str) -> None:
    network = create_model(name, seed=0).eval()
    randomise(network)
    batch = images(name, count=3)
    assert_close(TorchEngine(network)(batch), network(batch), name, bound=1e-5)


def test_weights_loaded_later_are_those_of_the_next_engine() -> None:
    network, other = (create_model("resnet20", seed=seed).eval() for seed in (0, 1))
    batch = images("resnet20")
    TorchEngine(network)(batch)
    network.load_state_dict(other.state_dict())
    assert_close(TorchEngine(network)(batch), other(batch), "logits", bound=1e-5)


def test_bf16_rounds_no_more_than_autocast_does() -> None:
    """Beside the exact answer, the engine's is as near as PyTorch's own bf16."""
    network = create_model("resnet50", seed=0).eval()
    randomise(network)
    batch = images("resnet50", count=8)
    exact = network(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(batch).float()
    found = TorchEngine(network, precision="bf16")(batch)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 1.25 * (rounded - exact).norm()


@pytest.mark.parametrize("name", ["resnet20", "nin_cifar", "vgg11_bn", "lenet5"])
def test_the_head_is_computed_in_fp32(name: str) -> None:
    batch = images(name)
    network = create_model(name, seed=0).eval()
    headless = create_model(name, num_classes=0, seed=0).eval()
    weights = {key: network.state_dict()[key] for key in headless.state_dict()}
    headless.load_state_dict(weights)
    answer = TorchEngine(network, precision="bf16")(batch)
    assert not torch.equal(answer, answer.bfloat16().float())
    if name != "nin_cifar":  # whose head comes before the mean
        features = TorchEngine(headless, precision="bf16")(batch)
        assert_close(answer, network.logits(features), name, bound=1e-6)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.slow
def test_a_trained_network_keeps_its_answers(tmp_path: Path) -> None:
    """On 1,000 photos of clothes: 997 classes in bf16, and every one that is not close."""
    dataset = open_dataset("sample")
    parts = {
        name: part.take(np.arange(min(2_000, len(part)))) for name, part in dataset.splits.items()
    }
    with torch.enable_grad():
        run = fit(
            replace(dataset, splits=parts),
            model="resnet20",
            epochs=4,
            batch_size=32,
            out=tmp_path / "run",
        )
    classifier, rounded = load(run.path), load(run.path, precision="bf16")
    few = parts["test"].take(np.arange(1_000))
    plain, folded, bf16 = (
        softmax(np.array(list(predict_logits(engine, few.images, classifier.preprocess)), float))
        for engine in (classifier.model, classifier.engine, rounded.engine)
    )
    assert np.abs(folded - plain).max() < 1e-5
    assert (folded.argmax(1) == plain.argmax(1)).all()
    changed = bf16.argmax(1) != plain.argmax(1)
    second, first = np.sort(plain, axis=1)[:, -2:].T
    assert changed.sum() <= 3
    assert not (changed & (first - second > 0.25)).any()
    right, right_in_bf16 = ((answers.argmax(1) == few.labels).sum() for answers in (plain, bf16))
    assert right > 500  # it has learnt something
    assert abs(right - right_in_bf16) <= 1  # 0.1 percentage points
