"""A residual network as the backbone of torchvision's Faster R-CNN and DeepLabV3.

$ python examples/backbone.py detection
$ python examples/backbone.py segmentation --model resnet101

Each trains for a few steps on a made set of coloured rectangles and prints its losses. On real
images start from trained weights; ``create_model`` takes ``norm_layer=FrozenBatchNorm2d`` then.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from resnets import create_model
from resnets.models import Network

STAGES = ("layer1", "layer2", "layer3", "layer4")
DILATED = (False, True, True)
"""DeepLabV3's: the third and fourth stage keep the size of the second."""
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.9]])
"""Red, green and blue: classes 1, 2 and 3; class 0 is background."""
CLASSES = 1 + len(COLOURS)


class Pyramid(nn.Module):
    """A feature pyramid over the four stages (arXiv:1612.03144, Section 3).

    (N, 3, H, W) images -> five maps of 256 channels, strides 4 to 64. ``body`` and ``fpn`` are
    torchvision's names, so its detectors' weights fit.
    """

    out_channels = 256

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.body = network
        self.fpn = FeaturePyramidNetwork(channels(network), self.out_channels, LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The maps, finest first."""
        maps = self.body.features(images, at=STAGES)
        return self.fpn({str(level): maps[stage] for level, stage in enumerate(STAGES)})


class LastMap(nn.Module):
    """The last stage's map, under the name that DeepLab reads."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.body = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) images -> (N, C, H / 8, W / 8), where two stages are dilated."""
        return {"out": self.body.features(images, at=["layer4"])["layer4"]}


@torch.no_grad()
def channels(network: Network) -> list[int]:
    """How many channels each stage puts out."""
    network.eval()  # a look leaves no trace in the running means of batch norm
    device = next(network.parameters()).device
    maps = network.features(torch.zeros(1, 3, 64, 64, device=device), at=STAGES)
    network.train()
    return [maps[stage].shape[1] for stage in STAGES]


def detector(network: Network, *, size: int = 800, classes: int = CLASSES) -> FasterRCNN:
    """Faster R-CNN over a feature pyramid, for images whose shorter side has ``size`` pixels."""
    anchors = tuple((size * 2**level // 25,) for level in range(5))  # at 800 pixels 32 to 512
    return FasterRCNN(
        Pyramid(network),
        classes,
        min_size=size,
        max_size=size * 5 // 3,
        rpn_anchor_generator=AnchorGenerator(anchors, ((0.5, 1.0, 2.0),) * len(anchors)),
        box_batch_size_per_image=64,  # a made image holds two boxes, not dozens
    )


def segmenter(network: Network, *, classes: int = CLASSES) -> DeepLabV3:
    """DeepLabV3 (arXiv:1706.05587) over a network whose last two stages are dilated."""
    return DeepLabV3(LastMap(network), DeepLabHead(channels(network)[-1], classes))


class Scene(NamedTuple):
    """An image and what is on it."""

    image: Tensor
    """(3, size, size), 0 to 1."""
    boxes: Tensor
    """(rectangles, 4): left, top, right, bottom, in pixels."""
    labels: Tensor
    """(rectangles,)"""
    mask: Tensor
    """(size, size), the label of every pixel."""


def scenes(count: int, size: int) -> Iterator[Scene]:
    """Two rectangles of different colour on each image, the second one on top."""
    generator = torch.Generator().manual_seed(0)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    for _ in range(count):
        image = 0.4 + 0.2 * torch.rand(3, size, size, generator=generator)
        mask = torch.zeros(size, size, dtype=torch.int64)
        boxes = []
        labels = 1 + torch.randperm(len(COLOURS), generator=generator)[:2]
        for label in labels.tolist():
            width, height = draw(size // 4, size // 2), draw(size // 4, size // 2)
            left, top = draw(0, size - width), draw(0, size - height)
            area = (slice(top, top + height), slice(left, left + width))
            image[:, *area] = COLOURS[label - 1, :, None, None]
            mask[area] = label
            boxes.append([left, top, left + width, top + height])
        yield Scene(image, torch.tensor(boxes, dtype=torch.float32), labels, mask)


def train_detector(model: FasterRCNN, *, size: int, steps: int) -> list[float]:
    """Train on four scenes; returns the loss of each step."""
    made = list(scenes(4, size))
    images = [scene.image for scene in made]
    targets = [{"boxes": scene.boxes, "labels": scene.labels} for scene in made]

    def loss() -> Tensor:
        return torch.stack(list(model(images, targets).values())).sum()

    return descend(model, loss, steps)


def train_segmenter(model: DeepLabV3, *, size: int, steps: int) -> list[float]:
    """Train on four scenes; returns the loss of each step."""
    made = list(scenes(4, size))
    images, masks = torch.stack([s.image for s in made]), torch.stack([s.mask for s in made])
    return descend(model, lambda: F.cross_entropy(model(images)["out"], masks), steps)


def descend(model: nn.Module, loss_of: Callable[[], Tensor], steps: int) -> list[float]:
    """Steps of SGD on the same images; prints and returns each loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003, momentum=0.9)
    losses = []
    for step in range(1, steps + 1):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step:2}  loss {losses[-1]:.3f}", flush=True)
    return losses


def main() -> None:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=["detection", "segmentation"])
    parser.add_argument("--model", default="resnet50", help="a network from `resnets models`")
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=16)
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.task == "detection":
        network = create_model(given.model, num_classes=0)
        train_detector(detector(network, size=given.size), size=given.size, steps=given.steps)
    else:
        network = create_model(given.model, num_classes=0, replace_stride_with_dilation=DILATED)
        train_segmenter(segmenter(network), size=given.size, steps=given.steps)


if __name__ == "__main__":
    main()
