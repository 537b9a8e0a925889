"""Batch in, logits out: the same network under different runtimes, each imported where used."""

from typing import Protocol

from torch import Tensor


class Engine(Protocol):
    """What evaluation and prediction ask of a runtime."""

    def __call__(self, batch: Tensor) -> Tensor:
        """Preprocessed (N, C, H, W) float32 -> (N, classes) float32 logits, on the CPU."""
        ...
