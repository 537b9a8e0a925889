"""How long runs will take on this machine, from a few steps of each network."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from resnets.console import Progress
from resnets.data import Dataset, hold_out, open_dataset, read_images
from resnets.data.listing import by_hash
from resnets.data.manifest import HELD_OUT, before_reading
from resnets.machine import keep_memory
from resnets.training.loop import take_step
from resnets.training.preparing import batches_of, state_of, task_of
from resnets.training.recipes import recipe
from resnets.training.schedules import validations_for
from resnets.training.scoring import CALIBRATING, Scorer, build_network
from resnets.training.session import CLOSING
from resnets.training.setup import resolve
from resnets.training.stopping import StopWatch

FEW = 512
"""Training images that steps are tried on."""
WARM, FEWEST, MOST, ENOUGH = 5, 5, 25, 10.0
"""Steps that do not count; the fewest and most that do, and seconds that are enough of them."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that one network takes."""

    step: float
    validated: float
    """For each image that validates."""
    scored: float
    """For each image at the end."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many images there are, and how long it takes to read them all."""

    train: int
    val: int
    test: int
    batch: int
    reading: float
    """Seconds."""


def few_images(
    data: str | Path, data_dir: str | Path | None, settings: dict[str, Any]
) -> tuple[Dataset, Sizes]:
    """``FEW`` images that runs will train on, the same every time, and the sizes of the whole."""
    named = {name: settings[name] for name in ("batch_size", "validation") if name in settings}
    base = dataclasses.replace(recipe(settings["recipe"]), **named)
    whole = before_reading(
        open_dataset(data, data_dir=Path(data_dir) if data_dir else None), base.validation
    )
    share = HELD_OUT if base.validation is None else base.validation
    if "val" not in whole.splits and share:
        whole = hold_out(whole, share)
    train = whole.splits["train"]
    few = dataclasses.replace(
        whole, splits={"train": train.take(by_hash(train.names)[:FEW])}, split_by_hash=False
    )
    began = time.monotonic()
    few = read_images(few, too_many=1.0)
    reading = (time.monotonic() - began) / len(few.splits["train"])
    counts = {part: len(split) for part, split in whole.splits.items()}
    sizes = Sizes(
        train=counts["train"],
        val=counts.get("val", 0),
        test=counts.get("test", 0),
        batch=min(base.batch_size, counts["train"]),
        reading=reading * sum(counts.values()),
    )
    return few, sizes


def measure_pace(model: str, few: Dataset, settings: dict[str, Any]) -> Pace:
    """Try a few steps of a network, which then is thrown away."""
    config, _ = resolve(settings | {"model": model, "steps": 1}, few)
    assert config.threads  # noqa: S101
    torch.set_num_threads(config.threads)
    keep_memory()
    task = task_of(config, few, None, None)
    state = state_of(task, build_network(task), steps_per_epoch=1.0)
    stop = StopWatch(lambda: None)
    times: list[float] = []
    with closing(batches_of(task, few.splits["train"], None).starting_at(0)) as stream:
        while len(times) < WARM + FEWEST or (
            len(times) < WARM + MOST and sum(times[WARM:]) < ENOUGH
        ):
            began = time.monotonic()
            take_step(task, state, next(stream), 0.0, stop)
            times.append(time.monotonic() - began)
    scorer = Scorer(task, few, Progress(quiet=True), lambda: None)
    weights, split = state.model.state_dict(), few.splits["train"]
    return Pace(
        step=median(times[WARM:]),
        validated=_seconds(lambda: scorer.validate(weights, split)) / len(split),
        scored=_seconds(lambda: scorer.final(weights, {"train": split})) / len(split),
    )


def _seconds(work: Callable[[], object]) -> float:
    """Of the second time, for the first one warms up."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def seconds_of(paces: Sequence[Pace], sizes: Sizes, steps: int) -> float:
    """How long runs of so many steps take together, from reading the data to the report."""
    validations = validations_for(steps * sizes.batch / sizes.train) if sizes.val else 0
    at_the_end = sizes.test + min(sizes.val, CALIBRATING)
    return sum(
        sizes.reading
        + steps * pace.step
        + validations * sizes.val * pace.validated
        + at_the_end * pace.scored
        + CLOSING
        for pace in paces
    )


def steps_within(paces: Sequence[Pace], sizes: Sizes, seconds: float) -> int:
    """The most steps with which all runs fit; 0 where not one does."""
    low, high = 0, max(0, math.ceil(seconds / sum(pace.step for pace in paces)))
    while low < high:
        middle = (low + high + 1) // 2
        if seconds_of(paces, sizes, middle) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low
