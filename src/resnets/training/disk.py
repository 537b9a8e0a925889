"""When a run writes, and what it does when the disk refuses."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from resnets.checkpoint import STATES_KEPT
from resnets.console import Progress
from resnets.errors import CannotGoOn
from resnets.training.state import TrainingState

SAVE_SHARE = 0.01
"""The most of a run's time that saving takes."""
RETRIES = 5
"""Refusals in a row that a run outlasts."""


class Disk:
    """The disk under a run folder: how long ago it took a state, and how often it refused.

    Args:
        save_every: seconds between states, or more where one takes long to save.
    """

    def __init__(self, path: Path, save_every: float, display: Progress) -> None:
        self.path, self.save_every, self.display = path, save_every, display
        self._saved_at, self._took, self._refused = time.monotonic(), 0.0, 0

    @property
    def due(self) -> bool:
        """Whether it is time for the next state."""
        since = time.monotonic() - self._saved_at
        return since > max(self.save_every, self._took / SAVE_SHARE)

    def took(self, seconds: float) -> None:
        """A state is saved."""
        self._saved_at, self._took, self._refused = time.monotonic(), seconds, 0

    def save(self, state: Callable[[], None]) -> None:
        """Write a state that will be written again later, so that a refusal need not end the run.

        Raises ``CannotGoOn`` when the disk has refused ``RETRIES`` times in a row.
        """
        try:
            state()
        except CannotGoOn as problem:
            self._refused += 1
            if self._refused > RETRIES:
                raise
            self._saved_at = time.monotonic()
            self.display.line(
                f"{problem.problem}; training goes on, and what was saved before stays "
                f"(refusal {self._refused} of {RETRIES})"
            )

    def note(self, what: Callable[[], None]) -> None:
        """Write what the states hold as well; a refusal is told."""
        try:
            what()
        except CannotGoOn as problem:
            self.display.line(f"{problem.problem}; training goes on")

    def warn_of_little_room(self, state: TrainingState) -> None:
        """Say before the first step that the states and the model will not fit."""
        tensors, _ = state.to_file(0.0, {})
        one = sum(tensor.nbytes for tensor in tensors.values())
        weights = sum(tensor.nbytes for tensor in state.model.state_dict().values())
        one += weights if state.best is None else 0
        one += weights if not state.optimizer.state else 0  # momenta
        there = sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        states = STATES_KEPT + 1  # those that stay, and the one being written
        needed = states * one + weights
        room = shutil.disk_usage(self.path).free + there
        if room < needed:
            self.display.line(
                f"{self.path} has room for {room / 1e6:,.0f} MB, and its training states and model "
                f"need up to {needed / 1e6:,.0f} MB: make room before the disk is full"
            )
