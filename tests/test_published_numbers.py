"""The networks we build are the networks the papers describe."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from resnets.models import ResNet, create_model, model_rows
from resnets.models.blocks import BasicBlock, Bottleneck

# Exact sizes. ImageNet: torchvision's models of these names. CIFAR: the sum over the layers of
# arXiv:1512.03385, Section 4.2. The tutorial's: the network built as its text prints it.
EXACT = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "tutorial_resnet18_96": 11_180_810,
}

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


def on_meta(name: str) -> ResNet:
    with torch.device("meta"):  # shapes without memory: resnet152 costs nothing
        return create_model(name)


def weighted_layers(network: nn.Module) -> int:
    """Convolutions and linear layers, those of shortcuts aside, as the paper counts depth."""
    return sum(
        isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
        for name, module in network.named_modules()
    )


def test_every_model_has_its_exact_size() -> None:
    assert {row.name: row.parameters for row in model_rows()} == EXACT


@pytest.mark.parametrize(("name", "printed"), TABLE_6.items())
def test_cifar_sizes_match_the_papers_digits(name: str, printed: str) -> None:
    decimals = len(printed.partition(".")[2])
    (row,) = model_rows(name)
    assert f"{row.parameters / 1e6:.{decimals}f}" == printed


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
    network.bn1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1:]))
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
    same: dict[str, Any] = {"stride": 1, "downsample": nn.Identity()}

    def weights(block: nn.Module) -> int:
        return sum(math.prod(p.shape) for p in block.parameters() if p.dim() == 4)

    light = weights(Bottleneck(256, 64, stride_on="conv2", **same))
    heavy = weights(BasicBlock(256, 256, stride_on="conv1", **same))
    assert light == 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
    assert heavy == 2 * 9 * 256 * 256 == 1_179_648
