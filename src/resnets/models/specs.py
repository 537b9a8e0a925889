"""The architectures, one row each: a paper's table written down as data.

Rows hold facts only. ``resnets.models.create_model`` turns a row into modules, and the tests
hold the network that comes out to the sizes the papers print.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from resnets.errors import UnknownName

Block = Literal["basic", "bottleneck", "tutorial"]
Stem = Literal["imagenet", "cifar", "tutorial"]
Shortcut = Literal["pad", "project", "project_bare"]
StrideOn = Literal["conv1", "conv2"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One residual network: a stem, stages of blocks, a pool and a linear head.

    The first block of every stage but the first halves height and width.
    """

    block: Block
    """basic: two 3x3. bottleneck: 1x1, 3x3, 1x1. tutorial: basic, its residual never negative."""
    depths: tuple[int, ...]
    """Blocks per stage."""
    widths: tuple[int, ...]
    """Channels inside the blocks of each stage; a bottleneck puts out four times as many."""
    stem: Stem
    """imagenet: 7x7 stride 2, then max pool. cifar: 3x3 at full size. tutorial: as imagenet,
    but unpadded, with a bias, and with batch norm's epsilon at 1e-3."""
    shortcut: Shortcut
    """Where the shape changes. pad: zero channels (option A). project: 1x1 convolution and
    batch norm (option B). project_bare: 1x1 convolution with a bias, no batch norm."""
    stride_on: StrideOn = "conv1"
    """The convolution of a stage's first block that takes the stride. For bottlenecks conv1 is
    the paper's; conv2 is "ResNet v1.5", the placement of torchvision's weights."""
    pool: int | None = None
    """Side of the average pool before the head; ``None``: the whole map."""
    sides: tuple[int, int] | None = None
    """Smallest and largest height and width the pool can take; ``None``: any."""
    classes: int
    """Outputs in the source; 1000 is ImageNet, 10 is CIFAR-10."""
    input_size: tuple[int, int, int]
    """Channels, height, width the source trained on."""
    source: str


imagenet = partial(
    Spec,
    widths=(64, 128, 256, 512),
    stem="imagenet",
    shortcut="project",
    classes=1000,
    input_size=(3, 224, 224),
)
basic = partial(imagenet, block="basic", source="arXiv:1512.03385, Table 1")
bottleneck = partial(
    imagenet,
    block="bottleneck",
    stride_on="conv2",  # the names are torchvision's, whose weights need v1.5
    source="arXiv:1512.03385, Table 1, as v1.5",
)
cifar = partial(
    Spec,
    block="basic",
    widths=(16, 32, 64),
    stem="cifar",
    shortcut="pad",
    classes=10,
    input_size=(3, 32, 32),
    source="arXiv:1512.03385, Section 4.2",
)

# fmt: off
SPECS: dict[str, Spec] = {
    "resnet18":   basic(depths=(2, 2, 2, 2)),
    "resnet34":   basic(depths=(3, 4, 6, 3)),
    "resnet50":   bottleneck(depths=(3, 4,  6, 3)),
    "resnet101":  bottleneck(depths=(3, 4, 23, 3)),
    "resnet152":  bottleneck(depths=(3, 8, 36, 3)),
    "resnet20":   cifar(depths=(3, 3, 3)),
    "resnet32":   cifar(depths=(5, 5, 5)),
    "resnet44":   cifar(depths=(7, 7, 7)),
    "resnet56":   cifar(depths=(9, 9, 9)),
    "resnet110":  cifar(depths=(18, 18, 18)),
    "resnet1202": cifar(depths=(200, 200, 200)),
    # Departs from the paper's ResNet-18 in an unpadded stem, a second ReLU before each addition,
    # projections without batch norm, and a 3x3 pool that fits inputs of 71 to 166 pixels only.
    "tutorial_resnet18_96": Spec(
        block="tutorial", depths=(2, 2, 2, 2), widths=(64, 128, 256, 512),
        stem="tutorial", shortcut="project_bare", pool=3, sides=(71, 166),
        classes=10, input_size=(3, 96, 96),
        source="a PyTorch tutorial on CIFAR-10 at 96x96, after arXiv:1512.03385",
    ),
}
# fmt: on


def spec_of(name: str) -> Spec:
    """The row of that name. Raises ``UnknownName`` with the nearest one."""
    if name not in SPECS:
        listing = f"`resnets models` lists all {len(SPECS)}"
        raise UnknownName("model", name, SPECS, listing=listing)
    return SPECS[name]
