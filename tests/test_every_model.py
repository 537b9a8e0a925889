"""One contract for every row of the table, then what only some rows have."""

import copy
import math
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.errors import ConfigError, UnknownName
from resnets.models import ResNet, create_model, list_models
from resnets.models.blocks import BasicBlock, Bottleneck, PadShortcut
from resnets.models.specs import SPECS, StrideOn

# Small inputs that still leave every stage a map of more than one pixel.
SIDES = {"imagenet": 64, "cifar": 16, "tutorial": 96}


def images(name: str, *, count: int = 2, channels: int = 3) -> Tensor:
    side = SIDES[SPECS[name].stem]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, side, side, generator=generator)


@pytest.fixture(scope="module", params=list(SPECS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(name: str) -> ResNet:
    """Seed 0, evaluating, every residual scaled down to a tenth.

    Training leaves residuals small beside their shortcuts. At full size an untrained network
    doubles from block to block: resnet1202 overflows, and rounding errors grow as fast.
    """
    network = create_model(name, seed=0)
    for block in network.modules():
        if isinstance(block, (BasicBlock, Bottleneck)):
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            nn.init.constant_(last.weight, 0.1)
    return network.eval()


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def relative_difference(found: Tensor, expected: Tensor) -> float:
    assert torch.isfinite(expected).all()
    return ((found.double() - expected.double()).abs().max() / expected.abs().max()).item()


def test_logits_have_one_column_per_class(name: str, network: ResNet) -> None:
    classes = 10 if SPECS[name].stem in ("cifar", "tutorial") else 1000
    logits = network(images(name))
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()


def test_features_name_every_point_shallow_to_deep(name: str, network: ResNet) -> None:
    points = network.features(images(name))
    stages = [f"layer{i + 1}" for i in range(len(SPECS[name].depths))]
    assert list(points) == ["stem", *stages, "pooled", "logits"] == list(network.points)
    torch.testing.assert_close(points["pooled"], points[stages[-1]].mean(dim=(2, 3)))
    assert torch.equal(points["logits"], network(images(name)))


def test_features_give_the_points_asked_for(name: str, network: ResNet) -> None:
    everything = network.features(images(name))
    some = network.features(images(name), at=["pooled", "layer2"])
    assert list(some) == ["layer2", "pooled"]
    assert all(torch.equal(some[point], everything[point]) for point in some)


def test_gradients_reach_every_parameter(name: str, network: ResNet) -> None:
    learner = copy.deepcopy(network).train()
    with torch.enable_grad():
        F.cross_entropy(learner(images(name)), torch.tensor([0, 1])).backward()
    for key, parameter in learner.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, key


def test_weights_are_a_function_of_the_seed(name: str, network: ResNet) -> None:
    before = torch.get_rng_state()
    same, other = create_model(name, seed=0), create_model(name, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for (key, first), second, third in zip(
        network.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        if first.dim() > 1:  # the others are batch norm's, or biases
            assert torch.equal(first, second) and not torch.equal(first, third), key


def test_weights_survive_safetensors(name: str, network: ResNet, tmp_path: Path) -> None:
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    with torch.device("meta"):
        loaded = create_model(name)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    loaded.load_state_dict(state, assign=True)
    assert torch.equal(loaded.eval()(images(name)), network(images(name)))


def test_grey_images_and_other_class_counts_are_one_argument_away(name: str) -> None:
    network = create_model(name, num_classes=7, in_channels=1).eval()
    assert network(images(name, channels=1)).shape == (2, 7)


def test_without_a_head_the_pooled_features_come_out(name: str, network: ResNet) -> None:
    with torch.device("meta"):
        headless = create_model(name, num_classes=0).eval()
    state = network.state_dict()
    del state["fc.weight"], state["fc.bias"]
    headless.load_state_dict(state, assign=True)
    pooled = network.features(images(name), at=["pooled"])["pooled"]
    assert torch.equal(headless(images(name)), pooled)


def test_bfloat16_agrees_to_three_percent_of_the_largest_logit(name: str, network: ResNet) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images(name))
    assert rough.dtype == torch.bfloat16
    assert relative_difference(rough, network(images(name))) < 0.03


def test_channels_last_agrees_to_float32_rounding(name: str, network: ResNet) -> None:
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)
    points = twin.features(images(name).contiguous(memory_format=torch.channels_last))
    assert relative_difference(points["logits"], network(images(name))) < 1e-5
    for point in points.keys() - {"pooled", "logits"}:
        assert points[point].is_contiguous(memory_format=torch.channels_last), point


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "tutorial_resnet18_96"])
def test_the_smallest_of_each_family_exports_with_any_batch_size(name: str) -> None:
    network = create_model(name, seed=0).eval()
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(network, (images(name),), dynamic_shapes=({0: batch},))
    for count in (1, 3):
        pixels = images(name, count=count)
        assert relative_difference(exported.module()(pixels), network(pixels)) < 1e-6


