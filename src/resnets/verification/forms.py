"""What the papers say about the form of residual networks: maps, strides, what shortcuts add."""

from collections.abc import Iterable

from resnets.verification import names
from resnets.verification.claims import rows
from resnets.verification.names import basic, bottleneck

V1, V2 = "arXiv:1512.03385", "arXiv:1603.05027"
BAG, RESNEXT, WIDE = "arXiv:1812.01187", "arXiv:1611.05431", "arXiv:1605.07146"
TUTORIAL = "the tutorial's code"
SPEED = "arXiv:2404.00498, its network for 94 %"

BLOCKS = {18: 8, 34: 16, 50: 16, 101: 33, 152: 50, 200: 66}
"""Residual blocks by depth: arXiv:1512.03385, Table 1; 200: arXiv:1603.05027, Section 5."""
KERAS_LAST = {
    50: ("layer1.2", "layer2.3", "layer3.5"),
    101: ("layer1.2", "layer2.3", "layer3.22"),
    152: ("layer1.2", "layer2.7", "layer3.35"),
}
"""The last block of each stage but the last one."""
CONV1_TO_LAYER4 = ("conv1", "layer1", "layer2", "layer3", "layer4")
CONV1_TO_LAYER3 = CONV1_TO_LAYER4[:4]
FIRST_BLOCKS = ("layer2.0", "layer3.0", "layer4.0")


def taken_by(layer: str, blocks: Iterable[str] = FIRST_BLOCKS) -> tuple[str]:
    """The strides are on that layer of these blocks."""
    return (f"{layer} of {' '.join(blocks)}",)


def projections(*channels: int, extra: int = 2) -> int:
    """Parameters of 1x1 projections from each number of channels to the next.

    Beside its weights each has ``extra`` numbers for an output channel: 2 of batch norm, 1 bias.
    """
    pairs = zip(channels, channels[1:], strict=False)
    return sum((before + extra) * after for before, after in pairs)


MAPS = (
    rows(
        "sides",
        dict.fromkeys(names.STRIDE_FIRST, (112, 56, 28, 14, 7)),
        f"{V1}, Table 1",
        at=CONV1_TO_LAYER4,
    ),
    rows(
        "sides",
        dict.fromkeys(names.KERAS, (112, 28, 14, 7, 7)),
        "Keras's network of that name",
        at=CONV1_TO_LAYER4,
    ),
    rows(
        "channels",
        dict.fromkeys(basic(names.IMAGENET), (64, 64, 128, 256, 512)),
        f"{V1}, Table 1",
        at=CONV1_TO_LAYER4,
    ),
    rows(
        "channels",
        dict.fromkeys(bottleneck(names.IMAGENET), (64, 256, 512, 1024, 2048)),
        f"{V1}, Table 1",
        at=CONV1_TO_LAYER4,
    ),
    rows(
        "sides",
        dict.fromkeys(names.CIFAR_ALL, (32, 32, 16, 8)),
        f"{V1}, Section 4.2",
        at=CONV1_TO_LAYER3,
    ),
    rows(
        "channels",
        dict.fromkeys(names.CIFAR_BASIC, (16, 16, 32, 64)),
        f"{V1}, Section 4.2",
        at=CONV1_TO_LAYER3,
    ),
    rows(
        "channels",
        dict.fromkeys(names.CIFAR_BOTTLENECK, (16, 64, 128, 256)),
        f"{V2}, Appendix",
        at=CONV1_TO_LAYER3,
    ),
    rows(
        "channels",
        {
            "wide_resnet28_10": (16, 160, 320, 640),
            "wide_resnet40_4": (16, 64, 128, 256),
            "wide_resnet16_8": (16, 128, 256, 512),
        },
        f"{WIDE}, Table 1",
        at=CONV1_TO_LAYER3,
    ),
    rows(
        "channels",
        {"resnext29_8x64d": (64, 256, 512, 1024)},
        f"{RESNEXT}, Section 5.3",
        at=CONV1_TO_LAYER3,
    ),
    rows(
        "sides",
        {"tutorial_resnet18_96": (45, 23, 12, 6, 3), "tutorial_resnet34_32": (16, 16, 8, 4, 2)},
        TUTORIAL,
        at=CONV1_TO_LAYER4,
    ),
    rows(
        "channels",
        {
            "tutorial_resnet18_96": (64, 64, 128, 256, 512),
            "tutorial_resnet34_32": (64, 128, 256, 512, 512),
        },
        TUTORIAL,
        at=CONV1_TO_LAYER4,
    ),
    rows("sides", dict.fromkeys(names.POOLED, (15, 15, 7, 3)), SPEED, at=CONV1_TO_LAYER3),
    rows("channels", dict.fromkeys(names.POOLED, (64, 64, 256, 256)), SPEED, at=CONV1_TO_LAYER3),
)

