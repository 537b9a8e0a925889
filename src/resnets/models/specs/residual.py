"""Residual networks: one stem, stages of blocks, a pool and a linear head.

arXiv:1512.03385 (v1), arXiv:1603.05027 (v2, pre-activation), and what grew from them.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from resnets.errors import ConfigError
from resnets.models.specs.base import Spec, check_probability

Block = Literal[
    "basic",
    "bottleneck",
    "plain",
    "preact_basic",
    "preact_bottleneck",
    "keras_v2",
    "tutorial",
    "single",
]
Stem = Literal["imagenet", "deep", "cifar", "bare", "keras_v2", "tutorial", "same", "whitened"]
Shortcut = Literal["A", "B", "C", "D", "none", "projection", "keras_v2", "bias", "pooled"]
StrideOn = Literal["conv1", "conv2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResNetSpec(Spec):
    """A residual network; the first block of every stage but the first halves height and width."""

    options: ClassVar[tuple[str, ...]] = (
        "shortcut",
        "stem",
        "stride_on",
        "zero_init_residual",
        "groups",
        "width_per_group",
        "replace_stride_with_dilation",
        "norm_layer",
        "drop_path",
    )

    block: Block
    """basic: two 3x3. bottleneck: 1x1, 3x3, 1x1. plain: basic without a shortcut. preact_*: batch
    norm and ReLU before each convolution. keras_v2, tutorial, single: as told in ``blocks``."""
    depths: tuple[int, ...]
    """Blocks per stage."""
    widths: tuple[int, ...]
    """Channels inside the blocks of each stage; a bottleneck puts out four times as many."""
    stem: Stem
    """imagenet: 7x7 stride 2, then max pool. deep: three 3x3 in place of the 7x7 (ResNet-C).
    cifar: 3x3 at full size. bare: imagenet without batch norm and ReLU. whitened: 2x2 and 3x3, then
    max pool. The others: see ``stems``."""
    stem_width: int = 64
    """Channels the stem puts out."""
    shortcut: Shortcut
    """A: zero channels. B: 1x1 convolution and batch norm where the shape changes. C: the same in
    every block. D: average pool, 1x1 convolution, batch norm. none: no shortcut. projection: 1x1
    convolution alone. pooled: 3x3 convolution and max pool. The others: see ``stems``."""
    stride_on: StrideOn = "conv1"
    """The convolution of a block that takes its stride. For bottlenecks conv1 is the paper's;
    conv2 is "ResNet v1.5", the placement of torchvision's weights."""
    stride_in: Literal["first", "last"] = "first"
    """The block of a stage that takes its stride; last: of every stage but the last one."""
    zero_init_residual: bool = False
    """Whether each block's last batch norm begins at zero (arXiv:1706.02677, Section 5.1)."""
    groups: int = 1
    """Groups of a bottleneck's 3x3 convolution: ResNeXt's cardinality."""
    width_per_group: int = 64
    """A bottleneck's 3x3 has width * width_per_group / 64 * groups channels."""
    replace_stride_with_dilation: tuple[bool, bool, bool] = (False, False, False)
    """For the second, third and fourth stage: keep the size and widen the kernels instead."""
    norm_layer: Any = "batch"
    """batch; group: of 32 groups (arXiv:1803.08494); or a function of the channels."""
    squeeze: int | None = None
    """Reduction of squeeze and excitation in every block (arXiv:1709.01507); ``None``: without."""
    drop_path: float = 0.0
    """Stochastic depth: the probability that the last block's residual is dropped; it grows
    linearly from the first block on (arXiv:1603.09382, Eq. 4)."""
    pool: int | None = None
    """Side of the average pool before the head; ``None``: the whole map."""

    def __post_init__(self) -> None:
        if self.norm_layer not in ("batch", "group") and not callable(self.norm_layer):
            raise ConfigError(
                f"norm_layer={self.norm_layer!r} is not one of batch, group",
                fix="set norm_layer to one of them, or give a function of the channels",
            )
        check_probability("drop_path", self.drop_path)
        if (self.groups, self.width_per_group) != (1, 64) and "bottleneck" not in self.block:
            raise ConfigError(
                f"groups={self.groups}, width_per_group={self.width_per_group}: "
                "basic blocks have neither",
                fix="choose a network of bottlenecks, such as resnet50",
            )
        if min(self.groups, self.width_per_group) < 1:
            raise ConfigError(
                f"groups={self.groups}, width_per_group={self.width_per_group}",
                fix="both are whole numbers of at least 1",
            )
        self._check_dilation()
        if int(min(self.widths) * self.width_per_group / 64) < 1:
            raise ConfigError(
                f"width_per_group={self.width_per_group} leaves no channel of {min(self.widths)}",
                fix="choose more",
            )
        if self.block == "single" and self.stride_on != "conv1":
            raise ConfigError(
                f"stride_on={self.stride_on} has no effect on {self.block} blocks",
                fix="leave it out: a max pool between the stages takes the stride",
            )
        without = [name for name in ("drop_path", "zero_init_residual") if getattr(self, name)]
        if without and self.block in ("plain", "tutorial"):
            raise ConfigError(
                f"{without[0]} has no effect on {self.block} blocks",
                fix="leave it out, or choose a residual network",
            )
        if self.stem == "tutorial" and self.norm_layer != "batch":
            raise ConfigError(
                "this network's stem has a batch norm of its own",
                fix="leave norm_layer out, or choose resnet18",
            )
        if (self.block == "plain") != (self.shortcut == "none"):
            raise ConfigError(
                f"{self.block} blocks with shortcut={self.shortcut}",
                fix="plain networks have no shortcut, all others have one; plain34 is resnet34's",
            )
        if (self.block == "single") != (self.shortcut == "pooled"):
            raise ConfigError(
                f"{self.block} blocks with shortcut={self.shortcut}",
                fix="leave shortcut out: pooled is for resnet8_pooled, which takes no other",
            )

    def _check_dilation(self) -> None:
        dilated = self.replace_stride_with_dilation
        if len(dilated) != 3:
            raise ConfigError(
                f"replace_stride_with_dilation={dilated}",
                fix="give three switches: for the second, third and fourth stage",
            )
        if any(dilated[len(self.depths) - 1 :]):
            raise ConfigError(
                f"replace_stride_with_dilation={dilated}: there are {len(self.depths)} stages",
                fix="switch on stages that there are",
            )
        if any(dilated) and (self.shortcut in ("D", "pooled") or self.stride_in == "last"):
            raise ConfigError(
                "replace_stride_with_dilation cannot keep the pixels that pools have thinned out",
                fix="choose a network without pools in its shortcuts, such as resnet50",
            )


