"""A network compiled for its training steps, and what that costs and gains on this machine."""

import statistics
import time
from dataclasses import dataclass

import torch

from resnets.errors import CannotGoOn
from resnets.training.loop import Task, add_gradients, augmented
from resnets.training.state import TrainingState

PASSES = 3
"""Measured before and after, behind one that is not."""


@dataclass(frozen=True)
class Compiled:
    """What compiling took, and forward and backward passes without it and with it, in seconds."""

    compiling: float
    plain: float
    compiled: float

    @property
    def pays_after(self) -> int | None:
        """The steps whose gain makes up for the compiling; ``None`` where there is no gain."""
        gain = self.plain - self.compiled
        return int(self.compiling / gain) + 1 if gain > 0 else None

    def __str__(self) -> str:
        """All of it as one sentence."""
        took = (
            f"compiled in {self.compiling:.1f} s: forward and backward take "
            f"{1000 * self.compiled:.0f} ms a step, {1000 * self.plain:.0f} without"
        )
        if self.pays_after is None:
            return f"{took}, so it never pays (leave out --compile)"
        return f"{took}, which pays after {self.pays_after:,} steps"


def compile_network(task: Task, state: TrainingState) -> Compiled:
    """Compile what training runs of the network, after timing it as it is.

    Weights, statistics and draws are as before afterwards. Raises ``CannotGoOn`` where torch
    cannot compile, as without a C++ compiler.
    """
    plain = statistics.median([_pass(task, state) for _ in range(PASSES + 1)][1:])
    network = state.model
    try:
        network.training_logits = torch.compile(  # type: ignore[method-assign]
            network.training_logits, dynamic=False
        )
        first = _pass(task, state)
    except RuntimeError as cause:  # torch raises many kinds, all of them private
        reason = str(cause).strip().splitlines()
        raise CannotGoOn(
            f"torch.compile failed: {reason[0] if reason else type(cause).__name__}",
            fix="leave out --compile; on a CPU it needs a C++ compiler such as g++",
        ) from cause
    compiled = statistics.median([_pass(task, state) for _ in range(PASSES)])
    if task.config.start_size:  # another program: compiled now, and not in the first step
        first += _pass(task, state, side=task.config.start_size)
    return Compiled(max(0.0, first - compiled), plain, compiled)


def _pass(task: Task, state: TrainingState, side: int | None = None) -> float:
    """Seconds that a forward and backward pass takes, of which nothing stays."""
    config = task.config
    labels = torch.arange(config.batch_size, device=config.device) % task.classes
    pixels = torch.zeros(config.batch_size, *task.preprocess.input_size, device=config.device)
    torch.manual_seed(0)
    inputs, targets = augmented(task, pixels, labels, seed=0, side=side)
    state.begin_step()
    state.optimizer.zero_grad(set_to_none=True)
    began = time.perf_counter()
    add_gradients(task, state.model, inputs, targets, labels)
    if config.device != "cpu":
        torch.accelerator.synchronize()
    took = time.perf_counter() - began
    state.optimizer.zero_grad(set_to_none=True)
    state.give_up_step()
    return took
