"""Whether a map depends on what was learned: random weights must change it (arXiv:1810.03292).

The whole network is drawn anew, several times, and the rank correlation of its maps with the
trained network's is averaged. A map that shows the image's edges whatever the network has learned
stays near 1; one that depends on the weights scatters around a value near 0.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from resnets.explanation.maps import Method, map_of
from resnets.models import Network

DRAWS = 5
LIMIT = 0.5
"""A mean rank correlation below it passes: less than a quarter of the variance of the ranks is
left. On flower photos a Grad-CAM map of 4x4 and one of random weights are correlated by 0.01 on
average, with a standard deviation of 0.27, the means of five by 0.13 (20 photos, ResNet-50): a map
that depends on the weights fails about once in ten thousand."""


def correlation_with_random(
    method: Method, network: Network, image: Tensor, label: int, evidence: Tensor, *, at: str
) -> float:
    """The mean rank correlation, -1 to 1, of a map with those of the network drawn anew.

    Args:
        image: (1, C, H, W), preprocessed.
        evidence: (h, w), the trained network's map, as the method gives it.
    """
    classes = torch.tensor([label], device=image.device)
    found = []
    for seed in range(DRAWS):
        random = randomised(network, image, seed)
        (other,) = map_of(method, random, at)(image, classes)
        found.append(rank_correlation(evidence.cpu().numpy(), other.cpu().numpy()))
    return float(np.mean(found))


@torch.no_grad()
def randomised(network: Network, image: Tensor, seed: int) -> Network:
    """A copy with new weights, as a network has them before training, from head to stem.

    Batch norms are given the mean and variance of the image's own maps: with those of other
    weights, values would grow from layer to layer.
    """
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
        torch.manual_seed(seed)
        for module in fresh.modules():
            if module is not fresh and callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        fresh.initialise("he")
    norms = [module for module in fresh.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    fresh(image.repeat(2, 1, 1, 1))  # twice, or a map of 1x1 had no variance at all
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
    return fresh


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's, -1 to 1; equal values share their mean rank. Of two constant maps it is 1, of
    one it is 0.
    """
    first, second = _ranks(one), _ranks(other)
    spread = [np.ptp(ranks) > 0 for ranks in (first, second)]
    if not all(spread):
        return float(not any(spread))
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places.ravel()]
