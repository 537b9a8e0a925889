"""The numbers that networks are held to are those of other implementations, or of formulas."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from counterparts import DEPTHS, timms
from resnets.verification import CLAIMS
from resnets.verification.claims import Claim
from resnets.verification.published import TORCHVISION as ERRORS
from resnets.verification.sizes import KERAS, OPTIONS, TIMM, TORCHVISION


def claims_from(source: str, about: str) -> list[tuple[str, Claim]]:
    return [
        (name, claim)
        for name, claims in CLAIMS.items()
        for claim in claims
        if source in claim.source and claim.about == about and not claim.at
    ]


def parameters(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


def record_of(name: str) -> dict[str, Any]:
    """What torchvision writes beside its first weights of that name."""
    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta


@pytest.mark.parametrize("name", ERRORS)
def test_errors_called_torchvisions_are(name: str) -> None:
    scores = record_of(name)["_metrics"]["ImageNet-1K"]
    assert ERRORS[name] == f"{100 - scores['acc@1']:.2f} / {100 - scores['acc@5']:.2f}"


@pytest.mark.parametrize(
    ("name", "claim"), claims_from("torchvision's network of that name", "parameters")
)
def test_sizes_called_torchvisions_are(name: str, claim: Claim) -> None:
    heads = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    build = torchvision.models.get_model_builder(name)
    assert parameters(lambda: build(weights=None, **heads)) == claim.expected


@pytest.mark.parametrize(
    ("name", "claim"), claims_from("the record of its weights", "multiply-adds")
)
def test_multiply_adds_called_torchvisions_are(name: str, claim: Claim) -> None:
    assert isinstance(claim.expected, str)
    assert float(claim.expected) == pytest.approx(1e9 * record_of(name)["_ops"])


def test_torchvision_counts_googlenet_without_its_heads() -> None:
    (claim,) = [claim for claim in CLAIMS["googlenet"] if claim.about == "parameters that run"]
    assert claim.expected == record_of("googlenet")["num_params"]


@pytest.mark.parametrize("name", TIMM)
def test_sizes_called_timms_are(name: str) -> None:
    assert parameters(lambda: timms(name)) == TIMM[name]


# Sums over the layers, as the papers describe them.


def convolution(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> int:
    return outputs * (inputs * kernel**2 + bias)


def norm(channels: int) -> int:
    return 2 * channels


def cifar(n: int, *, shortcut: Callable[[int, int], int]) -> int:
    """arXiv:1512.03385, Section 4.2: 6n + 2 layers."""
    total = convolution(3, 16, 3) + norm(16) + 64 * 10 + 10
    for before, width in pairwise((16, 16, 32, 64)):
        total += convolution(before, width, 3) + (2 * n - 1) * convolution(width, width, 3)
        total += 2 * n * norm(width) + (shortcut(before, width) if before != width else 0)
    return total


def option_b(before: int, width: int) -> int:
    return convolution(before, width, 1) + norm(width)


def preact_basic(n: int, widths: tuple[int, ...]) -> int:
    """arXiv:1603.05027, Appendix, and arXiv:1605.07146, Table 1: n blocks of two 3x3 a stage.

    The stem ends in the first block's batch norm and ReLU.
    """
    total = convolution(3, 16, 3) + norm(widths[-1]) + widths[-1] * 10 + 10
    for before, width in pairwise((16, *widths)):
        total += convolution(before, width, 3) + (2 * n - 1) * convolution(width, width, 3)
        total += norm(before) + (2 * n - 1) * norm(width)
        total += convolution(before, width, 1) if before != width else 0
    return total


def preact_bottleneck(n: int) -> int:
    """arXiv:1603.05027, Appendix: n blocks of 1x1, 3x3, 1x1 a stage."""
    total = convolution(3, 16, 3) + norm(256) + 256 * 10 + 10
    for before, out in pairwise((16, 64, 128, 256)):
        width = out // 4
        for inputs in (before, *(n - 1) * [out]):
            total += norm(inputs) + convolution(inputs, width, 1) + norm(width)
            total += convolution(width, width, 3) + norm(width) + convolution(width, out, 1)
        total += convolution(before, out, 1)
    return total


def resnext29(groups: int, width: int) -> int:
    """arXiv:1611.05431, Section 5.3: three stages of three blocks, groups of ``width``."""
    total = convolution(3, 64, 3) + norm(64) + 1024 * 10 + 10
    for stage, (before, out) in enumerate(pairwise((64, 256, 512, 1024))):
        inner = groups * width * 2**stage
        for inputs in (before, out, out):
            total += convolution(inputs, inner, 1) + convolution(inner // groups, inner, 3)
            total += convolution(inner, out, 1) + 2 * norm(inner) + norm(out)
        total += option_b(before, out)
    return total


def keras_v2(depths: tuple[int, ...]) -> int:
    """Keras's ResNetV2: biases in the stem, in each block's last 1x1 and in projections."""
    total = convolution(3, 64, 7, bias=True) + norm(2048) + 2048 * 1000 + 1000
    for (before, out), depth in zip(pairwise((64, 256, 512, 1024, 2048)), depths, strict=True):
        width = out // 4
        for inputs in (before, *(depth - 1) * [out]):
            total += norm(inputs) + convolution(inputs, width, 1) + norm(width)
            total += convolution(width, width, 3) + norm(width)
            total += convolution(width, out, 1, bias=True)
        total += convolution(before, out, 1, bias=True)
    return total


def mlpconvs(channels: int, *blocks: tuple[int, tuple[int, ...]]) -> int:
    """arXiv:1312.4400: (kernel, widths), a convolution and 1x1 convolutions, all with biases."""
    total = 0
    for kernel, (first, *others) in blocks:
        total += convolution(channels, first, kernel, bias=True)
        for before, after in pairwise((first, *others)):
            total += convolution(before, after, 1, bias=True)
        channels = (first, *others)[-1]
    return total


def with_shortcuts(plain: int, depths: tuple[int, ...], *, everywhere: bool) -> int:
    """arXiv:1512.03385, Section 3.3: B has a 1x1 where channels grow, C everywhere."""
    for before, width, depth in zip((64, 64, 128, 256), (64, 128, 256, 512), depths, strict=True):
        plain += option_b(before, width) if everywhere or before != width else 0
        plain += (depth - 1) * option_b(width, width) if everywhere else 0
    return plain


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_shortcut_options_differ_by_their_projections(name: str) -> None:
    depths = DEPTHS[name[-2:]]
    plain = OPTIONS[f"{name}_option_a"]
    assert with_shortcuts(plain, depths, everywhere=False) == TORCHVISION[name]
    assert with_shortcuts(plain, depths, everywhere=True) == OPTIONS[f"{name}_option_c"]


SUMS = {
    **{f"resnet{6 * n + 2}": cifar(n, shortcut=lambda *_: 0) for n in (3, 5, 7, 9, 18, 200)},
    **{f"plain{6 * n + 2}": cifar(n, shortcut=lambda *_: 0) for n in (3, 5, 7, 9, 18)},
    **{f"resnet{6 * n + 2}_option_b": cifar(n, shortcut=option_b) for n in (3, 5, 7, 9, 18, 200)},
    **{f"preact_resnet{6 * n + 2}": preact_basic(n, (16, 32, 64)) for n in (3, 5, 7, 9, 18)},
    "preact_resnet164": preact_bottleneck(18),
    "preact_resnet1001": preact_bottleneck(111),
    "wide_resnet28_10": preact_basic(4, (160, 320, 640)),
    "wide_resnet40_4": preact_basic(6, (64, 128, 256)),
    "wide_resnet16_8": preact_basic(2, (128, 256, 512)),
    "resnext29_8x64d": resnext29(8, 64),
    # patches, the stem's 3x3, then pairs of 3x3 of which the first of all is the stem's
    "resnet8_pooled": convolution(3, 24, 2)
    + convolution(24, 64, 3)
    + convolution(64, 64, 3)
    + convolution(64, 256, 3)
    + 3 * convolution(256, 256, 3)
    + 2 * norm(64)
    + 4 * norm(256)
    + 256 * 10
    + 10,
    "nin_cifar": mlpconvs(3, (5, (192, 160, 96)), (5, (192, 192, 192)), (3, (192, 192, 10))),
    "nin_imagenet": mlpconvs(
        3, (11, 3 * (96,)), (5, 3 * (256,)), (3, 3 * (384,)), (3, (1024, 1024, 1000))
    ),
    **{name: keras_v2(DEPTHS[name[12:-2]]) for name in KERAS},
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_the_layers_are(name: str) -> None:
    exact = [
        claim.expected
        for claim in CLAIMS[name]
        if claim.about == "parameters" and isinstance(claim.expected, int)
    ]
    assert exact == [SUMS[name]]


def test_lenets_layers_sum_to_its_size() -> None:
    sizes = [claim.expected for claim in CLAIMS["lenet5"] if claim.about == "parameters"]
    whole, *parts = sizes
    assert sum(part for part in parts if isinstance(part, int)) == whole
    # C1: six maps; S2: a weight and a bias each; C3: 60 pairs of maps (Table I), 16 biases
    assert parts[:3] == [6 * (25 + 1), 6 * 2, 60 * 25 + 16]
    assert parts[3:] == [16 * 2, 120 * (16 * 25 + 1), 84 * (120 + 1)]