V15 = {name: depth for name, depth in names.V1.items() if not name.endswith("_v1")}
PAPERS_V1 = {name: depth for name, depth in names.V1.items() if name.endswith("_v1")}
STRIDES = (
    rows(
        "strides",
        dict.fromkeys(basic(names.STRIDE_FIRST), taken_by("3x3 conv1")),
        f"{V1}, Table 1: conv3_1, conv4_1 and conv5_1",
    ),
    rows(
        "strides",
        dict.fromkeys(PAPERS_V1, taken_by("1x1 conv1")),
        f"{V1}, Table 1: conv3_1, conv4_1 and conv5_1, on the first 1x1",
    ),
    rows(
        "strides",
        dict.fromkeys(bottleneck(V15 | names.STEM_C), taken_by("3x3 conv2")),
        "torchvision's v1.5",
    ),
    rows(
        "strides",
        dict.fromkeys(bottleneck(names.STEM_D), taken_by("3x3 conv2")),
        f"{BAG}, Section 4.2: in the 3x3",
    ),
    rows(
        "strides",
        dict.fromkeys(bottleneck(names.PREACT), taken_by("3x3 conv2")),
        f"{V2}, the authors' ImageNet code",
    ),
    rows(
        "strides",
        dict.fromkeys(names.RESNEXT, taken_by("3x3 conv2")),
        f"{RESNEXT}, Section 4 and Table 1: in the 3x3",
    ),
    rows(
        "strides",
        dict.fromkeys(names.WIDE | bottleneck(names.SE), taken_by("3x3 conv2")),
        "torchvision's and timm's networks of that name",
    ),
    rows(
        "strides",
        {name: taken_by("3x3 conv2", KERAS_LAST[depth]) for name, depth in names.KERAS.items()},
        "Keras's network of that name",
    ),
    rows(
        "strides",
        dict.fromkeys(
            names.CIFAR_BASIC | names.CIFAR_WIDE, taken_by("3x3 conv1", FIRST_BLOCKS[:2])
        ),
        f"{V1}, Section 4.2",
    ),
    rows(
        "strides",
        dict.fromkeys(names.CIFAR_BOTTLENECK, taken_by("1x1 conv1", FIRST_BLOCKS[:2])),
        f"{V2}, the authors' CIFAR code",
    ),
    rows(
        "strides",
        {"resnext29_8x64d": taken_by("3x3 conv2", FIRST_BLOCKS[:2])},
        f"{RESNEXT}, Section 4 and Table 1: in the 3x3",
    ),
    rows(
        "strides",
        {
            "tutorial_resnet18_96": taken_by("3x3 conv1"),
            "tutorial_resnet34_32": taken_by("3x3 conv1"),
        },
        TUTORIAL,
    ),
    rows("strides", dict.fromkeys(names.POOLED, ()), f"{SPEED}: max pools in their place"),
)

