"""Which sample, in which order, on which worker: pure functions of (seed, epoch, step).

Training reads one endless stream, the epochs' permutations end to end, and a batch is a window
of it: step ``s`` takes positions ``s * B`` to ``(s + 1) * B``. So every batch is full, every
sample comes once per epoch, no last batch of one upsets batch norm, and a position in training
is one integer, the step.
"""

import functools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.sources import ArrayImages, Split
from resnets.data.transforms import to_pixels


@dataclass(frozen=True)
class Batch:
    """What one optimizer step sees, before normalisation."""

    pixels: Tensor
    """(N, C, H, W) float32 or uint8, 0 to 255."""
    labels: Tensor
    """(N,) int64."""
    decoding: float = 0.0
    """Processor seconds that reading its images took."""
    mirrored: Tensor | None = None
    """(N,) whether each image is to be flipped, where flips alternate."""


class Batches(Protocol):
    """Where training gets its batches: any step can be the first."""

    def starting_at(self, step: int) -> Generator[Batch, None, None]:
        """Endless batches from ``step`` on."""


class Window(NamedTuple):
    """A batch's part of the stream."""

    samples: np.ndarray
    """(B,) positions in the training split."""
    epochs: np.ndarray
    """(B,) the epoch each belongs to."""
    draws: np.ndarray
    """(B,) what tells a sample's augmentations in one epoch apart: itself, or in a balanced order,
    which may hold a sample more than once, its place in the epoch."""

    def seeds(self, seed: int) -> list[int]:
        """A seed for each sample's augmentation, a function of (seed, epoch, draw)."""
        pairs = zip(self.epochs.tolist(), self.draws.tolist(), strict=True)
        return [sample_seed(seed, epoch, draw) for epoch, draw in pairs]


@dataclass(frozen=True)
class Order:
    """The stream of samples: which one stands at which position.

    ``balance="order"`` draws every class equally often: an epoch then has the same length, in
    which a small class comes around several times and a large one in part.
    """

    seed: int
    labels: np.ndarray
    """(N,) int64."""
    balance: Literal["none", "order"] = "none"

    def window(self, step: int, batch_size: int) -> "Window":
        """The samples of the batch at ``step``."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
        epochs, places = np.divmod(positions, len(self.labels))
        samples = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            samples[here] = _epoch_order(self.seed, int(epoch), self.balance, self._key)[
                places[here]
            ]
        return Window(samples, epochs, samples if self.balance == "none" else places)

    def mirrored(self, window: Window) -> Tensor:
        """(B,) whether each image is mirrored where flips alternate: in every other epoch."""
        first = _mirrored_first(self.seed, len(self.labels))[window.samples]
        return torch.from_numpy(first ^ (window.epochs % 2 == 1))

    @functools.cached_property
    def _key(self) -> bytes:
        return self.labels.tobytes()  # once: it is megabytes, and every step asks for it


@functools.lru_cache(maxsize=3)  # a batch touches two epochs at most; a small set touches more
def _epoch_order(seed: int, epoch: int, balance: str, labels: bytes) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=(seed, epoch)))
    label_of = np.frombuffer(labels, dtype=np.int64)
    if balance == "none":
        return generator.permutation(len(label_of))
    classes = np.unique(label_of)
    shares = [len(part) for part in np.array_split(label_of, len(classes))]
    drawn = []
    for label, share in zip(generator.permutation(classes), shares, strict=True):
        members = np.flatnonzero(label_of == label)
        rounds = -(-share // len(members))
        drawn.append(
            np.concatenate([generator.permutation(members) for _ in range(rounds)])[:share]
        )
    return generator.permutation(np.concatenate(drawn))


@functools.lru_cache(maxsize=1)
def _mirrored_first(seed: int, samples: int) -> np.ndarray:
    """(N,) whether each sample is mirrored in the first epoch."""
    generator = np.random.Generator(np.random.Philox(key=(seed, 2**63 - 1)))  # no epoch's key
    return generator.random(samples) < 0.5


def sample_seed(seed: int, epoch: int, sample: int) -> int:
    """A 63-bit seed for one sample's augmentation in one epoch."""
    return int(np.random.SeedSequence((seed, epoch, sample)).generate_state(1, np.uint64)[0] >> 1)


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed for what is drawn for a whole batch, and for dropout."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class MemoryBatches:
    """Batches of images that lie in memory as one array."""

    split: Split
    preprocess: Preprocess
    augmentation: Augmentation
    order: Order
    batch_size: int

    def starting_at(self, step: int) -> Generator[Batch, None, None]:
        """Endless batches from ``step`` on."""
        images = self.split.images
        assert isinstance(images, ArrayImages)  # noqa: S101
        array = torch.from_numpy(images.array)
        labels = torch.from_numpy(self.split.labels)
        while True:
            window = self.order.window(step, self.batch_size)
            chosen = torch.from_numpy(window.samples)
            pixels = array[chosen]
            if self.augmentation.per_image:
                seeds = window.seeds(self.order.seed)
                pixels = torch.stack(list(map(self.augmentation.colour, pixels, seeds)))
            mirrored = self.order.mirrored(window) if self.augmentation.alternate_flips else None
            pixels = to_pixels(pixels, self.preprocess)
            yield Batch(pixels, labels[chosen], mirrored=mirrored)
            step += 1
