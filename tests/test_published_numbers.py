"""The networks we build are the networks the papers describe."""

import math

import pytest
import torch
from torch import nn

from resnets.models import Network, create_model, list_models
from resnets.models.resnet import make_block
from resnets.models.specs.residual import RESIDUAL

# Exact sizes. ImageNet: torchvision's and timm's models of these names. CIFAR: the sums over the
# layers of arXiv:1512.03385, Section 4.2 and arXiv:1603.05027, Appendix; what the papers of Wide
# ResNet and ResNeXt print, to the last unit by their code. Keras V2: Keras's models.
EXACT = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50_v1": 25_557_032,
    "resnet101_v1": 44_549_160,
    "resnet152_v1": 60_192_808,
    "resnet18_option_a": 11_515_688,
    "resnet18_option_c": 12_043_816,
    "resnet34_option_a": 21_623_848,
    "resnet34_option_c": 22_716_840,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "resnet20_option_b": 272_474,
    "resnet32_option_b": 466_906,
    "resnet44_option_b": 661_338,
    "resnet56_option_b": 855_770,
    "resnet110_option_b": 1_730_714,
    "resnet1202_option_b": 19_424_026,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "preact_resnet164": 1_703_258,
    "preact_resnet1001": 10_327_706,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnext29_8x64d": 34_426_698,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet40_4": 8_949_210,
    "wide_resnet16_8": 10_961_370,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "tutorial_resnet18_96": 11_180_810,
    "tutorial_resnet34_32": 57_915_466,
    "resnet8_pooled": 1_972_778,
}
HELD_ELSEWHERE = ("resnet*c", "resnet*d", "se_resnet*", "preact_resnet*", "keras_resnet*")
"""Parameter for parameter, to timm's and Keras's models: test_timm_parity, test_keras_parity."""

# arXiv:1512.03385, Table 6: millions of parameters, as printed.
TABLE_6 = {
    "resnet20": "0.27",
    "resnet32": "0.46",
    "resnet44": "0.66",
    "resnet56": "0.85",
    "resnet110": "1.7",
    "resnet1202": "19.4",
}

# arXiv:1512.03385, Table 1: channels and side of conv1, conv2_x ... conv5_x for a 224x224 image.
TABLE_1 = {
    "resnet18": [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet34": [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)],
    "resnet50": [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)],
    "resnet101": [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)],
    "resnet152": [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)],
}

IMAGENET_LAYERS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101}
IMAGENET_LAYERS |= {"resnet152": 152, "tutorial_resnet18_96": 18}


def on_meta(name: str) -> Network:
    with torch.device("meta"):  # shapes without memory: resnet152 costs nothing
        return create_model(name)


def size(name: str) -> int:
    return sum(parameter.numel() for parameter in on_meta(name).parameters())


def weighted_layers(network: nn.Module) -> int:
    """Convolutions and linear layers, those of shortcuts aside, as the paper counts depth."""
    return sum(
        isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
        for name, module in network.named_modules()
    )


@pytest.mark.parametrize(("name", "parameters"), EXACT.items())
def test_networks_have_their_exact_size(name: str, parameters: int) -> None:
    assert size(name) == parameters


def test_every_residual_network_is_held_to_a_size() -> None:
    held = set(EXACT) | {name for pattern in HELD_ELSEWHERE for name in list_models(pattern)}
    assert set(RESIDUAL) <= held


@pytest.mark.parametrize("units", [3, 5, 7, 9, 18])
def test_preact_cifar_networks_have_the_sum_of_their_layers(units: int) -> None:
    """arXiv:1603.05027: units of two 3x3, each norm before its convolution."""
    total = 3 * 9 * 16 + 2 * 16  # the stem, with the first unit's first norm
    before = 16
    for width in (16, 32, 64):
        total += before * width * (before != width)  # the projection
        for unit in range(units):
            inside = before if unit == 0 else width
            total += 9 * inside * width + 9 * width * width
            total += 2 * inside * (unit > 0 or before != width) + 2 * width
        before = width
    assert size(f"preact_resnet{6 * units + 2}") == total + 2 * 64 + 64 * 10 + 10


@pytest.mark.parametrize(("name", "printed"), TABLE_6.items())
def test_cifar_sizes_match_the_papers_digits(name: str, printed: str) -> None:
    decimals = len(printed.partition(".")[2])
    assert f"{size(name) / 1e6:.{decimals}f}" == printed


@pytest.mark.parametrize(
    ("name", "n"),
    [("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9), ("resnet110", 18)],
)
def test_cifar_networks_have_6n_plus_2_layers(name: str, n: int) -> None:
    network = on_meta(name)
    assert weighted_layers(network) == 6 * n + 2 == int(name.removeprefix("resnet"))
    assert [len(getattr(network, f"layer{stage}")) for stage in (1, 2, 3)] == [n, n, n]


def test_resnet1202_has_1202_layers() -> None:
    assert weighted_layers(on_meta("resnet1202")) == 6 * 200 + 2


@pytest.mark.parametrize(("name", "layers"), IMAGENET_LAYERS.items())
def test_imagenet_networks_are_as_deep_as_their_names_say(name: str, layers: int) -> None:
    assert weighted_layers(on_meta(name)) == layers


@pytest.mark.parametrize(("name", "rows"), TABLE_1.items())
def test_imagenet_maps_have_the_papers_sizes(name: str, rows: list[tuple[int, int]]) -> None:
    network = on_meta(name)
    seen: list[torch.Size] = []
    network.get_submodule("bn1").register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[1:])
    )
    maps = network.features(torch.empty(1, 3, 224, 224, device="meta"))
    seen += [maps[f"layer{stage}"].shape[1:] for stage in (1, 2, 3, 4)]
    assert seen == [(channels, side, side) for channels, side in rows]


def test_cifar_maps_have_the_papers_sizes() -> None:  # Section 4.2: 32, 16 and 8 pixels
    maps = on_meta("resnet20").features(torch.empty(1, 3, 32, 32, device="meta"))
    shapes = {point: tuple(value.shape[1:]) for point, value in maps.items()}
    assert shapes == {
        "stem": (16, 32, 32),
        "layer1": (16, 32, 32),
        "layer2": (32, 16, 16),
        "layer3": (64, 8, 8),
        "pooled": (64,),
        "logits": (10,),
    }


def test_the_tutorials_maps_have_the_sizes_its_padding_gives() -> None:  # (96 - 7) // 2 + 1 = 45
    network = on_meta("tutorial_resnet18_96")
    maps = network.features(torch.empty(1, 3, 96, 96, device="meta"))
    assert [tuple(value.shape[1:]) for value in maps.values()] == [
        (64, 23, 23),
        (64, 23, 23),
        (128, 12, 12),
        (256, 6, 6),
        (512, 3, 3),
        (512,),
        (10,),
    ]


def test_a_bottleneck_is_17_times_lighter_than_a_basic_block_at_256_channels() -> None:
    def weights(name: str, width: int) -> int:
        block = make_block(RESIDUAL[name], 256, width, stride=1)
        return sum(math.prod(p.shape) for p in block.parameters() if p.dim() == 4)

    light, heavy = weights("resnet50", 64), weights("resnet34", 256)
    assert light == 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
    assert heavy == 2 * 9 * 256 * 256 == 1_179_648
