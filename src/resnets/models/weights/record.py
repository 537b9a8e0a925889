"""What a source of weights gives."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from resnets.config import Preprocess


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Tensors and what goes with them; ``None`` is what the source does not say."""

    tensors: dict[str, Tensor]
    """By our names."""
    origin: str
    """Where they come from: an address, a repository and its revision, or a file."""
    sha256: str | None = None
    """Of the file as it was published."""
    model: str | None = None
    """The network's name, with its options."""
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None
    """The class of each output."""
    accuracy: float | None = None
    """Published: the share of ImageNet's validation images whose likeliest label is right."""
    licence: str | None = None
    notes: tuple[str, ...] = ()
    """What was recognised in the file, a sentence each."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
