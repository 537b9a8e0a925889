"""ResNet's neighbours: highway networks gate their shortcuts, DenseNet keeps all it has made."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from resnets.models.specs.base import Spec, check_probability


@dataclass(frozen=True, kw_only=True, slots=True)
class HighwaySpec(Spec):
    """Stages of one plain convolution and highway layers; a 2x2 max pool between stages."""

    options: ClassVar[tuple[str, ...]] = ("gate_bias",)

    depths: tuple[int, ...]
    """Highway layers per stage."""
    widths: tuple[int, ...]
    """Channels of each stage."""
    gate_bias: float
    """Of the transform gates at the start; below zero, layers begin by carrying their input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseNetSpec(Spec):
    """Dense blocks of bottleneck layers, with compression between them (DenseNet-BC)."""

    options: ClassVar[tuple[str, ...]] = ("drop_rate",)

    depths: tuple[int, ...]
    """Layers per dense block, of two convolutions each."""
    growth: int
    """Channels that a layer adds; its 1x1 convolution has four times as many."""
    stem: Literal["imagenet", "cifar"]
    """imagenet: 7x7 stride 2, batch norm, ReLU, max pool. cifar: 3x3 at full size, nothing else."""
    stem_width: int
    drop_rate: float = 0.0
    """Dropout at the end of each layer."""

    def __post_init__(self) -> None:
        check_probability("drop_rate", self.drop_rate)


HIGHWAY, DENSE = "arXiv:1507.06228", "arXiv:1608.06993"
highway = partial(
    HighwaySpec,
    family="Highway",
    classes=10,
    input_size=(3, 32, 32),
    sides=(4, None),
    source=f"arXiv:1505.00387 and {HIGHWAY}, reconstructed",
)
RECONSTRUCTED = (
    "A reconstruction: the papers give layers and parameters ({}) and no widths; these come "
    "within 5 %."
)
imagenet = partial(
    DenseNetSpec,
    family="DenseNet",
    growth=32,
    stem="imagenet",
    stem_width=64,
    classes=1000,
    input_size=(3, 224, 224),
    sides=(29, None),
    source=f"{DENSE}, Table 1",
)

# fmt: off
RELATED: dict[str, Spec] = {
    "highway19": highway(depths=(5, 5, 5), widths=(32, 80, 128), gate_bias=-2.0,
                         note=RECONSTRUCTED.format("2.3M")),
    "highway32": highway(depths=(10, 9, 9), widths=(32, 48, 64), gate_bias=-3.0,
                         note=RECONSTRUCTED.format("1.25M")),
    "densenet121": imagenet(depths=(6, 12, 24, 16)),
    "densenet161": imagenet(depths=(6, 12, 36, 24), growth=48, stem_width=96,
                            source=f"{DENSE}, Table 1, in torchvision's width"),
    "densenet169": imagenet(depths=(6, 12, 32, 32)),
    "densenet201": imagenet(depths=(6, 12, 48, 32)),
    "densenet_bc_100_12": DenseNetSpec(
        family="DenseNet", depths=(16, 16, 16), growth=12, stem="cifar", stem_width=24,
        classes=10, input_size=(3, 32, 32), sides=(4, None), source=f"{DENSE}, Section 3"),
}
# fmt: on
