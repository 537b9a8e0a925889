"""What the papers say about the size of residual networks: layers and parameters."""

from resnets.verification import names
from resnets.verification.claims import rows
from resnets.verification.forms import BAG, BLOCKS, SPEED, projections

V1, V2 = "arXiv:1512.03385", "arXiv:1603.05027"
RESNEXT, WIDE, SE = "arXiv:1611.05431", "arXiv:1605.07146", "arXiv:1709.01507"


def squeezes(*blocks: int) -> int:
    """Parameters of squeeze and excitation in so many blocks of 64, 128, 256, 512 channels."""
    return sum(
        count * (2 * channels * channels // 16 + channels // 16 + channels)
        for count, channels in zip(blocks, (64, 128, 256, 512), strict=True)
    )


LAYERS = (
    rows("layers", names.V1 | names.PLAIN, f"{V1}, Table 1"),
    rows("layers", names.CIFAR_BASIC, f"{V1}, Section 4.2: 6n + 2"),
    rows("layers", names.CIFAR_BOTTLENECK, f"{V2}, Appendix: 9n + 2"),
    rows("layers", names.PREACT, f"{V2}, Section 5"),
    rows("layers", names.KERAS, f"{V1}, Table 1"),
    rows("layers", {"resnext50_32x4d": 50}, f"{RESNEXT}, Table 1"),
    rows("layers", {"resnext101_64x4d": 101}, f"{RESNEXT}, Table 4"),
    rows("layers", {"wide_resnet50_2": 50}, f"{WIDE}, Table 8"),
    rows(
        "layers",
        {"resnext101_32x8d": 101, "wide_resnet101_2": 101},
        "torchvision's network of that name, in no paper's table",
    ),
    rows(
        "layers",
        {name: depth + 2 for name, depth in (names.STEM_C | names.STEM_D).items()},
        f"{BAG}, Section 4.2, Fig. 2: two more in the stem",
    ),
    rows(
        "layers",
        {name: depth + 2 * BLOCKS[depth] for name, depth in names.SE.items()},
        f"{SE}, Fig. 3: behind each block's, the two that excite its channels",
    ),
    rows("layers", {"resnext29_8x64d": 29}, f"{RESNEXT}, Section 5.3: 9n + 2"),
    rows("convolutions", names.CIFAR_WIDE, f"{WIDE}, Table 1: 6n + 4, projections counted"),
    rows("layers", {"tutorial_resnet18_96": 18}, f"{V1}, Table 1"),
    rows(
        "layers",
        {"tutorial_resnet34_32": 40 + 2},
        "the tutorial's code: 40 in the stages (its text counts 32), stem and head",
    ),
    rows("layers", names.POOLED, f"{SPEED}: patches, two in each of three blocks, head"),
)

TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
V1_SIZES = {f"resnet{depth}_v1": TORCHVISION[f"resnet{depth}"] for depth in names.BOTTLENECK}
OPTIONS = {
    "resnet18_option_a": 11_515_688,
    "resnet34_option_a": 21_623_848,
    "resnet18_option_c": 12_043_816,
    "resnet34_option_c": 22_716_840,
}
CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}
CIFAR_B = {20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770, 110: 1_730_714}
PLAIN = {
    "plain18": OPTIONS["resnet18_option_a"],
    "plain34": OPTIONS["resnet34_option_a"],
    **{name: CIFAR[depth] for name, depth in names.CIFAR_PLAIN.items()},
}
V1_PARAMETERS = (
    rows("parameters", TORCHVISION, "torchvision's network of that name"),
    rows("parameters", V1_SIZES, "torchvision's v1.5: where the stride sits changes no size"),
    rows("parameters", OPTIONS, f"{V1}, Table 1 and Section 3.3: sum over the layers"),
    rows("parameters", PLAIN, f"{V1}, Section 4: those of the network with option A"),
    rows(
        "parameters",
        {name: CIFAR[depth] for name, depth in names.CIFAR_A.items()},
        f"{V1}, Section 4.2: sum over the layers",
    ),
    rows(
        "parameters",
        {
            "resnet20": "0.27M",
            "resnet32": "0.46M",
            "resnet44": "0.66M",
            "resnet56": "0.85M",
            "resnet110": "1.7M",
            "resnet1202": "19.4M",
        },
        f"{V1}, Table 6",
    ),
    rows(
        "parameters",
        {f"resnet{depth}_option_b": size for depth, size in CIFAR_B.items()},
        f"{V1}, Section 4.2 with option B: sum over the layers",
    ),
    rows(
        "parameters",
        {"resnet1202_option_b": CIFAR[1202] + projections(16, 32, 64)},
        f"{V1}, Section 4.2: option A's and two projections",
    ),
)
# Counted on timm 1.0's networks of these names, or on its classes given these depths.
TIMM = {
    "resnet50c": 25_576_264,
    "resnet101c": 44_568_392,
    "resnet152c": 60_212_040,
    "resnet18d": 11_708_744,
    "resnet34d": 21_816_904,
    "resnet50d": 25_576_264,
    "resnet101d": 44_568_392,
    "resnet152d": 60_212_040,
    "se_resnet50": 28_088_024,
    "se_resnet101": 49_326_872,
    "se_resnet152": 66_821_848,
    "preact_resnet18": 11_687_720,
    "preact_resnet34": 21_795_880,
    "preact_resnet50": 25_549_352,
    "preact_resnet101": 44_541_480,
    "preact_resnet152": 60_185_128,
    "preact_resnet200": 64_666_152,
}
# Trainable ones only: Keras also counts the means and variances of its batch norms.
KERAS = {
    "keras_resnet50v2": 25_568_360,
    "keras_resnet101v2": 44_577_896,
    "keras_resnet152v2": 60_236_904,
}
LATER_PARAMETERS = (
    rows("parameters", TIMM, "timm's network of that form"),
    rows(
        "parameters",
        {
            "se_resnet18": TORCHVISION["resnet18"] + squeezes(2, 2, 2, 2),
            "se_resnet34": TORCHVISION["resnet34"] + squeezes(3, 4, 6, 3),
        },
        f"{SE}, Eq. 3 and 4 with reduction 16, in every block of torchvision's ResNet",
    ),
    rows("parameters", KERAS, "Keras's network of that name, trainable"),
    rows(
        "parameters",
        {
            "preact_resnet20": 272_282,
            "preact_resnet32": 466_714,
            "preact_resnet44": 661_146,
            "preact_resnet56": 855_578,
            "preact_resnet110": 1_730_522,
            "preact_resnet164": 1_703_258,
            "preact_resnet1001": 10_327_706,
        },
        f"{V2}, Appendix: sum over the layers",
    ),
    rows("parameters", {"preact_resnet164": "1.7M"}, f"{V2}, Table 4"),
    rows(
        "parameters",
        {"preact_resnet1001": "10.2M"},
        f"{V2}, Table 4, which leaves its projections out",
        within=0.02,
    ),
    rows("parameters", {"resnext29_8x64d": 34_426_698}, f"{RESNEXT}, Section 5.3: sum over layers"),
    rows("parameters", {"resnext29_8x64d": "34.4M"}, f"{RESNEXT}, Table 7"),
    rows(
        "parameters",
        {
            "wide_resnet28_10": 36_479_194,
            "wide_resnet40_4": 8_949_210,
            "wide_resnet16_8": 10_961_370,
        },
        f"{WIDE}, Table 1: sum over the layers",
    ),
    rows(
        "parameters",
        {"wide_resnet28_10": "36.5M", "wide_resnet40_4": "8.9M", "wide_resnet16_8": "11.0M"},
        f"{WIDE}, Table 5",
    ),
    rows(
        "parameters",
        {"tutorial_resnet18_96": 11_180_810, "tutorial_resnet34_32": 57_915_466},
        "the tutorial's code, built as printed",
    ),
    rows("parameters", {"resnet8_pooled": 1_972_778}, f"{SPEED}: sum over the layers"),
)

SIZES = (*LAYERS, *V1_PARAMETERS, *LATER_PARAMETERS)
