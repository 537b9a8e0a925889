"""How well a map's order of pixels is the network's own (arXiv:1806.07421, Section 4.2).

Pixels are removed from the image, or put back into a blurred one, in the order of the map. The
class's probability should fall, or rise, at once: the area under it is small for deletion and
large for insertion. As in the paper, what is removed gets one colour, here the mean of the
training images, and what is put back replaces a blur, which has no edges that a square would make.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.explanation.maps import CHUNK, exact
from resnets.models import Network

STEPS = 32
"""Each removes, or puts back, the same number of pixels."""
BLUR = 5 / 224
"""The Gaussian's standard deviation, as a share of the shorter side: the paper's code has 5 of
224 pixels."""


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """The class's probability while pixels go and come in the order of a map."""

    deleting: tuple[float, ...]
    """After 0, 1, ... of the steps, from the whole image on."""
    inserting: tuple[float, ...]
    """From the blurred image on."""

    @property
    def deletion(self) -> float:
        """The area under ``deleting``, from 0 to 1; less is better."""
        return _area(self.deleting)

    @property
    def insertion(self) -> float:
        """The area under ``inserting``, from 0 to 1; more is better."""
        return _area(self.inserting)


def faithfulness(
    network: Network, image: Tensor, evidence: Tensor, label: int, *, steps: int = STEPS
) -> Faithfulness:
    """The scores of one map; equal values are taken from the top row down.

    Args:
        image: (1, C, H, W), preprocessed.
        evidence: (H, W), the map.
        label: the class's index.
    """
    deleting = _curve(network, image, torch.zeros_like(image), evidence, label, steps)
    inserting = _curve(network, blurred(image), image, evidence, label, steps)
    return Faithfulness(deleting, inserting)


def blurred(image: Tensor) -> Tensor:
    """(1, C, H, W) under a Gaussian of ``BLUR``; beyond the border its outermost pixels go on."""
    sigma = BLUR * min(image.shape[-2:])
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    channels = image.shape[1]
    wide = F.pad(image, (reach,) * 4, mode="replicate")
    rows = kernel[:, None].expand(channels, 1, -1, 1)
    columns = kernel[None, :].expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(wide, rows, groups=channels), columns, groups=channels)


@torch.no_grad()
def _curve(
    network: Network, start: Tensor, end: Tensor, evidence: Tensor, label: int, steps: int
) -> tuple[float, ...]:
    order = torch.argsort(evidence.flatten(), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    changed = torch.linspace(0, len(order), steps + 1, dtype=torch.float64).round().tolist()
    place = rank.view(1, 1, *evidence.shape)

    def batches() -> Iterator[Tensor]:
        for first in range(0, len(changed), CHUNK):
            counts = torch.tensor(changed[first : first + CHUNK], device=start.device)
            yield torch.where(place < counts[:, None, None, None], end, start)

    with exact():
        found = [
            torch.softmax(network(batch).cpu().double(), dim=1)[:, label] for batch in batches()
        ]
    return tuple(torch.cat(found).tolist())


def _area(curve: tuple[float, ...]) -> float:
    """By the trapezoid rule, over a width of 1."""
    return (sum(curve) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)
