"""Which sample, in which order, on which worker: pure functions of (seed, epoch, step).

Training reads one endless stream, the epochs' permutations end to end, and a batch is a window
of it: step ``s`` takes positions ``s * B`` to ``(s + 1) * B``. So every batch is full, every
sample comes once per epoch, no last batch of one upsets batch norm, and a position in training
is one integer, the step.
"""

import functools
import multiprocessing
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.cache import CachedPixels
from resnets.data.sources import ArrayImages, Split
from resnets.data.transforms import to_pixels
from resnets.errors import CannotGoOn, UnreadableImage


@dataclass(frozen=True)
class Batch:
    """What one optimizer step sees, before normalisation."""

    pixels: Tensor
    """(N, C, H, W) float32 or uint8, 0 to 255."""
    labels: Tensor
    """(N,) int64."""
    decoding: float = 0.0
    """Processor seconds that reading its images took."""


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
            yield Batch(to_pixels(pixels, self.preprocess), labels[chosen])
            step += 1


@dataclass(frozen=True)
class WorkerBatches:
    """Batches of images that are decoded and augmented one by one, in worker processes."""

    split: Split
    preprocess: Preprocess
    augmentation: Augmentation
    order: Order
    batch_size: int
    workers: int
    start_method: str | None = None
    """How processes are made; ``None``: the platform's default. ``spawn`` works too."""

    def starting_at(self, step: int) -> Generator[Batch, None, None]:
        """Endless batches from ``step`` on.

        Raises ``UnreadableImage`` for a file that cannot be decoded and ``CannotGoOn`` when a
        worker dies; never another image in its place.
        """
        context = multiprocessing.get_context(self.start_method) if self.workers else None
        loader = DataLoader(
            _Samples(self.split, self.preprocess, self.augmentation),
            batch_sampler=_Windows(self.order, self.batch_size, step),
            num_workers=self.workers,
            multiprocessing_context=context,
            collate_fn=_collate,
            worker_init_fn=_leave_signals_to_the_parent,
            generator=torch.Generator(),  # without one, the loader draws from the global one
        )
        labels = torch.from_numpy(self.split.labels)
        batches = _begin(loader)
        while True:
            try:
                pixels, samples, decoding = next(batches)
            except RuntimeError as cause:
                if "DataLoader worker (pid" not in str(cause):
                    raise
                raise CannotGoOn(
                    f"a worker process died: {str(cause).splitlines()[0]}",
                    fix="type the same command again; with --workers 0 it needs less memory",
                ) from cause
            if isinstance(pixels, str):
                raise CannotGoOn(
                    f"{pixels} (found in training, after {step:,} steps)",
                    fix="put the file back as it was and type the same command; "
                    "to train without it, remove it and add --fresh",
                )
            yield Batch(pixels, labels[samples], decoding)
            step += 1


class _Windows:
    """A batch sampler without an end: each batch a list of (sample, seed)."""

    def __init__(self, order: Order, batch_size: int, step: int) -> None:
        self.order, self.batch_size, self.step = order, batch_size, step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self.step
        while True:
            window = self.order.window(step, self.batch_size)
            yield list(zip(window.samples.tolist(), window.seeds(self.order.seed), strict=True))
            step += 1


class _Item(NamedTuple):
    pixels: Tensor | str
    """(C, h, w), or the reason why the image cannot be read."""
    sample: int
    decoding: float
    """Processor seconds."""


class _Samples(TorchDataset[_Item]):
    """(sample, seed) -> the augmented image."""

    def __init__(self, split: Split, preprocess: Preprocess, augmentation: Augmentation) -> None:
        self.split, self.preprocess, self.augmentation = split, preprocess, augmentation

    def __getitem__(self, key: tuple[int, int]) -> _Item:
        sample, seed = key
        images, began = self.split.images, time.thread_time()
        try:
            if isinstance(images, CachedPixels):
                return _Item(images.pixels(sample), sample, time.thread_time() - began)
            part = self.augmentation.part(images, sample, self.preprocess, seed)
        except UnreadableImage as problem:
            return _Item(problem.problem, sample, 0.0)
        decoding = time.thread_time() - began
        return _Item(self.augmentation.finish(part, self.preprocess, seed), sample, decoding)


def _collate(items: list[_Item]) -> tuple[Tensor | str, Tensor, float]:
    samples = torch.tensor([item.sample for item in items])
    for item in items:
        if isinstance(item.pixels, str):
            return item.pixels, samples, 0.0
    pixels = torch.utils.data.default_collate([item.pixels for item in items])
    return pixels, samples, sum(item.decoding for item in items)


def _begin(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, and keep torch from raising their death in the middle of a step.

    torch's own handler raises wherever the main thread is, also while it changes the weights; a
    dead worker is noticed all the same when the next batch is asked for.
    """
    if not hasattr(signal, "SIGCHLD") or current_thread() is not main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, before)
    return batches


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; only the parent acts on them."""
    signal.set_wakeup_fd(-1)  # a forked worker has its parent's
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
