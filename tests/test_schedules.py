"""Progress, learning rate and validation are functions of the step and the plans."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.config import TrainConfig
from resnets.training.budget import Budget
from resnets.training.recipes import RECIPES
from resnets.training.schedules import (
    Plan,
    learning_rate,
    progress,
    validation_due,
    validations_for,
)


@settings(deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(5, 40))
def test_progress_rises_to_one_and_validation_comes_as_often_as_planned(lengths, validations):
    plans, start = [], 0
    for length in lengths:
        plans.append(Plan(start, start + length + validations, validations))
        start += length // 2 + 1
    total = plans[-1].total
    values = [progress(step, plans) for step in range(total + 1)]
    assert values[0] == 0 and values[-1] == 1
    assert all(a < b for a, b in itertools.pairwise(values))
    due = [step for step in range(total + 1) if validation_due(step, plans)]
    assert due[-1] == total and len(due) <= validations
    if len(plans) == 1:
        assert len(due) == validations


def test_a_new_plan_changes_the_slope_and_not_the_value():
    before = [Plan(0, 100, 5)]
    after = [*before, Plan(40, 60, 5)]
    assert progress(40, before) == progress(40, after) == Fraction(2, 5)
    assert progress(50, after) == Fraction(7, 10)
    assert progress(60, after) == 1
    assert progress(20, after) == progress(20, before), "the past is not planned anew"


def test_a_run_of_whole_epochs_validates_at_each_and_at_least_five_times():
    assert [validations_for(epochs) for epochs in (1, 2, 3, 5, 7.2, 100)] == [5, 6, 6, 5, 7, 100]


def test_the_cosine_schedule_is_its_formula():
    config = TrainConfig(epochs=1, learning_rate=0.2, schedule="cosine", warmup=0.2)
    assert learning_rate(config, 0, Fraction(0)) == pytest.approx(0.02)
    assert learning_rate(config, 1, Fraction(1, 10)) == pytest.approx(0.11)
    assert learning_rate(config, 2, Fraction(1, 5)) == pytest.approx(0.2)
    middle = 0.2 * (1 + math.cos(math.pi / 2)) / 2
    assert learning_rate(config, 6, Fraction(3, 5)) == pytest.approx(middle)
    assert learning_rate(config, 10, Fraction(1)) == pytest.approx(0.0, abs=1e-12)


def test_the_paper_schedule_drops_at_32k_and_48k_steps():
    config, plans = RECIPES["paper-cifar"], [Plan(0, 64_000, 180)]
    rates = [
        learning_rate(config, step, progress(step, plans))
        for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


class Clock:
    """A machine whose time is told by the test."""

    def __init__(self, monkeypatch):
        self.now = 1_000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def simulate(clock, seconds, step_seconds, *, validation=2.0, closing=5.0):
    """Run a budget against a machine whose step takes ``step_seconds(step)``."""
    budget = Budget(
        seconds=seconds,
        started=clock.now - 7.0,  # checks before the first step
        steps_per_epoch=50,
        validation_seconds=validation,
        scoring_seconds=closing,
        writing_seconds=0.0,
    )
    step, plans, validations = 0, [Plan(0, 10**9, 0)], []
    while progress(step, plans) != 1:
        clock.now += step_seconds(step)
        step += 1
        if plan := budget.after_step(step, plans, step_seconds(step - 1)):
            plans.append(plan)
        if validation_due(step, plans):
            clock.now += validation
            validations.append(step)
            if plan := budget.after_validation(step, plans):
                plans.append(plan)
    return budget.elapsed() + closing, plans, validations


def test_at_steady_speed_a_budget_is_met_within_five_percent(monkeypatch):
    for seconds in (60, 600, 3_600):
        took, _, validations = simulate(Clock(monkeypatch), seconds, lambda step: 0.1)
        assert 0.95 * seconds <= took <= 1.05 * seconds
        assert len(validations) >= 5


@pytest.mark.parametrize("change", [0.4, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_change_of_speed_never_costs_more_than_ten_percent(monkeypatch, change, at):
    switch = int(at * 6_000)
    took, plans, _ = simulate(
        Clock(monkeypatch), 600, lambda step: 0.1 if step < switch else 0.1 * change
    )
    assert took <= 1.10 * 600
    assert progress(plans[-1].total, plans) == 1, "the rate has reached its minimum"


def test_one_slow_moment_does_not_end_a_run(monkeypatch):
    """A validation that takes fifty times as long as the others is paid for, not panicked at."""
    clock = Clock(monkeypatch)
    budget = Budget(
        seconds=100,
        started=clock.now,
        steps_per_epoch=70,
        validation_seconds=0.1,
        scoring_seconds=3.0,
        writing_seconds=0.0,
    )
    step, plans, validations = 0, [Plan(0, 10**9, 0)], 0
    while progress(step, plans) != 1:
        clock.now += 0.1
        step += 1
        if plan := budget.after_step(step, plans, 0.1):
            plans.append(plan)
        if validation_due(step, plans):
            took = 5.0 if validations == 2 else 0.1
            clock.now += took
            budget.validation_took(took)
            validations += 1
            if plan := budget.after_validation(step, plans):
                plans.append(plan)
    assert 0.93 * 100 <= budget.elapsed() + 3 <= 105
    assert validations >= 5
