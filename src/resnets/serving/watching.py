"""Which model lies in a run, by the hashes it carries."""

from pathlib import Path

from resnets.prediction.exports import PASSING, exports_folder, model_sums


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
