"""The road to ResNet: LeNet-5, AlexNet, VGG, NiN, GoogLeNet, and how a tutorial teaches them."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

from resnets.errors import ConfigError
from resnets.models.specs.base import Spec, check_probability


class Conv(NamedTuple):
    """A convolution and the activation behind it."""

    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    response_norm: bool = False
    """Whether local response normalisation follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvNetSpec(Spec):
    """Stages of convolutions with a max pool behind each, then fully connected layers."""

    options: ClassVar[tuple[str, ...]] = ("dropout",)

    stages: tuple[tuple[Conv, ...], ...]
    pool: int
    """Side of the max pools' windows; their stride is 2."""
    activation: Literal["relu", "sigmoid"] = "relu"
    batch_norm: bool = False
    """Between each convolution and its activation."""
    map_side: int
    """Side of the map that the fully connected layers read."""
    adaptive: bool = False
    """Average a map of any size to that side; without, only images that give it fit."""
    hidden: tuple[int, ...] = (4096, 4096)
    """Widths of the fully connected layers before the head."""
    dropout: float = 0.5
    dropped: tuple[bool, ...] = (False, True, True)
    """Whether there is dropout before each fully connected layer, the head included."""
    drop_maps: bool = False
    """Whether whole maps are dropped at the end of the last stage."""

    def __post_init__(self) -> None:
        check_probability("dropout", self.dropout)
        if self.dropout and not (any(self.dropped) or self.drop_maps):
            raise ConfigError(
                f"dropout={self.dropout}: this network has none", fix="leave dropout out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LeNet5Spec(Spec):
    """LeCun's network of convolutions and subsamplings by turns."""

    maps: int
    """Of the layers C1 and S2."""
    connections: tuple[tuple[int, ...], ...]
    """For each map of C3 the maps of S2 that it reads."""
    c5: int
    f6: int


class MLPConv(NamedTuple):
    """A convolution and 1x1 convolutions, each with a ReLU, then a pool and dropout."""

    widths: tuple[int, ...]
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: Literal["max", "mean", "none"] = "none"
    """Windows of 3x3, 2 apart; those at the far border may reach beyond it."""
    dropped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NiNSpec(Spec):
    """Small networks as filters; the last 1x1 convolution, one map a class, is the head."""

    options: ClassVar[tuple[str, ...]] = ("dropout",)

    blocks: tuple[MLPConv, ...]
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_probability("dropout", self.dropout)


class Widths(NamedTuple):
    """Output channels of an inception block's convolutions, as the paper's columns have them."""

    conv1: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool: int

    @property
    def out_channels(self) -> int:
        """The four branches, side by side."""
        return self.conv1 + self.conv3 + self.conv5 + self.pool


@dataclass(frozen=True, kw_only=True, slots=True)
class GoogLeNetSpec(Spec):
    """Nine inception blocks, and auxiliary heads that read the third and the sixth in training."""

    options: ClassVar[tuple[str, ...]] = ("auxiliary", "dropout")

    inceptions: tuple[tuple[str, Widths], ...]
    batch_norm: bool
    """Behind each convolution, which then has no bias."""
    response_norm: bool
    """Behind the first pool and before the second."""
    kernel: int
    """Of the paper's 5x5 branch."""
    last_pool: int
    """Side of the windows of the fourth max pool; the others have 3."""
    auxiliary: bool = True
    auxiliary_pool: Literal["windows", "adaptive"]
    """windows: 5x5 of a 14x14 map, 3 apart. adaptive: torch's, for any map."""
    dropout: float
    """Before the head."""
    auxiliary_dropout: float = 0.7

    def __post_init__(self) -> None:
        check_probability("dropout", self.dropout)


LENET = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition"
ALEXNET = "Krizhevsky et al. 2012, ImageNet Classification with Deep CNNs"
WEIRD_TRICK, VGG = "arXiv:1404.5997", "arXiv:1409.1556"
NIN, GOOGLENET = "arXiv:1312.4400", "arXiv:1409.4842"
TUTORIAL = "a PyTorch tutorial on the history of CNNs"

TABLE_I = (
    *(tuple(sorted((i + k) % 6 for k in range(3))) for i in range(6)),
    *(tuple(sorted((i + k) % 6 for k in range(4))) for i in range(6)),
    *(tuple(sorted((i + k) % 6 for k in (0, 1, 3, 4))) for i in range(3)),
    (0, 1, 2, 3, 4, 5),
)
"""LeCun et al. 1998, Table I: three neighbours, four neighbours, two pairs, all."""

INCEPTIONS = (
    ("3a", Widths(64, 96, 128, 16, 32, 32)),
    ("3b", Widths(128, 128, 192, 32, 96, 64)),
    ("4a", Widths(192, 96, 208, 16, 48, 64)),
    ("4b", Widths(160, 112, 224, 24, 64, 64)),
    ("4c", Widths(128, 128, 256, 24, 64, 64)),
    ("4d", Widths(112, 144, 288, 32, 64, 64)),
    ("4e", Widths(256, 160, 320, 32, 128, 128)),
    ("5a", Widths(256, 160, 320, 32, 128, 128)),
    ("5b", Widths(384, 192, 384, 48, 128, 128)),
)
"""arXiv:1409.4842, Table 1."""

VGG_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""arXiv:1409.1556, Table 1, columns A, B, D and E."""


def vgg_stages(layers: int) -> tuple[tuple[Conv, ...], ...]:
    """The convolutions of a VGG with that many layers of weights."""
    widths = (64, 128, 256, 512, 512)
    return tuple(
        (Conv(width),) * depth for width, depth in zip(widths, VGG_DEPTHS[layers], strict=True)
    )


imagenet = partial(
    ConvNetSpec, pool=2, map_side=7, classes=1000, input_size=(3, 224, 224), sides=(32, None)
)
vgg = partial(imagenet, family="VGG", adaptive=True, source=f"{VGG}, Table 1")
alexnet = partial(imagenet, family="AlexNet", pool=3, map_side=6)
tutorial = partial(imagenet, family="tutorial", classes=10)
googlenet = partial(
    GoogLeNetSpec,
    family="GoogLeNet",
    inceptions=INCEPTIONS,
    classes=1000,
    input_size=(3, 224, 224),
)
SIDE_NOTE = "a map of any size is averaged to 7x7 first, as in torchvision"

# fmt: off
CLASSIC: dict[str, Spec] = {
    "lenet5": LeNet5Spec(
        family="LeNet", maps=6, connections=TABLE_I, c5=120, f6=84,
        classes=10, input_size=(1, 32, 32), sides=(32, 35), source=f"{LENET}, Section II.B",
        note="The codes of the output units, drawn by hand as digits in the paper, are here +1 and "
        "-1 by a formula that serves any number of classes."),
    "alexnet2012": alexnet(
        stages=((Conv(96, 11, stride=4, padding=0, response_norm=True),),
                (Conv(256, 5, padding=2, groups=2, response_norm=True),),
                (Conv(384), Conv(384, groups=2), Conv(256, groups=2))),
        input_size=(3, 227, 227), sides=(227, 258), source=f"{ALEXNET}, Section 3",
        note="The two towers are groups of two in the second, fourth and fifth convolution. The "
        "paper says 224 pixels, its 55x55 maps need 227."),
    "alexnet": alexnet(
        stages=((Conv(64, 11, stride=4, padding=2),), (Conv(192, 5, padding=2),),
                (Conv(384), Conv(256), Conv(256))),
        adaptive=True, dropped=(True, True, False), sides=(63, None),
        source=f"{WEIRD_TRICK}, in torchvision's form",
        note="The later variant in one tower with fewer filters and without response "
        "normalisation; a map of any size is averaged to 6x6 first."),
    **{f"vgg{n}": vgg(stages=vgg_stages(n), note=f"Beyond the paper: {SIDE_NOTE}.")
       for n in VGG_DEPTHS},
    **{f"vgg{n}_bn": vgg(
        stages=vgg_stages(n), batch_norm=True, source=f"{VGG}, Table 1, in torchvision's form",
        note=f"Departs from the paper in batch norm behind each convolution; {SIDE_NOTE}.")
       for n in VGG_DEPTHS},
    "nin_cifar": NiNSpec(
        family="NiN",
        blocks=(MLPConv((192, 160, 96), 5, padding=2, pool="max", dropped=True),
                MLPConv((192, 192, 192), 5, padding=2, pool="mean", dropped=True),
                MLPConv((192, 192), 3, padding=1)),
        classes=10, input_size=(3, 32, 32), sides=(4, None),
        source=f"{NIN}, Section 4, with the authors' widths",
        note="The paper leaves the widths open; they are those of the authors' files."),
    "nin_imagenet": NiNSpec(
        family="NiN",
        blocks=(MLPConv((96, 96, 96), 11, stride=4, pool="max"),
                MLPConv((256, 256, 256), 5, padding=2, pool="max"),
                MLPConv((384, 384, 384), 3, padding=1, pool="max", dropped=True),
                MLPConv((1024, 1024), 3, padding=1)),
        classes=1000, input_size=(3, 224, 224), sides=(39, None),
        source=f"the Caffe model zoo, after {NIN}",
        note="Not in the paper: the form that its authors gave to the Caffe model zoo."),
    "googlenet_2014": googlenet(
        batch_norm=False, response_norm=True, kernel=5, last_pool=3, auxiliary_pool="windows",
        dropout=0.4, sides=(31, None), source=f"{GOOGLENET}, Table 1",
        note="The paper leaves open what its response normalisation is; here it is AlexNet's."),
    "googlenet": googlenet(
        batch_norm=True, response_norm=False, kernel=3, last_pool=2, auxiliary_pool="adaptive",
        dropout=0.2, sides=(15, None), source=f"{GOOGLENET}, in torchvision's form",
        note="Departs from the paper in batch norm, no response normalisation, 3x3 convolutions "
        "where the paper has 5x5, 2x2 windows in the last max pool, and less dropout."),
    "tutorial_lenet5": tutorial(
        stages=((Conv(6, 5, padding=0),), (Conv(16, 5, padding=0),)), activation="sigmoid",
        map_side=4, hidden=(120, 84), dropout=0.0, dropped=(False, False, False),
        input_size=(1, 28, 28), sides=(28, 31), source=f"{TUTORIAL}, after {LENET}",
        note="Departs from LeNet-5 in max pools without weights, sigmoids, a second convolution "
        "that reads all maps, a linear head, and images of 28 pixels."),
    "tutorial_alexnet": tutorial(
        stages=((Conv(96, 11, stride=4, padding=0),), (Conv(256, 5, padding=0),),
                (Conv(384), Conv(384), Conv(256))),
        pool=3, map_side=5, dropped=(True, True, True), input_size=(1, 227, 227),
        sides=(227, 258), source=f"{TUTORIAL}, after {ALEXNET}",
        note="Departs from AlexNet in grey images, one tower, no response normalisation, an "
        "unpadded second convolution, dropout before the head too, and 10 classes."),
    **{f"tutorial_vgg{n}": tutorial(
        stages=vgg_stages(n), hidden=(512, 512), drop_maps=True, input_size=(1, 224, 224),
        sides=(224, 255), source=f"{TUTORIAL}, after {VGG}",
        note="Departs from VGG in grey images, hidden layers of 512 units instead of 4096, dropout "
        "of whole maps before them, and 10 classes.")
       for n in VGG_DEPTHS},
}
# fmt: on
