"""The residual networks by family, each name with its depth: what the tables of claims run over."""

BASIC, BOTTLENECK = (18, 34), (50, 101, 152)
CIFAR = {6 * n + 2: n for n in (3, 5, 7, 9, 18, 200)}
"""Depth -> blocks of a stage (arXiv:1512.03385, Section 4.2)."""

V1 = {
    **{f"resnet{depth}": depth for depth in (*BASIC, *BOTTLENECK)},
    **{f"resnet{depth}_v1": depth for depth in BOTTLENECK},
    **{f"resnet{depth}_option_{option}": depth for depth in BASIC for option in "ac"},
}
PLAIN = {f"plain{depth}": depth for depth in BASIC}
STEM_C = {f"resnet{depth}c": depth for depth in BOTTLENECK}
STEM_D = {f"resnet{depth}d": depth for depth in (*BASIC, *BOTTLENECK)}
PREACT = {f"preact_resnet{depth}": depth for depth in (*BASIC, *BOTTLENECK, 200)}
KERAS = {f"keras_resnet{depth}v2": depth for depth in BOTTLENECK}
RESNEXT = {"resnext50_32x4d": 50, "resnext101_32x8d": 101, "resnext101_64x4d": 101}
WIDE = {"wide_resnet50_2": 50, "wide_resnet101_2": 101}
SE = {f"se_resnet{depth}": depth for depth in (*BASIC, *BOTTLENECK)}
STRIDE_FIRST = {**V1, **PLAIN, **STEM_C, **STEM_D, **PREACT, **RESNEXT, **WIDE, **SE}
"""Every ImageNet network but Keras's V2, whose stages end with their stride."""
IMAGENET = STRIDE_FIRST | KERAS

CIFAR_A = {f"resnet{depth}": depth for depth in CIFAR}
CIFAR_B = {f"resnet{depth}_option_b": depth for depth in CIFAR}
CIFAR_PLAIN = {f"plain{depth}": depth for depth in CIFAR if depth < 1202}
CIFAR_V2 = {f"preact_resnet{depth}": depth for depth in CIFAR if depth < 1202}
CIFAR_BASIC = {**CIFAR_A, **CIFAR_B, **CIFAR_PLAIN, **CIFAR_V2}
CIFAR_BOTTLENECK = {"preact_resnet164": 164, "preact_resnet1001": 1001}
"""9n + 2 layers (arXiv:1603.05027, Appendix)."""
CIFAR_WIDE = {"wide_resnet28_10": 28, "wide_resnet40_4": 40, "wide_resnet16_8": 16}
"""6n + 4 convolutions (arXiv:1605.07146, Table 1)."""
CIFAR_ALL = {**CIFAR_BASIC, **CIFAR_BOTTLENECK, **CIFAR_WIDE, "resnext29_8x64d": 29}
POOLED = {"resnet8_pooled": 8}
"""Whose shape changes between blocks, in steps that shortcuts are no part of."""
TUTORIAL = {"tutorial_resnet18_96": 18, "tutorial_resnet34_32": 42}


def basic(names: dict[str, int]) -> dict[str, int]:
    """Those of basic blocks."""
    return {name: depth for name, depth in names.items() if depth in BASIC}


def bottleneck(names: dict[str, int]) -> dict[str, int]:
    """Those of bottlenecks."""
    return {name: depth for name, depth in names.items() if depth not in BASIC}