V1, V2 = "arXiv:1512.03385", "arXiv:1603.05027"
SPEED = "arXiv:2404.00498, its network for 94 %"
BAG, RESNEXT, WIDE, SE = (
    "arXiv:1812.01187",
    "arXiv:1611.05431",
    "arXiv:1605.07146",
    "arXiv:1709.01507",
)
BASIC = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
}
BOTTLENECK = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}

imagenet = partial(
    ResNetSpec,
    family="ResNet",
    widths=(64, 128, 256, 512),
    stem="imagenet",
    shortcut="B",
    classes=1000,
    input_size=(3, 224, 224),
    source=f"{V1}, Table 1",
)
basic = partial(imagenet, block="basic")
v1 = partial(
    imagenet, block="bottleneck", note="The paper's: a stage's stride is on its first 1x1."
)
v15 = partial(
    imagenet,
    block="bottleneck",
    stride_on="conv2",  # the names are torchvision's, whose weights need v1.5
    source=f"{V1}, Table 1, as v1.5",
    note="Departs from the paper: a stage's stride is on its first 3x3, as in torchvision.",
)
deep = partial(
    imagenet, stem="deep", source=f"{BAG}, Section 4.2", note="ResNet-C: three 3x3 as the stem."
)
pooled = partial(
    deep,
    shortcut="D",
    note="ResNet-D: three 3x3 as the stem, and an average pool before each shortcut's 1x1.",
)
cifar = partial(
    ResNetSpec,
    family="CIFAR ResNet",
    block="basic",
    widths=(16, 32, 64),
    stem="cifar",
    stem_width=16,
    shortcut="A",
    classes=10,
    input_size=(3, 32, 32),
    source=f"{V1}, Section 4.2",
)
cifar_b = partial(
    cifar, shortcut="B", note="Departs from the paper's CIFAR networks: 1x1 projections (option B)."
)
plain = partial(cifar, family="plain", block="plain", shortcut="none")
preact_cifar = partial(
    cifar,
    family="pre-activation",
    shortcut="projection",
    source=f"{V2}, Section 4 and Appendix",
    note="The authors' form: a stage's stride is on its first convolution.",
)
preact_basic_cifar = partial(
    preact_cifar,
    block="preact_basic",
    note="The paper leaves open what its ResNet-110's shortcuts are; here as in ResNet-164.",
)
preact = partial(
    imagenet,
    family="pre-activation",
    shortcut="projection",
    stride_on="conv2",
    source=f"{V2}, Appendix",
    note="The authors' form: the first activation is before the first pool, and a stage's stride "
    "is on its first 3x3. timm's resnetv2 is this with stem=bare.",
)
keras_v2 = partial(
    imagenet,
    family="pre-activation",
    block="keras_v2",
    stem="keras_v2",
    shortcut="keras_v2",
    stride_on="conv2",
    stride_in="last",
    source=f"{V2}, in Keras's form",
    note="Keras's ResNetV2: the stride is on the 3x3 of a stage's last block, 1x1 convolutions "
    "that end a branch have a bias, and the first pool sees a border of zeros.",
)
resnext = partial(v15, family="ResNeXt", source=f"{RESNEXT}, Table 1")
wide_cifar = partial(
    preact_cifar, family="Wide ResNet", block="preact_basic", source=f"{WIDE}, Table 1"
)
wide = partial(v15, family="Wide ResNet", width_per_group=128, source=f"{WIDE}, Table 8")
se = partial(imagenet, family="SE-ResNet", squeeze=16, source=f"{SE}, Table 1")
TORCHVISION_STRIDE = "A stage's stride is on its first 3x3."

