"""The same network under different runtimes, each imported where it is used."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # an exported model answers without torch
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

IMAGE, BATCH, LOGITS, PROBABILITY = "image", "batch", "logits", "probability"
"""The values on the way through an exported graph, first to last."""


class Engine(Protocol):
    """A network: batch in, logits out."""

    def __call__(self, batch: "Tensor") -> "Tensor":
        """Preprocessed (N, C, H, W) float32 -> (N, classes) float32 logits, on the CPU."""
        ...


@runtime_checkable
class Pipeline(Protocol):
    """An exported model, whose preprocessing is its own: images in, logits or probabilities out.

    Several threads may call its methods at once.
    """

    runtime: str
    """What runs it: ``onnxruntime`` or ``openvino``."""

    def prepare(self, image: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """(H, W, 3) of any size -> (C, h, w), what the network reads."""
        ...

    def logits(self, batch: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """(N, C, h, w) as ``prepare`` makes them -> (N, classes)."""
        ...

    def probability(self, image: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """(H, W, 3) of any size -> (classes,), by the whole graph, as other programs run it."""
        ...
