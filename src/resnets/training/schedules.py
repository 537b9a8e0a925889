"""How far a run is and what follows from it, as pure functions of the step and the plans.

A run has one plan, ``Plan(start=0, total=N)``, unless a time budget makes it plan anew. Progress
runs from 0 to 1; a new plan leaves it where it is and changes only its slope, so the learning
rate never jumps. Exact fractions keep every decision the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import cos, pi

from resnets.config import TrainConfig


@dataclass(frozen=True)
class Plan:
    """From step ``start`` on, the run ends after ``total`` steps."""

    start: int
    total: int
    validations: int
    """Validations in the whole run, at equal distances of progress; 0 while that is open."""


def progress(step: int, plans: Sequence[Plan]) -> Fraction:
    """The share of the run that lies behind ``step``, in [0, 1]."""
    done = Fraction(0)
    held = [plan for plan in plans if plan.start <= step]
    for plan, until in zip(held, [*(plan.start for plan in held[1:]), step], strict=True):
        if plan.total <= plan.start:
            return Fraction(1)
        done += (1 - done) * Fraction(min(until, plan.total) - plan.start, plan.total - plan.start)
    return done


def validation_due(step: int, plans: Sequence[Plan]) -> bool:
    """Whether the run validates after ``step`` steps: at its end, and where a share is full."""
    count = plans[-1].validations
    if step == 0 or count == 0:
        return False
    now = progress(step, plans)
    return now == 1 or int(now * count) > int(progress(step - 1, plans) * count)


def validations_for(epochs: float) -> int:
    """Once an epoch and at least five times: a multiple of the epochs, so that each end is one."""
    whole = max(1, round(epochs))
    return whole * -(-5 // whole)


def learning_rate(config: TrainConfig, step: int, done: Fraction) -> float:
    """The rate of the optimizer step that follows ``step`` steps, at progress ``done``."""
    if step < config.warmup_steps:
        return config.learning_rate / 10  # arXiv:1512.03385, Section 4.2
    share = float(done)
    if share < config.warmup:
        return config.learning_rate * (0.1 + 0.9 * share / config.warmup)
    if config.schedule == "steps":
        drops = sum(share >= drop for drop in config.lr_drops)
        return config.learning_rate * 0.1**drops
    turn = (share - config.warmup) / (1 - config.warmup)
    if config.schedule == "cosine":
        return config.learning_rate * (1 + cos(pi * turn)) / 2
    if config.schedule == "linear":
        return config.learning_rate * (1 - turn)
    return config.learning_rate


def input_side(config: TrainConfig, done: Fraction) -> int | None:
    """The side to which the images of a batch are shrunk at progress ``done``; ``None``: none."""
    return config.start_size if done < config.full_size_from else None