# fmt: off
RESIDUAL: dict[str, ResNetSpec] = {
    **{f"resnet{n}": basic(depths=depths) for n, depths in BASIC.items()},
    **{f"resnet{n}": v15(depths=BOTTLENECK[n]) for n in (50, 101, 152)},
    **{f"resnet{n}_v1": v1(depths=BOTTLENECK[n]) for n in (50, 101, 152)},
    **{f"resnet{n}_option_{x.lower()}": basic(depths=depths, shortcut=x, source=f"{V1}, Table 3")
       for n, depths in BASIC.items() for x in "AC"},
    **{f"resnet{n}c": deep(block="bottleneck", depths=BOTTLENECK[n], stride_on="conv2")
       for n in (50, 101, 152)},
    **{f"resnet{n}d": pooled(block="basic", depths=depths) for n, depths in BASIC.items()},
    **{f"resnet{n}d": pooled(block="bottleneck", depths=BOTTLENECK[n], stride_on="conv2")
       for n in (50, 101, 152)},
    **{f"resnet{6 * n + 2}": cifar(depths=(n, n, n)) for n in (3, 5, 7, 9, 18, 200)},
    **{f"resnet{6 * n + 2}_option_b": cifar_b(depths=(n, n, n)) for n in (3, 5, 7, 9, 18, 200)},
    **{f"plain{6 * n + 2}": plain(depths=(n, n, n)) for n in (3, 5, 7, 9, 18)},
    **{f"plain{n}": basic(family="plain", block="plain", shortcut="none", depths=depths)
       for n, depths in BASIC.items()},
    **{f"preact_resnet{6 * n + 2}": preact_basic_cifar(depths=(n, n, n)) for n in (3, 5, 7, 9, 18)},
    "preact_resnet164":  preact_cifar(block="preact_bottleneck", depths=(18, 18, 18)),
    "preact_resnet1001": preact_cifar(
        block="preact_bottleneck", depths=(111, 111, 111),
        note="The paper prints 10.2M parameters; its definition gives 10.3M."),
    **{f"preact_resnet{n}": preact(block="preact_basic", depths=d, stride_on="conv1")
       for n, d in BASIC.items()},
    **{f"preact_resnet{n}": preact(block="preact_bottleneck", depths=depths)
       for n, depths in BOTTLENECK.items()},
    **{f"keras_resnet{n}v2": keras_v2(depths=BOTTLENECK[n]) for n in (50, 101, 152)},
    "resnext50_32x4d": resnext(
        depths=BOTTLENECK[50], groups=32, width_per_group=4, note=TORCHVISION_STRIDE),
    "resnext101_32x8d": resnext(
        depths=BOTTLENECK[101], groups=32, width_per_group=8, note=TORCHVISION_STRIDE,
        source=f"{RESNEXT}, Table 1, in torchvision's width"),
    "resnext101_64x4d": resnext(
        depths=BOTTLENECK[101], groups=64, width_per_group=4, note=TORCHVISION_STRIDE,
        source=f"{RESNEXT}, Table 4"),
    "resnext29_8x64d": cifar(
        family="ResNeXt", block="bottleneck", depths=(3, 3, 3), widths=(64, 128, 256),
        stem_width=64, shortcut="B", stride_on="conv2", groups=8, source=f"{RESNEXT}, Section 5.3"),
    "wide_resnet28_10": wide_cifar(depths=(4, 4, 4), widths=(160, 320, 640)),
    "wide_resnet40_4":  wide_cifar(depths=(6, 6, 6), widths=(64, 128, 256)),
    "wide_resnet16_8":  wide_cifar(depths=(2, 2, 2), widths=(128, 256, 512)),
    "wide_resnet50_2":  wide(depths=BOTTLENECK[50], note=TORCHVISION_STRIDE),
    "wide_resnet101_2": wide(
        depths=BOTTLENECK[101], source=f"{WIDE}, in torchvision's form", note=TORCHVISION_STRIDE),
    **{f"se_resnet{n}": se(block="basic", depths=depths) for n, depths in BASIC.items()},
    **{f"se_resnet{n}": se(block="bottleneck", depths=BOTTLENECK[n], stride_on="conv2",
                           note=TORCHVISION_STRIDE) for n in (50, 101, 152)},
    "resnet8_pooled": ResNetSpec(
        family="CIFAR ResNet", block="single", depths=(1, 1, 1), widths=(64, 256, 256),
        stem="whitened", shortcut="pooled", sides=(9, None), classes=10, input_size=(3, 32, 32),
        source=SPEED,
        note="Few and wide layers, for training in minutes. Departs from its source in shortcuts "
        "beside every second 3x3, ReLU, scales in batch norm, a mean before the head, and no "
        "bias behind the 2x2."),
    "tutorial_resnet18_96": ResNetSpec(
        family="tutorial", block="tutorial", depths=(2, 2, 2, 2), widths=(64, 128, 256, 512),
        stem="tutorial", shortcut="bias", pool=3, sides=(71, 166),
        classes=10, input_size=(3, 96, 96),
        source=f"a PyTorch tutorial on CIFAR-10 at 96x96, after {V1}",
        note="Departs from ResNet-18 in an unpadded stem, a second ReLU before each addition, so "
        "that a residual is never negative, projections without batch norm, and a 3x3 pool that "
        "fits inputs of 71 to 166 pixels only."),
    "tutorial_resnet34_32": ResNetSpec(
        family="tutorial", block="basic", depths=(4, 5, 7, 4), widths=(128, 256, 512, 512),
        stem="same", shortcut="B", pool=2, sides=(17, 48), classes=10, input_size=(3, 32, 32),
        source=f"a PyTorch tutorial on ResNet-34 for CIFAR-10, after {V1}",
        note="Departs from ResNet-34 in wider stages of one block more each (its text counts 32 "
        "layers in them, there are 40), a max pool of stride 1, a projection at the head of every "
        "stage, and a 2x2 pool that fits inputs of 17 to 48 pixels only."),
}
# fmt: on
