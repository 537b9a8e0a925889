"""Test-time augmentation: an image and its mirror image, answered together."""

from dataclasses import dataclass

from torch import Tensor

from resnets.engines import Engine


@dataclass(frozen=True)
class Mirrored:
    """An ``Engine`` whose logits are the mean over the image and its mirror image."""

    engine: Engine

    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, H, W) float32 -> (N, classes) float32 logits."""
        return (self.engine(batch) + self.engine(batch.flip(-1))) / 2
