"""What the papers say about the order of layers: stems, residuals, shortcuts, normalisation."""

from resnets.verification import names
from resnets.verification.claims import rows
from resnets.verification.forms import (
    BAG,
    BLOCKS,
    CIFAR_SHORTCUTS,
    RESNEXT,
    SPEED,
    TUTORIAL,
    V1,
    V2,
    WIDE,
    WITH_B,
)
from resnets.verification.names import basic, bottleneck

SE = "arXiv:1709.01507"
KERAS = "Keras's network of that name"
NORM, POOL = ("batch norm", "ReLU"), "3x3 max pool /2"
THREE = ("3x3 conv /2", *NORM, "3x3 conv", *NORM, "3x3 conv", *NORM)

STEMS = (
    rows(
        "stem",
        dict.fromkeys(
            names.V1 | names.PLAIN | names.RESNEXT | names.WIDE | names.SE,
            ("7x7 conv /2", *NORM, POOL),
        ),
        f"{V1}, Table 1",
    ),
    rows(
        "stem",
        dict.fromkeys(names.STEM_C | names.STEM_D, (*THREE, POOL)),
        f"{BAG}, Section 4.2, Fig. 2: three 3x3, the first of stride 2",
    ),
    rows(
        "stem",
        dict.fromkeys(names.PREACT, ("7x7 conv /2", *NORM, POOL)),
        f"{V2}, Appendix: the first activation is right after conv1",
    ),
    rows("stem", dict.fromkeys(names.KERAS, ("7x7 conv /2", "zeros", POOL)), KERAS),
    rows("stem", dict.fromkeys(names.CIFAR_ALL, ("3x3 conv", *NORM)), f"{V1}, Section 4.2"),
    rows(
        "stem",
        {
            "tutorial_resnet18_96": ("7x7 conv /2", *NORM, POOL),
            "tutorial_resnet34_32": ("7x7 conv /2", *NORM, "3x3 max pool"),
        },
        TUTORIAL,
    ),
    rows(
        "stem",
        dict.fromkeys(names.POOLED, ("2x2 conv", "ReLU", "3x3 conv", "2x2 max pool /2", *NORM)),
        f"{SPEED}: patches, then as between stages",
    ),
)

RESIDUAL_NAMES = {**names.IMAGENET, **names.CIFAR_ALL, **names.POOLED, **names.TUTORIAL}
NORMS = rows(
    "norms",
    dict.fromkeys(RESIDUAL_NAMES, ("batch norm",)),
    f"{V1}, Section 3.4: batch norm, and no other",
)

BASIC = ("3x3 conv", *NORM, "3x3 conv", "batch norm")
BOTTLENECK = ("1x1 conv", *NORM, "3x3 conv", *NORM, "1x1 conv", "batch norm")
PREACT_BASIC = (*NORM, "3x3 conv", *NORM, "3x3 conv")
PREACT_BOTTLENECK = (*NORM, "1x1 conv", *NORM, "3x3 conv", *NORM, "1x1 conv")
SQUEEZE = ("mean", "1x1 conv", "ReLU", "1x1 conv", "sigmoid", "product")
V1_FORM = names.V1 | names.STEM_C | names.STEM_D | names.RESNEXT | names.WIDE

RESIDUALS = (
    rows(
        "residual",
        dict.fromkeys(basic(V1_FORM) | names.CIFAR_A | names.CIFAR_B, BASIC),
        f"{V1}, Fig. 5 left",
    ),
    rows("residual", dict.fromkeys(bottleneck(V1_FORM), BOTTLENECK), f"{V1}, Fig. 5 right"),
    rows("residual", {"resnext29_8x64d": BOTTLENECK}, f"{RESNEXT}, Fig. 3c"),
    rows(
        "residual",
        {
            **dict.fromkeys(basic(names.PREACT), PREACT_BASIC),
            **dict.fromkeys(bottleneck(names.PREACT), PREACT_BOTTLENECK),
            **dict.fromkeys(names.CIFAR_V2, PREACT_BASIC),
            **dict.fromkeys(names.CIFAR_BOTTLENECK, PREACT_BOTTLENECK),
        },
        f"{V2}, Fig. 1b and Appendix",
    ),
    rows("residual", dict.fromkeys(names.CIFAR_WIDE, PREACT_BASIC), f"{WIDE}, Fig. 1c"),
    rows("residual", dict.fromkeys(names.KERAS, PREACT_BOTTLENECK), KERAS),
    rows(
        "residual",
        {
            **dict.fromkeys(basic(names.SE), (*BASIC, *SQUEEZE)),
            **dict.fromkeys(bottleneck(names.SE), (*BOTTLENECK, *SQUEEZE)),
        },
        f"{SE}, Fig. 3",
    ),
    rows(
        "residual",
        {"tutorial_resnet18_96": (*BASIC, "ReLU"), "tutorial_resnet34_32": BASIC},
        TUTORIAL,
    ),
    rows(
        "residual",
        dict.fromkeys(names.POOLED, ("3x3 conv", "batch norm")),
        f"{SPEED}: the second convolution of each of its three blocks",
    ),
)