WITH_SHORTCUTS = {
    name: BLOCKS[depth] for name, depth in names.IMAGENET.items() if name not in names.PLAIN
}
CIFAR_SHORTCUTS = {
    **{
        name: (depth - 2) // 2
        for name, depth in (names.CIFAR_A | names.CIFAR_B | names.CIFAR_V2).items()
    },
    **{name: (depth - 2) // 3 for name, depth in names.CIFAR_BOTTLENECK.items()},
    "resnext29_8x64d": 9,
    **{name: (depth - 4) // 2 for name, depth in names.CIFAR_WIDE.items()},
}
NO_SHORTCUT = names.PLAIN | names.CIFAR_PLAIN
FREE = ("resnet18_option_a", "resnet34_option_a", *names.CIFAR_A, *NO_SHORTCUT)
OWN_SHORTCUT = {*FREE, "resnet18_option_c", "resnet34_option_c", *names.PREACT, *names.KERAS}
WITH_B = {name: depth for name, depth in names.IMAGENET.items() if name not in OWN_SHORTCUT}
SHORTCUTS = (
    rows("shortcuts", WITH_SHORTCUTS, f"{V1}, Table 1: one for each block"),
    rows("shortcuts", CIFAR_SHORTCUTS, f"{V1}, Section 4.2: one for each block"),
    rows("shortcuts", dict.fromkeys(NO_SHORTCUT, 0), f"{V1}, Section 4: plain"),
    rows(
        "shortcuts",
        {"tutorial_resnet18_96": 8, "tutorial_resnet34_32": 4 + 5 + 7 + 4},
        f"{TUTORIAL}: one for each block",
    ),
    rows("shortcuts", dict.fromkeys(names.POOLED, 3), f"{SPEED}: one for each block here"),
    rows(
        "shortcut parameters",
        dict.fromkeys(names.POOLED, 0),
        f"{V1}, Section 3.2: the identity adds none",
    ),
    rows(
        "shortcut parameters",
        dict.fromkeys(FREE, 0),
        f"{V1}, Section 3.3: option A adds none to the plain network",
    ),
    rows(
        "shortcut parameters",
        dict.fromkeys(basic(WITH_B), projections(64, 128, 256, 512)),
        f"{V1}, Section 3.3: option B, 1x1 and batch norm where channels grow",
    ),
    rows(
        "shortcut parameters",
        dict.fromkeys(bottleneck(WITH_B), projections(64, 256, 512, 1024, 2048)),
        f"{V1}, Section 3.3: option B, 1x1 and batch norm where channels grow",
    ),
    rows(
        "shortcut parameters",
        {"resnet18_option_c": 528_128, "resnet34_option_c": 1_092_992},
        f"{V1}, Section 3.3: option C, 1x1 and batch norm in every block",
    ),
    rows(
        "shortcut parameters",
        dict.fromkeys(names.CIFAR_B, projections(16, 32, 64)),
        f"{V1}, Section 3.3: option B, 1x1 and batch norm where channels grow",
    ),
    rows(
        "shortcut parameters",
        {
            **dict.fromkeys(basic(names.PREACT), projections(64, 128, 256, 512, extra=0)),
            **dict.fromkeys(
                bottleneck(names.PREACT), projections(64, 256, 512, 1024, 2048, extra=0)
            ),
            **dict.fromkeys(names.CIFAR_V2, projections(16, 32, 64, extra=0)),
            **dict.fromkeys(names.CIFAR_BOTTLENECK, projections(16, 64, 128, 256, extra=0)),
            "wide_resnet28_10": projections(16, 160, 320, 640, extra=0),
            "wide_resnet40_4": projections(16, 64, 128, 256, extra=0),
            "wide_resnet16_8": projections(16, 128, 256, 512, extra=0),
        },
        f"{V2}, Appendix: a 1x1 alone where channels grow",
    ),
    rows(
        "shortcut parameters",
        dict.fromkeys(names.KERAS, projections(64, 256, 512, 1024, 2048, extra=1)),
        "Keras's network of that name: a 1x1 with a bias where channels grow",
    ),
    rows(
        "shortcut parameters",
        {"resnext29_8x64d": projections(64, 256, 512, 1024)},
        f"{RESNEXT}, Section 5.3: option B",
    ),
    rows(
        "shortcut parameters",
        {
            "tutorial_resnet18_96": projections(64, 128, 256, 512, extra=1),
            "tutorial_resnet34_32": projections(64, 128, 256, 512, 512),
        },
        f"{TUTORIAL}: a 1x1 at the head of each stage that changes shape",
    ),
)

BLOCK_WEIGHTS = (
    rows(
        "weights",
        dict.fromkeys(basic(names.V1 | names.PLAIN), 1_179_648),
        f"{V1}, Fig. 5: 2 x 3x3x256x256",
        at=("layer3.1",),
    ),
    rows(
        "weights",
        dict.fromkeys(bottleneck(names.V1), 69_632),
        f"{V1}, Fig. 5: 1x1x256x64 + 3x3x64x64 + 1x1x64x256",
        at=("layer1.1",),
    ),
    rows(
        "basic to bottleneck",
        dict.fromkeys(bottleneck(names.V1), "16.94"),
        f"{V1}, Fig. 5: 1,179,648 / 69,632",
        at=("layer1.1",),
    ),
)

FORMS = (*MAPS, *STRIDES, *SHORTCUTS, *BLOCK_WEIGHTS)
