"""Photos decoded and augmented by worker processes, which may die without a loss.

A batch is a function of its step, so a batch that was lost with its worker is made again, from
the same photos with the same draws.
"""

import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.cache import CachedPixels
from resnets.data.loader import Batch, Order
from resnets.data.sources import Split
from resnets.errors import CannotGoOn, UnreadableImage

DEATHS = 3
"""Of workers at one photo, after which it is held to be the cause."""
LOSSES = 10
"""Of workers without a batch in between, after which the machine is."""
DIED = "DataLoader worker (pid"
"""How torch begins to say so, in a plain ``RuntimeError``."""
LOOK = 5.0
"""Seconds between two looks at workers that are waited for."""
HANGS = 12
"""Looks in a row that see no progress: the workers hang."""


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

        When a worker dies or hangs all are replaced, and go on at the batch that is due. Raises
        ``CannotGoOn`` for a file that cannot be decoded (never another image in its place), for
        one that killed three workers, and where workers die without a batch in between.
        """
        labels = torch.from_numpy(self.split.labels)
        deaths: Counter[int] = Counter()
        losses = 0
        staff = self._hired(step)
        try:
            while True:
                try:
                    pixels, samples, decoding = staff.next_batch()
                except LostWorkers as loss:
                    losses += 1
                    deaths.update(loss.samples)
                    self._refuse_deadly(deaths, losses, loss)
                    staff.end()
                    staff = self._hired(step)
                    continue
                if isinstance(pixels, str):
                    raise CannotGoOn(
                        f"{pixels} (found in training, after {step:,} steps)",
                        fix="put the file back as it was and type the same command; "
                        "to train without it, remove it and add --fresh",
                    )
                losses = 0
                for sample in samples.tolist():  # it was read, so it is not deadly
                    deaths.pop(sample, None)
                mirrored = None
                if self.augmentation.alternate_flips:
                    mirrored = self.order.mirrored(self.order.window(step, self.batch_size))
                yield Batch(pixels, labels[samples], decoding, mirrored)
                step += 1
        finally:
            staff.end()

    def _hired(self, step: int) -> "_Staff":
        desks = Desks(self.workers)
        context = multiprocessing.get_context(self.start_method) if self.workers else None
        loader = DataLoader(
            _Samples(self.split, self.preprocess, self.augmentation, desks),
            batch_sampler=_Windows(self.order, self.batch_size, step),
            num_workers=self.workers,
            multiprocessing_context=context,
            collate_fn=_collate,
            worker_init_fn=desks.sit_down,
            generator=torch.Generator(),  # without one, the loader draws from the global one
        )
        return _Staff(_without_torchs_handler(loader), desks)

    def _refuse_deadly(self, deaths: Counter[int], losses: int, loss: "LostWorkers") -> None:
        for sample, count in deaths.items():
            if count >= DEATHS:
                raise CannotGoOn(
                    f"{count} worker processes {loss} while they read {self.split.names[sample]}",
                    fix="look at that file; to train without it, remove it and add --fresh",
                ) from loss
        if losses >= LOSSES:
            raise CannotGoOn(
                f"worker processes {loss} {losses} times in a row",
                fix="type the same command again; with --workers 0 it needs less memory",
            ) from loss


class LostWorkers(Exception):
    """Worker processes died or hang; the text says which of the two."""

    def __init__(self, how: str, samples: list[int]) -> None:
        super().__init__(how)
        self.samples = samples
        """What they were reading."""


class Desks:
    """What each worker is reading: (process, sample), in memory that the parent sees."""

    def __init__(self, workers: int) -> None:
        self.rows = torch.full((workers, 2), -1).share_memory_()

    def sit_down(self, worker: int) -> None:
        """Called by each worker at its start."""
        _leave_signals_to_the_parent()
        self.rows[worker, 0] = os.getpid()

    def reading(self, sample: int) -> None:
        """Called by a worker before it reads a sample, and with -1 after it."""
        if worker := get_worker_info():
            self.rows[worker.id, 1] = sample


class _Staff:
    """Running workers and their batches, with a thread that sees when they stand still.

    The loop cannot look itself: to fetch a batch from a worker that stands still takes forever.
    """

    def __init__(self, batches: Iterator[Any], desks: Desks) -> None:
        self.batches, self.desks = batches, desks
        self.processes = getattr(batches, "_workers", [])  # torch has no public name for them
        self._waiting, self._hung, self._ended = False, False, threading.Event()
        if self.processes:
            threading.Thread(target=self._watch, name="worker watch", daemon=True).start()

    def next_batch(self) -> Any:
        """What ``_collate`` made. Raises ``LostWorkers``."""
        self._waiting = True
        try:
            while True:
                try:
                    return next(self.batches)
                except RuntimeError as cause:
                    if DIED not in str(cause):
                        raise
                    raise self._lost(str(cause)) from cause
                except (OSError, EOFError):  # of a batch that a dying worker no longer hands over
                    if not self.processes:
                        raise
        finally:
            self._waiting = False

    def end(self) -> None:
        """End the workers; by force those that do not listen."""
        self._ended.set()
        if shut_down := getattr(self.batches, "_shutdown_workers", None):
            shut_down()
        self._kill()  # ours ignore SIGTERM, and one that hangs all the rest

    def _watch(self) -> None:
        before, still = self.desks.rows.clone(), 0
        while not self._ended.wait(LOOK):
            moved = not self._waiting or not torch.equal(before, self.desks.rows)
            still = 0 if moved else still + 1
            before = self.desks.rows.clone()
            if still == HANGS:
                self._hung = True
                self._kill()
                return

    def _kill(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()

    def _lost(self, told: str) -> LostWorkers:
        dead = set(map(int, re.findall(r"\d+", told)))
        samples = [
            sample
            for process, sample in self.desks.rows.tolist()
            if sample >= 0 and (self._hung or process in dead)
        ]
        self._kill()
        return LostWorkers("hung" if self._hung else "died", samples)


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

    def __init__(
        self, split: Split, preprocess: Preprocess, augmentation: Augmentation, desks: Desks
    ) -> None:
        self.split, self.preprocess, self.augmentation = split, preprocess, augmentation
        self.desks = desks

    def __getitem__(self, key: tuple[int, int]) -> _Item:
        sample, seed = key
        self.desks.reading(sample)
        item = self._item(sample, seed)
        self.desks.reading(-1)
        return item

    def _item(self, sample: int, seed: int) -> _Item:
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


def _without_torchs_handler(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, and keep torch from raising their death in the middle of a step.

    torch's own handler raises wherever the main thread is, also while it changes the weights; a
    dead worker is noticed all the same when the next batch is asked for.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    torchs = getattr(before, "__module__", "").startswith("torch.")  # of an earlier loader
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None or torchs else before)
    return batches


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C and SIGTERM reach the whole process group; only the parent acts on them."""
    signal.set_wakeup_fd(-1)  # a forked worker has its parent's
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