def test_forward_keeps_no_point_alive() -> None:
    network = create_model("resnet20").eval()
    seen: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    layer1 = network.get_submodule("layer1")
    layer1.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
    network.fc.register_forward_hook(lambda *call: alive.append(seen[-1]() is not None))
    network(images("resnet20"))
    network.features(images("resnet20"), at=["layer2"])  # stops before the head
    network.features(images("resnet20"), at=["layer1", "logits"])
    assert alive == [False, True]


def test_a_point_that_is_not_there_is_answered_with_the_nearest() -> None:
    network = create_model("resnet20")
    with pytest.raises(UnknownName, match="did you mean 'layer3'") as caught:
        network.features(images("resnet20"), at=["layer4"])
    assert "stem, layer1, layer2, layer3, pooled, logits" in caught.value.fix
    assert list(network.features(images("resnet20"), at="layer3")) == ["layer3"]
    assert network.features(images("resnet20"), at=[]) == {}


def test_a_typo_is_answered_with_the_right_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        create_model("resnet-50")


@pytest.mark.parametrize(
    "mistake",
    [
        {"num_classes": -1},
        {"num_classes": 2.5},
        {"num_classes": True},
        {"in_channels": 0},
        {"seed": -1},
        {"initialisation": "xaver"},
    ],
)
def test_nonsense_is_refused_by_its_name(mistake: dict[str, Any]) -> None:
    ((setting, value),) = mistake.items()
    with pytest.raises(ConfigError, match=f"{setting}={value!r}"):
        create_model("resnet20", **mistake)


def test_a_seeded_network_is_put_on_the_default_device() -> None:
    with torch.device("meta"):
        assert create_model("resnet20", seed=0).fc.weight.is_meta
    assert create_model("resnet20", seed=0).fc.weight.device.type == "cpu"


def test_names_are_listed_in_the_tables_order_by_shell_pattern() -> None:
    assert list_models() == list(SPECS)
    assert list_models("resnet1*") == [
        "resnet18",
        "resnet101",
        "resnet152",
        "resnet110",
        "resnet1202",
    ]
    assert list_models("vgg*") == []


@pytest.mark.parametrize("name", ["resnet20", "resnet50", "tutorial_resnet18_96"])
def test_he_weights_are_normal_with_variance_two_over_fan_out(name: str) -> None:
    for key, module in create_model(name, seed=0).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            scores = module.weight.double().flatten() / (2 / fan_out) ** 0.5
            # five standard errors of a standard normal's first, second and fourth moment
            for power, moment, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
                error = (scores.pow(power).mean() - moment).abs()
                assert error < 5 * (variance / scores.numel()) ** 0.5, (key, power)


@pytest.mark.parametrize("name", ["resnet20", "tutorial_resnet18_96"])
def test_xavier_weights_are_uniform_within_glorots_limit(name: str) -> None:
    for key, module in create_model(name, seed=0, initialisation="xavier").named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            outputs, inputs, *kernel = module.weight.shape
            limit = (6 / ((inputs + outputs) * math.prod(kernel))) ** 0.5
            shares = module.weight.double().flatten() / limit
            assert shares.abs().max() <= 1 + 1e-6, key
            # five standard errors of the first and second moment of a uniform in [-1, 1]
            for power, moment, variance in ((1, 0, 1 / 3), (2, 1 / 3, 4 / 45)):
                error = (shares.pow(power).mean() - moment).abs()
                assert error < 5 * (variance / shares.numel()) ** 0.5, (key, power)


