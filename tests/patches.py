"""Images whose class is the colour of a patch at a known place, and a network that tells it."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from resnets.config import Preprocess
from resnets.models import Network, create_model

CLASSES = ("red", "green", "blue", "none")
SIDE, PATCH = 40, 22
PREPROCESS = Preprocess(input_size=(3, SIDE, SIDE), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))


def patched(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey noise with a coloured square: images (N, H, W, 3), labels (N,), masks (N, H, W)."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(40, 180, (count, SIDE, SIDE, 1), dtype=np.uint8)
    images = np.repeat(grey, 3, axis=3)
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    masks = np.zeros((count, SIDE, SIDE), dtype=bool)
    for image, label, mask in zip(images, labels, masks, strict=True):
        if CLASSES[label] == "none":
            continue  # or the lack of other colours were as good a reason
        top, left = rng.integers(0, SIDE - PATCH + 1, 2)
        mask[top : top + PATCH, left : left + PATCH] = True
        image[mask] //= 3
        image[mask, label] += 160
    return images, labels, masks


def batch_of(images: np.ndarray) -> torch.Tensor:
    """(N, C, H, W), preprocessed."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return (pixels - 0.4) / 0.2


@cache
def trained(name: str = "resnet20", steps: int = 40) -> Network:
    """A network that tells the colours of patches, in evaluation mode; a few seconds."""
    network = create_model(name, num_classes=len(CLASSES), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    images, labels, _ = patched(32 * steps, seed=1)
    batch, target = batch_of(images), torch.from_numpy(labels)
    for step in range(steps):
        part = slice(32 * step, 32 * (step + 1))
        loss = F.cross_entropy(network(batch[part]), target[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()