SKIPPED = "1x1 mean pool /2 + zeros"
"""Every second pixel, and new channels if there are any."""


def shortcut_layers(
    blocks: int, later: str, *, first: str = "", stages: int = 3
) -> tuple[str, ...]:
    """What the shortcuts of so many blocks are made of, in the order they come in.

    Args:
        later: what the block has that leads to a smaller map; there is one for each of ``stages``.
        first: what the first block has, if anything.
    """
    kept = blocks - stages - bool(first)
    start = (f"1 of {first}",) if first else ()
    return *start, f"{kept} of the input itself", f"{stages} of {later}"


def everywhere(blocks: int) -> tuple[str, ...]:
    """Option C's."""
    return f"{blocks - 3} of 1x1 conv + batch norm", "3 of 1x1 conv /2 + batch norm"


def projected(table: dict[str, int], later: str, first: str) -> dict[str, tuple[str, ...]]:
    """ImageNet networks by depth; only bottlenecks change the channels in their first stage."""
    return {
        name: shortcut_layers(BLOCKS[depth], later, first=first if depth > 34 else "")
        for name, depth in table.items()
    }


OPTION_B = {name: depth for name, depth in WITH_B.items() if name not in names.STEM_D}
SHORTCUTS = (
    rows(
        "shortcut layers",
        {
            f"resnet{depth}_option_a": shortcut_layers(BLOCKS[depth], SKIPPED)
            for depth in names.BASIC
        },
        f"{V1}, Section 3.3: option A, every second pixel and zeros",
    ),
    rows(
        "shortcut layers",
        projected(OPTION_B, "1x1 conv /2 + batch norm", "1x1 conv + batch norm"),
        f"{V1}, Section 3.3: option B, 1x1 and batch norm where channels grow",
    ),
    rows(
        "shortcut layers",
        {f"resnet{depth}_option_c": everywhere(BLOCKS[depth]) for depth in names.BASIC},
        f"{V1}, Section 3.3: option C, 1x1 and batch norm in every block",
    ),
    rows(
        "shortcut layers",
        projected(
            names.STEM_D, "2x2 mean pool /2 + 1x1 conv + batch norm", "1x1 conv + batch norm"
        ),
        f"{BAG}, Section 4.2, Fig. 2: a mean of 2x2 before the 1x1",
    ),
    rows(
        "shortcut layers",
        projected(names.PREACT, "1x1 conv /2", "1x1 conv"),
        f"{V2}, Appendix: a 1x1 alone where channels grow",
    ),
    rows(
        "shortcut layers",
        {
            name: ("4 of 1x1 conv", f"{BLOCKS[depth] - 7} of the input itself", f"3 of {SKIPPED}")
            for name, depth in names.KERAS.items()
        },
        f"{KERAS}: a 1x1 where channels grow, every second pixel where a stage ends",
    ),
    rows(
        "shortcut layers",
        {name: shortcut_layers(CIFAR_SHORTCUTS[name], SKIPPED, stages=2) for name in names.CIFAR_A},
        f"{V1}, Section 4.2: option A, every second pixel and zeros",
    ),
    rows(
        "shortcut layers",
        {
            name: shortcut_layers(CIFAR_SHORTCUTS[name], "1x1 conv /2 + batch norm", stages=2)
            for name in names.CIFAR_B
        },
        f"{V1}, Section 3.3: option B, 1x1 and batch norm where channels grow",
    ),
    rows(
        "shortcut layers",
        {
            **{
                name: shortcut_layers(CIFAR_SHORTCUTS[name], "1x1 conv /2", stages=2)
                for name in names.CIFAR_V2
            },
            **{
                name: shortcut_layers(
                    CIFAR_SHORTCUTS[name], "1x1 conv /2", first="1x1 conv", stages=2
                )
                for name in names.CIFAR_BOTTLENECK | names.CIFAR_WIDE
            },
        },
        f"{V2}, Appendix: a 1x1 alone where channels grow",
    ),
    rows(
        "shortcut layers",
        {
            "resnext29_8x64d": shortcut_layers(
                9, "1x1 conv /2 + batch norm", first="1x1 conv + batch norm", stages=2
            )
        },
        f"{RESNEXT}, Section 5.3: option B",
    ),
    rows(
        "shortcut layers",
        {
            "tutorial_resnet18_96": shortcut_layers(8, "1x1 conv /2"),
            "tutorial_resnet34_32": shortcut_layers(
                20, "1x1 conv /2 + batch norm", first="1x1 conv + batch norm"
            ),
        },
        TUTORIAL,
    ),
    rows(
        "shortcut layers",
        dict.fromkeys(names.POOLED, ("3 of the input itself",)),
        f"{V1}, Section 3.2: the identity, beside each block",
    ),
)

STRUCTURE = (*STEMS, NORMS, *RESIDUALS, *SHORTCUTS)
