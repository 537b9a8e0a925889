"""Training that fits a time budget: plans made from measured speed.

The target is a little below the budget, because a machine is more often slower than faster than
a moment ago. The clock is monotonic and leaves out the time a run was stopped.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from resnets.training.schedules import Plan, progress, validations_for

TARGET = 0.975
OFF_BY = 0.05
"""The share of the time left by which a plan may be off before a validation makes a new one."""
TOO_LATE = 1.04
"""The share of the budget beyond which a new plan is made at once."""
MEMORY = 50
"""Steps over which the speed is averaged."""
PAUSE = 0.01
"""The share of the budget between two plans made for lateness."""
VALIDATION_SHARE = 0.08
"""The most that validation may take of the time left, beyond its five times."""


@dataclass
class Budget:
    """Where the time goes, and how many steps still fit."""

    seconds: float
    started: float
    """``time.monotonic()`` at the command's start, less the time used before an interruption."""
    steps_per_epoch: float
    validation_seconds: float
    """Of one validation; an estimate until the first has been timed."""
    scoring_seconds: float
    """Of the scoring at the end; likewise an estimate."""
    writing_seconds: float
    """From the scoring to the exit."""

    def __post_init__(self) -> None:
        self._step_seconds = 0.0
        self._timed: list[float] = []
        self._planned_at = -math.inf
        self._validations = [self.validation_seconds]

    @property
    def closing_seconds(self) -> float:
        """From the last step to the exit."""
        return self.scoring_seconds + self.writing_seconds

    def elapsed(self) -> float:
        """Seconds used so far."""
        return time.monotonic() - self.started

    def after_step(self, step: int, plans: Sequence[Plan], took: float) -> Plan | None:
        """The first plan, once the speed is known; later one only where the end would be late."""
        if not self._speed_known(took):
            return None
        if plans[-1].validations == 0:
            return self._first_plan(step)
        self._step_seconds += (took - self._step_seconds) / MEMORY
        if self.elapsed() - self._planned_at < PAUSE * self.seconds:
            return None
        late = self.elapsed() + self._needed(step, plans) + self.closing_seconds
        return self._plan(step, plans) if late > TOO_LATE * self.seconds else None

    def after_validation(self, step: int, plans: Sequence[Plan]) -> Plan | None:
        """A plan from ``step`` on, or ``None`` where the present one is near enough."""
        if not self._step_seconds or progress(step, plans) == 1:
            return None
        left = self._time_left()
        off = abs(self._needed(step, plans) - left) > OFF_BY * max(left, 0.0)
        return self._plan(step, plans) if off else None

    def _speed_known(self, took: float) -> bool:
        """Take in one of the first steps (the very first also warms up and does not count)."""
        if self._step_seconds:
            return True
        self._timed.append(took)
        counted = self._timed[1:]
        enough = len(counted) >= 20 or sum(self._timed) >= 0.1 * self.seconds
        if enough or (len(counted) >= 3 and sum(counted) >= min(3.0, 0.03 * self.seconds)):
            self._step_seconds = sum(counted or self._timed) / len(counted or self._timed)
            return True
        return False

    def validation_took(self, seconds: float) -> None:
        """Take in one validation's time; the scoring at the end goes the way validation goes.

        The median of the last three counts: one slow moment says little.
        """
        self._validations = [*self._validations, seconds][-3:]
        before, self.validation_seconds = self.validation_seconds, median(self._validations)
        if before:
            self.scoring_seconds *= self.validation_seconds / before

    def _first_plan(self, step: int) -> Plan:
        epochs = (step + self._time_left() / self._step_seconds) / self.steps_per_epoch
        return self._plan(step, [Plan(step, step, validations_for(max(1, epochs)))])

    def _plan(self, step: int, plans: Sequence[Plan]) -> Plan:
        """As many steps as fit beside the validations, which give way to them down to five."""
        left, open_share = self._time_left(), self._open_share(step, plans)
        count = plans[-1].validations
        if self.validation_seconds:
            affordable = VALIDATION_SHARE * left / (self.validation_seconds * open_share)
            count = max(5, min(count, int(affordable)))
        self._planned_at = self.elapsed()
        steps = int((left - self._validating(step, plans, count)) / self._step_seconds)
        return Plan(step, step + max(0, steps), count)

    def _needed(self, step: int, plans: Sequence[Plan]) -> float:
        """Seconds of training and validation that the present plan still asks for."""
        training = (plans[-1].total - step) * self._step_seconds
        return training + self._validating(step, plans, plans[-1].validations)

    def _open_share(self, step: int, plans: Sequence[Plan]) -> float:
        if plans[-1].total <= plans[-1].start:  # the plan that is about to be made
            return 1.0
        return max(1e-3, 1.0 - float(progress(step, plans)))

    def _validating(self, step: int, plans: Sequence[Plan], count: int) -> float:
        """Seconds of the validations still to come; at most half of what is left is planned."""
        still_open = math.ceil(self._open_share(step, plans) * count)
        return min(self._time_left() / 2, still_open * self.validation_seconds)

    def _time_left(self) -> float:
        return TARGET * self.seconds - self.elapsed() - self.closing_seconds
