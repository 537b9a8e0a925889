"""A first convolution that whitens: its outputs are patches' principal components, of variance one.

Neighbouring pixels say nearly the same. A convolution whose kernels are the principal directions
of the training images' patches, each over its standard deviation and once with either sign, gives
what follows the same in uncorrelated parts, and is not trained.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOOKED_AT = 1_000
"""Images whose patches tell the directions."""
LEAST = 5e-4
"""Added to each direction's variance, so that a direction without any is not blown up."""


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The convolution that reads the image."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


def can_whiten(convolution: nn.Conv2d) -> bool:
    """Whether it has a kernel for each direction with either sign, and no bias."""
    return (
        convolution.bias is None and convolution.out_channels >= 2 * convolution.weight[0].numel()
    )


@torch.no_grad()
def whiten(convolution: nn.Conv2d, parts: Iterable[Tensor]) -> None:
    """Set the kernels to the whitening directions of preprocessed images, (N, C, H, W) each part.

    The strongest come first, each followed by itself with the other sign; kernels beyond twice the
    number of directions keep what they have.
    """
    size = convolution.weight[0].numel()
    total, count = torch.zeros(size, size, dtype=torch.float64), 0
    for images in parts:
        kernel = (convolution.kernel_size[0], convolution.kernel_size[1])
        rows = F.unfold(images, kernel).transpose(1, 2).flatten(0, 1).double()
        total, count = total + rows.T @ rows, count + len(rows)
    variances, directions = torch.linalg.eigh(total / count)
    kernels = (directions / (variances + LEAST).sqrt()).T.flip(0)
    both = torch.stack([kernels, -kernels], 1).flatten(0, 1)[: convolution.out_channels]
    convolution.weight[: len(both)] = both.view_as(convolution.weight[: len(both)]).to(
        convolution.weight
    )
