"""What only residual networks have: their options, their blocks, and networks without a peer."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import relative_difference
from resnets.errors import ConfigError, UnknownName
from resnets.models import create_model
from resnets.models.blocks import BasicBlock
from resnets.models.layers import DropPath, SqueezeExcitation
from resnets.models.resnet import make_block
from resnets.models.specs import spec_of
from resnets.models.specs.residual import RESIDUAL, StrideOn
from resnets.models.stems import PadShortcut


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


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


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "preact_resnet18", "preact_resnet50"])
@pytest.mark.parametrize(("place", "other"), [("conv1", "conv2"), ("conv2", "conv1")])
def test_the_stride_is_taken_by_the_convolution_named(
    name: str, place: StrideOn, other: StrideOn
) -> None:
    spec = dataclasses.replace(RESIDUAL[name], stride_on=place)
    block = make_block(spec, 8, 4, stride=2)
    assert getattr(block, place).stride == (2, 2)
    assert getattr(block, other).stride == (1, 1)
    assert block(torch.randn(2, 8, 7, 6)).shape == (2, 4 * block.expansion, 4, 3)


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


OPTIONS: list[dict[str, Any]] = [
    {"shortcut": "A"},
    {"shortcut": "C"},
    {"shortcut": "D"},
    {"stem": "deep"},
    {"stem": "deep", "shortcut": "D"},
    {"stem": "cifar"},
    {"stride_on": "conv1"},
    {"zero_init_residual": True},
    {"groups": 2, "width_per_group": 32},
    {"replace_stride_with_dilation": (False, True, True)},
    {"norm_layer": "group"},
    {"drop_path": 0.2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
@pytest.mark.parametrize("name", ["resnet50", "se_resnet50"])
def test_every_option_makes_a_network_that_learns(name: str, options: dict[str, Any]) -> None:
    learns(create_model(name, num_classes=3, seed=0, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"shortcut": "A"},
        {"stem": "bare"},
        {"stem": "deep"},
        {"norm_layer": "group"},
        {"zero_init_residual": True},
        {"replace_stride_with_dilation": (False, True, True)},
    ],
    ids=lambda options: "-".join(options),
)
def test_options_of_pre_activation_make_networks_that_learn(options: dict[str, Any]) -> None:
    learns(create_model("preact_resnet50", num_classes=3, seed=0, **options))


def learns(network: nn.Module) -> None:
    """Every parameter moves within three steps, also what a zero in front of it holds back."""
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.enable_grad():
            F.cross_entropy(network(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
        optimizer.step()
    for key, value in network.named_parameters():
        assert not torch.equal(value, before[key]), key


def test_options_may_stand_in_the_name() -> None:
    inside = spec_of(
        "resnet50:shortcut=C:drop_path=0.1:replace_stride_with_dilation=[false,true,true]"
    )
    beside = spec_of(
        "resnet50",
        {"shortcut": "C", "drop_path": 0.1, "replace_stride_with_dilation": [False, True, True]},
    )
    assert inside == beside and inside.family == "ResNet"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50:shortcuts=C", "did you mean 'shortcut'"),
        ("resnet50:shortcut=E", "shortcut='E' is not one of"),
        ("resnet50:shortcut", "'shortcut' is no option"),
        ("resnet50:norm_layer=layer", "batch, group"),
        ("resnet50:drop_path=1.5", "drop_path=1.5"),
        ("resnet18:groups=2", "basic blocks have neither"),
        ("plain34:shortcut=A", "plain networks have no shortcut"),
        ("resnet50:zero_init_residual=1", "has the wrong type"),
        ("plain20:drop_path=0.5", "drop_path has no effect on plain blocks"),
        ("plain20:zero_init_residual=true", "zero_init_residual has no effect"),
        ("tutorial_resnet18_96:drop_path=0.5", "has no effect on tutorial blocks"),
        ("tutorial_resnet18_96:norm_layer=group", "a batch norm of its own"),
        ("preact_resnet164:width_per_group=2", "leaves no channel of 16"),
        ("resnet20:replace_stride_with_dilation=[false,false,true]", "there are 3 stages"),
        ("resnet50d:replace_stride_with_dilation=[false,true,true]", "pools have thinned out"),
        ("keras_resnet50v2:replace_stride_with_dilation=[false,true,true]", "thinned out"),
    ],
)
def test_a_wrong_option_is_told(name: str, message: str) -> None:
    with pytest.raises((ConfigError, UnknownName), match=message):
        create_model(name)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110, 18, 34])
def test_plain_networks_have_their_twins_parameters(depth: int) -> None:
    with torch.device("meta"):
        plain, twin = create_model(f"plain{depth}"), create_model(f"resnet{depth}:shortcut=A")
    shapes = {key: value.shape for key, value in twin.state_dict().items()}
    assert {key: value.shape for key, value in plain.state_dict().items()} == shapes


@torch.no_grad()
def test_a_plain_network_is_its_twin_without_the_additions() -> None:
    plain, twin = create_model("plain20", seed=0).eval(), create_model("resnet20", seed=0).eval()
    for block in twin.modules():
        if isinstance(block, BasicBlock):
            block.downsample = Nothing()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain(x), twin(x))


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> float:
        return 0.0


def test_zero_initialised_residuals_begin_as_shortcuts() -> None:
    network = create_model("resnet50", seed=0, zero_init_residual=True)
    norms = [value for key, value in network.named_parameters() if key.endswith("bn3.weight")]
    assert len(norms) == 16 and all((value == 0).all() for value in norms)
    plain = create_model("resnet50", seed=0)
    assert all((value == 1).all() for key, value in plain.named_parameters() if "bn3.weight" in key)


@pytest.mark.parametrize("name", ["preact_resnet18", "preact_resnet50", "keras_resnet50v2"])
def test_zero_initialised_pre_activation_begins_as_shortcuts_and_learns(name: str) -> None:
    network = create_model(name, num_classes=3, seed=0, zero_init_residual=True)
    block = network.get_submodule("layer1.1")
    x = torch.randn(1, 256 if "50" in name else 64, 8, 8)
    assert torch.equal(block(x), x)
    learns(network)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "resnet50_v1", "preact_resnet18", "preact_resnet50", "resnet20"],
)
def test_dilation_keeps_the_pixels_a_stride_would_have_left(name: str) -> None:
    """A dilated network at every second or fourth pixel is the strided one."""
    stages = len(RESIDUAL[name].depths)
    switches = (False, True, True) if stages == 4 else (True, True, False)
    strided = create_model(name, seed=0).double().eval()
    dilated = create_model(name, seed=0, replace_stride_with_dilation=switches).double().eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    last = f"layer{stages}"
    found = dilated.features(x, at=[last])[last][:, :, ::4, ::4]
    assert relative_difference(found, strided.features(x, at=[last])[last]) < 1e-12


def test_drop_path_drops_whole_residuals_and_keeps_the_mean() -> None:
    layer = DropPath(0.25).train()
    dropped = layer(torch.ones(20_000, 2, 1, 1))
    values = dropped.flatten(1)
    assert (values[:, 0] == values[:, 1]).all(), "an image is dropped in all its channels"
    share = (values[:, 0] == 0).float().mean().item()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 20_000) ** 0.5
    assert torch.allclose(values[values[:, 0] != 0], torch.tensor(1 / 0.75))
    assert torch.equal(layer.eval()(torch.ones(4, 1, 1, 1)), torch.ones(4, 1, 1, 1))


def test_drop_path_grows_linearly_to_the_last_block() -> None:  # arXiv:1603.09382, Eq. 4
    network = create_model("resnet20", drop_path=0.5)
    found = [module.probability for module in network.modules() if isinstance(module, DropPath)]
    assert found == pytest.approx([0.5 * block / 9 for block in range(1, 10)])


def test_squeeze_and_excitation_scales_channels_by_its_formula() -> None:
    layer = SqueezeExcitation(32, 16)
    x = torch.randn(2, 32, 5, 4)
    means = x.mean((2, 3))
    assert layer.fc1.bias is not None and layer.fc2.bias is not None
    hidden = torch.relu(means @ layer.fc1.weight[:, :, 0, 0].T + layer.fc1.bias)
    weights = torch.sigmoid(hidden @ layer.fc2.weight[:, :, 0, 0].T + layer.fc2.bias)
    assert torch.allclose(layer(x), x * weights[:, :, None, None], atol=1e-6)
    assert layer.fc1.out_channels == 2, "32 / 16"


def test_pre_activation_without_its_activations_is_a_sum_of_convolutions() -> None:
    """A block whose norms give zero leaves its input as it is."""
    network = create_model("preact_resnet18", seed=0).eval()
    block = network.get_submodule("layer1.1")
    for norm in (block.bn1, block.bn2):
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)
    x = torch.randn(1, 64, 8, 8)
    assert torch.equal(block(x), x)


def plain_preact_residual(x: Tensor, state: dict[str, Tensor], block: str, stride: int) -> Tensor:
    x = F.conv2d(x, state[f"{block}.conv1.weight"], stride=stride)
    x = plain_norm(x, state, f"{block}.bn2").clamp(min=0)
    x = F.conv2d(x, state[f"{block}.conv2.weight"], padding=1)
    x = plain_norm(x, state, f"{block}.bn3").clamp(min=0)
    return F.conv2d(x, state[f"{block}.conv3.weight"])


def test_preact_resnet164_follows_the_paper() -> None:
    """arXiv:1603.05027, Appendix: projections of what is activated, the rest added to the input."""
    network = create_model("preact_resnet164").double().eval()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.dim() == 1:
            value.normal_(std=0.3)
    state = network.state_dict()
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    x = F.conv2d(images, state["conv1.weight"], padding=1)
    x = plain_norm(x, state, "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for i in range(18):
            block, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            first = stage == 1 and i == 0
            active = x if first else plain_norm(x, state, f"{block}.bn1").clamp(min=0)
            shortcut = x
            if i == 0:
                weight = state[f"{block}.downsample.0.weight"]
                shortcut = F.conv2d(active, weight, stride=stride)
            x = shortcut + plain_preact_residual(active, state, block, stride)
    x = plain_norm(x, state, "norm").clamp(min=0).mean((2, 3))
    logits = x @ state["fc.weight"].T + state["fc.bias"]
    assert relative_difference(network(images), logits) < 1e-12


def test_the_tutorials_resnet34_follows_its_text() -> None:
    network = create_model("tutorial_resnet34_32").double().eval()
    state = network.state_dict()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    x = F.conv2d(images, state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(plain_norm(x, state, "bn1").clamp(min=0), 3, stride=1, padding=1)
    for stage, blocks in enumerate((4, 5, 7, 4), start=1):
        for i in range(blocks):
            block, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            shortcut = x
            if i == 0:
                shortcut = F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
                shortcut = plain_norm(shortcut, state, f"{block}.downsample.1")
            x = (plain_residual(x, state, block, stride=stride) + shortcut).clamp(min=0)
    x = F.avg_pool2d(x, 2).flatten(1)
    assert relative_difference(network(images), x @ state["fc.weight"].T + state["fc.bias"]) < 1e-12
