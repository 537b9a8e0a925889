"""What the papers say about multiply-adds of residual networks, and what their layers sum to."""

from resnets.verification.claims import rows
from resnets.verification.forms import RESNEXT, SPEED, TUTORIAL, V1, V2, WIDE
from resnets.verification.structure import KERAS, SE

PRINTED = (
    rows(
        "multiply-adds",
        {
            "resnet18": "1.8e9",
            "resnet34": "3.6e9",
            "plain34": "3.6e9",
            "resnet50_v1": "3.8e9",
            "resnet101_v1": "7.6e9",
            "resnet152_v1": "11.3e9",
        },
        f"{V1}, Table 1 and Fig. 3",
        within=0.03,
    ),
    rows(
        "multiply-adds",
        {
            "resnet101": "7.801e9",
            "resnet152": "11.514e9",
            "resnext50_32x4d": "4.230e9",
            "resnext101_32x8d": "16.414e9",
            "resnext101_64x4d": "15.460e9",
            "wide_resnet50_2": "11.398e9",
            "wide_resnet101_2": "22.753e9",
        },
        "torchvision's network of that name, as the record of its weights prints it",
    ),
    rows("multiply-adds", {"resnext50_32x4d": "4.2e9"}, f"{RESNEXT}, Table 1", within=0.03),
)

SUMS = (
    rows(
        "multiply-adds",
        {
            "resnet18": 1_814_073_344,
            "resnet34": 3_663_761_408,
            "plain18": 1_794_805_760,
            "plain34": 3_644_493_824,
            "resnet18_option_a": 1_794_805_760,
            "resnet34_option_a": 3_644_493_824,
            "resnet18_option_c": 1_878_298_624,
            "resnet34_option_c": 3_830_747_136,
            "resnet50_v1": 3_857_973_248,
            "resnet101_v1": 7_570_194_432,
            "resnet152_v1": 11_282_415_616,
            "resnet50": 4_089_184_256,
        },
        f"{V1}, Table 1 and Section 3.3: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "resnet20": 40_551_040,
            "resnet32": 68_862_592,
            "resnet44": 97_174_144,
            "resnet56": 125_485_696,
            "resnet110": 252_887_680,
            "resnet1202": 2_829_238_912,
            "plain20": 40_551_040,
            "plain32": 68_862_592,
            "plain44": 97_174_144,
            "plain56": 125_485_696,
            "plain110": 252_887_680,
            "resnet20_option_b": 40_813_184,
            "resnet32_option_b": 69_124_736,
            "resnet44_option_b": 97_436_288,
            "resnet56_option_b": 125_747_840,
            "resnet110_option_b": 253_149_824,
            "resnet1202_option_b": 2_829_501_056,
        },
        f"{V1}, Section 4.2: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "preact_resnet20": 40_813_184,
            "preact_resnet32": 69_124_736,
            "preact_resnet44": 97_436_288,
            "preact_resnet56": 125_747_840,
            "preact_resnet110": 253_149_824,
            "preact_resnet164": 244_500_992,
            "preact_resnet1001": 1_487_849_984,
        },
        f"{V2}, Appendix: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "wide_resnet28_10": 5_243_328_768,
            "wide_resnet40_4": 1_298_582_016,
            "wide_resnet16_8": 1_548_145_664,
        },
        f"{WIDE}, Table 1: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "resnext29_8x64d": 5_387_266_048,
        },
        f"{RESNEXT}, Section 5.3: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "se_resnet18": 1_814_160_384,
            "se_resnet34": 3_663_918_592,
        },
        f"{SE}, Eq. 3 and 4 in every block of ResNet: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "keras_resnet50v2": 3_482_255_360,
            "keras_resnet101v2": 7_194_476_544,
            "keras_resnet152v2": 10_906_697_728,
        },
        f"{KERAS}: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "tutorial_resnet18_96": 323_552_960,
            "tutorial_resnet34_32": 1_236_587_520,
        },
        f"{TUTORIAL}: sum over the layers",
    ),
    rows("multiply-adds", {"resnet8_pooled": 118_147_360}, f"{SPEED}: sum over the layers"),
)

# As torch's FlopCounterMode counts timm's networks of these names, or its classes given these
# depths, at 224 pixels; it counts two for each.
TIMM = {
    "resnet50c": 4_328_824_832,
    "resnet101c": 8_041_046_016,
    "resnet152c": 11_753_267_200,
    "resnet18d": 2_053_713_920,
    "resnet34d": 3_903_401_984,
    "resnet50d": 4_328_824_832,
    "resnet101d": 8_041_046_016,
    "resnet152d": 11_753_267_200,
    "preact_resnet18": 1_814_073_344,
    "preact_resnet34": 3_663_761_408,
    "preact_resnet50": 4_089_184_256,
    "preact_resnet101": 7_801_405_440,
    "preact_resnet152": 11_513_626_624,
    "preact_resnet200": 15_007_481_856,
    "se_resnet50": 4_091_699_200,
    "se_resnet101": 7_806_148_608,
    "se_resnet152": 11_520_204_800,
}

COSTS = (
    *PRINTED,
    *SUMS,
    rows("multiply-adds", TIMM, "timm's network of that form, counted by torch"),
)