def test_the_pad_shortcut_takes_every_other_pixel_and_adds_zero_channels() -> None:
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    expected = torch.zeros(2, 7, 3, 4)
    expected[:, :3] = x[:, :, ::2, ::2]
    with torch.enable_grad():
        found = PadShortcut(3, 7, stride=2)(x)
        pull = torch.randn_like(found)
        (found * pull).sum().backward()
    assert torch.equal(found, expected)
    gradient = torch.zeros_like(x)
    gradient[:, :, ::2, ::2] = pull[:, :3]
    assert x.grad is not None and torch.equal(x.grad, gradient)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_the_stride_is_taken_by_the_convolution_named(
    block: type[BasicBlock] | type[Bottleneck],
) -> None:
    places: list[tuple[StrideOn, StrideOn]] = [("conv1", "conv2"), ("conv2", "conv1")]
    for place, other in places:
        shortcut = nn.Conv2d(8, 4 * block.expansion, 1, stride=2)
        layers = block(8, 4, stride=2, stride_on=place, downsample=shortcut)
        assert getattr(layers, place).stride == (2, 2)
        assert getattr(layers, other).stride == (1, 1)
        assert layers(torch.randn(2, 8, 7, 6)).shape == (2, 4 * block.expansion, 4, 3)


def plain_norm(x: Tensor, state: dict[str, Tensor], name: str, *, epsilon: float = 1e-5) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + epsilon) ** 0.5 * weight + bias


def plain_residual(x: Tensor, state: dict[str, Tensor], block: str, *, stride: int) -> Tensor:
    x = F.conv2d(x, state[f"{block}.conv1.weight"], stride=stride, padding=1)
    x = plain_norm(x, state, f"{block}.bn1").clamp(min=0)
    x = F.conv2d(x, state[f"{block}.conv2.weight"], padding=1)
    return plain_norm(x, state, f"{block}.bn2")


def plain_resnet20(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """arXiv:1512.03385, Section 4.2, from its sentences."""
    x = plain_norm(F.conv2d(x, state["conv1.weight"], padding=1), state, "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for i in range(3):
            stride = 2 if stage > 1 and i == 0 else 1
            residual = plain_residual(x, state, f"layer{stage}.{i}", stride=stride)
            shortcut = torch.zeros_like(residual)
            shortcut[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
            x = (residual + shortcut).clamp(min=0)
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def plain_tutorial(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The tutorial's network, from what its text says."""
    x = F.conv2d(x, state["conv1.weight"], state["conv1.bias"], stride=2)
    x = plain_norm(x, state, "bn1", epsilon=1e-3).clamp(min=0)
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in (1, 2, 3, 4):
        for i in range(2):
            block = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            residual = plain_residual(x, state, block, stride=stride).clamp(min=0)
            if stride == 2:
                weight, bias = (
                    state[f"{block}.downsample.0.weight"],
                    state[f"{block}.downsample.0.bias"],
                )
                x = F.conv2d(x, weight, bias, stride=2)
            x = (residual + x).clamp(min=0)
    return x[:, :, :3, :3].mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize(
    ("name", "formula", "side"),
    [
        ("resnet20", plain_resnet20, 32),
        ("resnet20", plain_resnet20, 27),
        ("tutorial_resnet18_96", plain_tutorial, 96),
        ("tutorial_resnet18_96", plain_tutorial, 128),  # a 4x4 map, of which the pool reads 3x3
    ],
)
def test_networks_without_a_reference_follow_their_formula(
    name: str, formula: Callable[[Tensor, dict[str, Tensor]], Tensor], side: int
) -> None:
    network = create_model(name).double().eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.dim() == 1:
            value.normal_()
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    assert relative_difference(network(x), formula(x, network.state_dict())) < 1e-12


def tutorial_map(side: int) -> int:
    """The side of the last stage's map: what padding and strides leave of an image."""
    side = (side - 7) // 2 + 1  # 7x7, stride 2, unpadded
    for _ in range(4):  # the max pool and three stages, padded, halve and round up
        side = (side + 1) // 2
    return side


def test_the_tutorials_network_takes_the_sizes_its_pool_leaves_one_pixel_of() -> None:
    fitting = [side for side in range(7, 400) if tutorial_map(side) // 3 == 1]
    smallest, largest = fitting[0], fitting[-1]
    assert fitting == list(range(smallest, largest + 1))
    network = create_model("tutorial_resnet18_96", seed=0).eval()
    assert network(torch.zeros(1, 3, smallest, largest)).shape == (1, 10)
    for height, width in ((smallest - 1, 96), (96, largest + 1), (6, 6)):
        with pytest.raises(ConfigError, match=f"{height}x{width}") as caught:
            network(torch.zeros(1, 3, height, width))
        assert f"{smallest} to {largest}" in caught.value.fix


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_the_papers_networks_take_a_single_pixel(name: str) -> None:
    assert torch.isfinite(create_model(name, seed=0).eval()(torch.zeros(1, 3, 1, 1))).all()
