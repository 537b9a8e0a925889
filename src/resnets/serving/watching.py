"""Which model lies in a run, by the hashes it carries."""

import hashlib
from pathlib import Path

from resnets.prediction.exports import exports_folder
from resnets.sealing import SUMS

PASSING = (".new", ".old")
"""Endings of folders that are about to get another name."""


def model_sums(path: Path) -> str:
    """SHA-256 of a model's SHA256SUMS, or of the file where it is one by itself."""
    file = path / SUMS if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def fingerprint(run: Path) -> dict[str, str]:
    """Of every model in a run, sealed or exported; it changes when one of them is replaced."""
    folders = [run, run / "model", *exports_folder(run).glob("*")]
    found = {}
    for folder in folders:
        if folder.suffix not in PASSING:
            try:
                found[str(folder)] = model_sums(folder)
            except OSError:  # none there, or not at this moment
                continue
    return found
