"""Photos in training: from the cache where that is asked for, else what their decoding costs."""

import itertools
import time
from collections.abc import Generator
from contextlib import closing

from resnets.console import Progress
from resnets.data import cache
from resnets.data.loader import Batch, Batches
from resnets.data.sources import FileImages, Split
from resnets.errors import UnreadableImage
from resnets.machine import available_cores
from resnets.training.loop import Task

SETTLING = 8
"""Batches before anything is measured: processes start, and some batches are ahead."""
MEASURED = 50
"""Batches after which it is said what decoding costs."""
MUCH_DECODING = 0.15
"""The share of the processor time from which on it is worth a word."""
MUCH_WAITING = 0.10
"""The share of the time in which steps wait for batches, from which on it is."""


def cached(task: Task, splits: dict[str, Split], display: Progress) -> dict[str, Split]:
    """The train and val splits of image files as they come from the cache, which is filled."""
    folder = cache.default_cache_dir()
    parts = _parts(task, splits)
    total = sum(map(len, parts.values()))
    display.begin("filling the cache", total)
    without_room = cache.fill(list(parts.values()), display.advance)
    display.end()
    if without_room:
        display.line(
            f"the cache in {folder} could not take {without_room:,} of {total:,} photos: "
            "they are decoded each time"
        )
    return parts


def _parts(task: Task, splits: dict[str, Split]) -> dict[str, Split]:
    folder = cache.default_cache_dir()
    parts = {}
    for name, split in splits.items():
        if isinstance(split.images, FileImages) and name == "train":
            parts[name] = cache.for_training(split, task.preprocess, task.augmentation, folder)
        elif isinstance(split.images, FileImages) and name == "val":
            parts[name] = cache.for_validation(split, task.preprocess, folder)
    return parts


class DecodingWatch:
    """Batches as they come, and what they cost: decoding in the workers, waiting in the loop."""

    def __init__(self, batches: Batches, task: Task, splits: dict[str, Split]) -> None:
        self._batches, self._task, self._splits = batches, task, splits
        self._measured, self._told = 0, False
        self._began = self._came = self._waited = self._decoding = 0.0

    def starting_at(self, step: int) -> Generator[Batch, None, None]:
        """Endless batches from ``step`` on."""
        with closing(self._batches.starting_at(step)) as stream:
            for number in itertools.count(-SETTLING):
                asked = time.monotonic()
                batch = next(stream)
                self._came = time.monotonic()
                if number == 0:
                    self._began = self._came
                elif number > 0:
                    self._waited += self._came - asked
                    self._decoding += batch.decoding
                    self._measured = number
                yield batch

    def sentence(self) -> str | None:
        """Once, when enough is measured: what decoding costs and what helps, if it is much."""
        if self._told or self._measured < MEASURED:
            return None
        self._told = True
        seconds = self._came - self._began
        decoding = self._decoding / (available_cores() * seconds)
        waiting = self._waited / seconds
        if decoding < MUCH_DECODING and (waiting < MUCH_WAITING or decoding < MUCH_DECODING / 3):
            return None
        sentence = (
            f"decoding photos takes {decoding:.0%} of the processor time, and steps wait "
            f"{waiting:.0%} of the time for batches: a new run with --cache keeps them decoded"
        )
        try:
            size = sum(map(cache.needed_bytes, _parts(self._task, self._splits).values()))
        except UnreadableImage:  # said where it is needed, not for a piece of advice
            return sentence
        return f"{sentence}, in about {max(1, round(size / 1e6)):,} MB on disk"
