"""The multiply-adds that networks are held to are sums over layers, or other implementations'."""

from itertools import pairwise

import pytest
import torch

from counterparts import DEPTHS, counted_by_torch, timms
from resnets.verification import CLAIMS
from resnets.verification.costs import TIMM

DEPTHS_OF = {int(depth): blocks for depth, blocks in DEPTHS.items()}
IMAGENET = (64, 128, 256, 512)


def exact(name: str) -> list[int]:
    """Claimed to the last unit."""
    about = (claim.expected for claim in CLAIMS[name] if claim.about == "multiply-adds")
    return [expected for expected in about if isinstance(expected, int)]


@pytest.mark.parametrize("name", TIMM)
def test_costs_called_timms_are(name: str) -> None:
    with torch.device("meta"):
        network = timms(name)
    assert 2 * TIMM[name] == counted_by_torch(network, (3, 224, 224))


# Sums over the layers, as the papers describe them.


def convolution(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Of a square kernel, on a square map that it puts out."""
    return inputs * outputs * kernel**2 * side**2


def basics(
    n: tuple[int, ...],
    widths: tuple[int, ...],
    sides: tuple[int, ...],
    *,
    stem: int,
    shortcut: str,
) -> int:
    """Stages of n blocks of two 3x3 (arXiv:1512.03385, Table 1), with these shortcuts."""
    total = 0
    for before, width, side, blocks in zip((stem, *widths), widths, sides, n, strict=False):
        total += convolution(before, width, 3, side)
        total += (2 * blocks - 1) * convolution(width, width, 3, side)
        changes = before != width or (side != sides[0])
        if shortcut == "C" or (shortcut == "B" and changes):
            total += convolution(before, width, 1, side)
        if shortcut == "C":
            total += (blocks - 1) * convolution(width, width, 1, side)
    return total


def imagenet(depth: int, shortcut: str) -> int:
    """arXiv:1512.03385, Table 1: 18 and 34 layers."""
    stages = basics(DEPTHS_OF[depth], IMAGENET, (56, 28, 14, 7), stem=64, shortcut=shortcut)
    return convolution(3, 64, 7, 112) + stages + 512 * 1000


def cifar(n: int, shortcut: str, widths: tuple[int, ...] = (16, 32, 64)) -> int:
    """arXiv:1512.03385, Section 4.2, and arXiv:1605.07146, Table 1."""
    stages = basics((n, n, n), widths, (32, 16, 8), stem=16, shortcut=shortcut)
    return convolution(3, 16, 3, 32) + stages + widths[-1] * 10


def bottlenecks(
    depths: tuple[int, ...],
    outs: tuple[int, ...],
    sides: tuple[int, ...],
    *,
    stem: int,
    inner: tuple[int, ...],
    groups: int = 1,
    strided: str = "conv2",
) -> int:
    """Stages of 1x1, 3x3, 1x1 whose first block takes the stride, a 1x1 as its shortcut."""
    total = 0
    channels, big = stem, sides[0]
    for out, width, side, blocks in zip(outs, inner, sides, depths, strict=True):
        for place in range(blocks):
            first = big if strided == "conv2" and not place else side
            total += convolution(channels if not place else out, width, 1, first)
            total += convolution(width, width, 3, side) // groups + convolution(width, out, 1, side)
        total += convolution(channels, out, 1, side)
        channels, big = out, side
    return total


def imagenet_bottlenecks(depth: int, strided: str) -> int:
    """arXiv:1512.03385, Table 1: 50 layers and more."""
    outs, sides = (256, 512, 1024, 2048), (56, 28, 14, 7)
    stages = bottlenecks(DEPTHS_OF[depth], outs, sides, stem=64, inner=IMAGENET, strided=strided)
    return convolution(3, 64, 7, 112) + stages + 2048 * 1000


def preact_bottlenecks(n: int) -> int:
    """arXiv:1603.05027, Appendix: for CIFAR, the stride on the first 1x1."""
    stages = bottlenecks(
        (n, n, n), (64, 128, 256), (32, 16, 8), stem=16, inner=(16, 32, 64), strided="conv1"
    )
    return convolution(3, 16, 3, 32) + stages + 256 * 10


def resnext29() -> int:
    """arXiv:1611.05431, Section 5.3: 8 groups of 64."""
    inner = (512, 1024, 2048)
    outs = (256, 512, 1024)
    stages = bottlenecks((3, 3, 3), outs, (32, 16, 8), stem=64, inner=inner, groups=8)
    return convolution(3, 64, 3, 32) + stages + 1024 * 10


def keras_v2(depth: int) -> int:
    """Keras's: the last block of a stage takes the stride, on its 3x3; the first block projects."""
    total, channels = convolution(3, 64, 7, 112) + 2048 * 1000, 64
    sides = ((56, 28), (28, 14), (14, 7), (7, 7))
    for width, (side, last), blocks in zip(IMAGENET, sides, DEPTHS_OF[depth], strict=True):
        out = 4 * width
        total += convolution(channels, out, 1, side)
        for place in range(blocks):
            end = last if place == blocks - 1 else side
            total += convolution(channels if not place else out, width, 1, side)
            total += convolution(width, width, 3, end) + convolution(width, out, 1, end)
        channels = out
    return total


def squeezes(depth: int) -> int:
    """arXiv:1709.01507, Eq. 3: two layers a block, with reduction 16."""
    return sum(
        n * 2 * width * width // 16 for n, width in zip(DEPTHS_OF[depth], IMAGENET, strict=True)
    )


def chain(channels: int, *convolutions: tuple[int, int, int, int]) -> int:
    """(outputs, kernel, side, groups), one behind the other."""
    total = 0
    for outputs, kernel, side, groups in convolutions:
        total += convolution(channels, outputs, kernel, side) // groups
        channels = outputs
    return total


def linear(*widths: int) -> int:
    """Fully connected layers."""
    return sum(before * after for before, after in pairwise(widths))


def vgg(depths: tuple[int, ...], *, channels: int, hidden: int, classes: int) -> int:
    """arXiv:1409.1556, Table 1."""
    widths, sides = (64, 128, 256, 512, 512), (224, 112, 56, 28, 14)
    stages = zip(widths, sides, depths, strict=True)
    layers = [(width, 3, side, 1) for width, side, n in stages for _ in range(n)]
    return chain(channels, *layers) + linear(512 * 49, hidden, hidden, classes)


def nin(*convolutions: tuple[int, int, int]) -> int:
    """arXiv:1312.4400: (outputs, kernel, side)."""
    return chain(3, *((*each, 1) for each in convolutions))


def highway(depths: tuple[int, ...], widths: tuple[int, ...]) -> int:
    """A plain convolution a stage, then layers of two: the transform and its gate."""
    total, channels = linear(widths[-1], 10), 3
    for depth, width, side in zip(depths, widths, (32, 16, 8), strict=True):
        total += convolution(channels, width, 3, side) + 2 * depth * convolution(
            width, width, 3, side
        )
        channels = width
    return total


def dense_bc(layers: int, growth: int) -> int:
    """arXiv:1608.06993, Section 3, for CIFAR: three blocks, transitions that halve the channels."""
    channels = 2 * growth
    total = convolution(3, channels, 3, 32)
    for side in (32, 16, 8):
        for _ in range(layers):
            total += convolution(channels, 4 * growth, 1, side)
            total += convolution(4 * growth, growth, 3, side)
            channels += growth
        if side > 8:
            total += convolution(channels, channels // 2, 1, side)
            channels //= 2
    return total + channels * 10


VGGS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CIFAR_DEPTHS = {6 * n + 2: n for n in (3, 5, 7, 9, 18, 200)}
EXPECTED = {
    **{f"resnet{d}_option_{x.lower()}": imagenet(d, x) for d in (18, 34) for x in "AC"},
    **{f"resnet{depth}": imagenet(depth, "B") for depth in (18, 34)},
    **{f"plain{depth}": imagenet(depth, "A") for depth in (18, 34)},
    **{f"resnet{depth}_v1": imagenet_bottlenecks(depth, "conv1") for depth in (50, 101, 152)},
    "resnet50": imagenet_bottlenecks(50, "conv2"),
    **{f"se_resnet{depth}": imagenet(depth, "B") + squeezes(depth) for depth in (18, 34)},
    **{f"resnet{depth}": cifar(n, "A") for depth, n in CIFAR_DEPTHS.items()},
    **{f"plain{depth}": cifar(n, "A") for depth, n in CIFAR_DEPTHS.items() if depth < 1202},
    **{f"resnet{depth}_option_b": cifar(n, "B") for depth, n in CIFAR_DEPTHS.items()},
    **{f"preact_resnet{d}": cifar(n, "B") for d, n in CIFAR_DEPTHS.items() if d < 1202},
    "preact_resnet164": preact_bottlenecks(18),
    "preact_resnet1001": preact_bottlenecks(111),
    "wide_resnet28_10": cifar(4, "B", (160, 320, 640)),
    "wide_resnet40_4": cifar(6, "B", (64, 128, 256)),
    "wide_resnet16_8": cifar(2, "B", (128, 256, 512)),
    "resnext29_8x64d": resnext29(),
    **{f"keras_resnet{depth}v2": keras_v2(depth) for depth in (50, 101, 152)},
    "tutorial_resnet18_96": convolution(3, 64, 7, 45)
    + basics((2, 2, 2, 2), IMAGENET, (23, 12, 6, 3), stem=64, shortcut="B")
    + 512 * 10,
    "tutorial_resnet34_32": convolution(3, 64, 7, 16)
    + basics((4, 5, 7, 4), (128, 256, 512, 512), (16, 8, 4, 2), stem=64, shortcut="B")
    + 512 * 10,
    "resnet8_pooled": convolution(3, 24, 2, 31) + convolution(24, 64, 3, 31)
    + convolution(64, 64, 3, 15) + convolution(64, 256, 3, 15)
    + 2 * convolution(256, 256, 3, 7) + convolution(256, 256, 3, 3)
    + 256 * 10,
    # C3 reads all maps of S2 here, sixteen times six, the zeros of Table I among them
    "lenet5": chain(1, (6, 5, 28, 1), (16, 5, 10, 1), (120, 5, 1, 1)) + linear(120, 84),
    "tutorial_lenet5": chain(1, (6, 5, 24, 1), (16, 5, 8, 1)) + linear(256, 120, 84, 10),
    "alexnet2012": chain(
        3, (96, 11, 55, 1), (256, 5, 27, 2), (384, 3, 13, 1), (384, 3, 13, 2), (256, 3, 13, 2)
    )
    + linear(256 * 36, 4096, 4096, 1000),
    "tutorial_alexnet": chain(
        1, (96, 11, 55, 1), (256, 5, 23, 1), (384, 3, 11, 1), (384, 3, 11, 1), (256, 3, 11, 1)
    )
    + linear(256 * 25, 4096, 4096, 10),
    "vgg19": vgg(VGGS[19], channels=3, hidden=4096, classes=1000),
    **{
        f"tutorial_vgg{layers}": vgg(depths, channels=1, hidden=512, classes=10)
        for layers, depths in VGGS.items()
    },
    "nin_cifar": nin(
        (192, 5, 32), (160, 1, 32), (96, 1, 32),
        (192, 5, 16), (192, 1, 16), (192, 1, 16),
        (192, 3, 8), (192, 1, 8), (10, 1, 8),
    ),
    "nin_imagenet": nin(
        (96, 11, 54), (96, 1, 54), (96, 1, 54),
        (256, 5, 27), (256, 1, 27), (256, 1, 27),
        (384, 3, 13), (384, 1, 13), (384, 1, 13),
        (1024, 3, 6), (1024, 1, 6), (1000, 1, 6),
    ),
    "highway19": highway((5, 5, 5), (32, 80, 128)),
    "highway32": highway((10, 9, 9), (32, 48, 64)),
    "densenet_bc_100_12": dense_bc(16, 12),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_sums_over_the_layers_are(name: str) -> None:
    assert exact(name) == [EXPECTED[name]]


def test_every_network_is_held_to_its_multiply_adds_and_no_number_is_taken_on_trust() -> None:
    for name, claims in CLAIMS.items():
        assert any(claim.about == "multiply-adds" for claim in claims), name
        assert not exact(name) or name in EXPECTED or name in TIMM
