"""Which model lies in a run, by the hashes it carries; of a file by itself, by time and size."""

from pathlib import Path

from resnets.prediction.exports import exports_folder, model_sums
from resnets.sealing import PASSING


def fingerprint(run: Path) -> dict[str, str]:
    """Of every model in a run, sealed or exported; it changes when one of them is replaced."""
    exports = (each for each in exports_folder(run).glob("*") if each.is_dir())
    found = {}
    for model in (run, run / "model", *exports):
        if model.suffix not in PASSING:
            try:
                found[str(model)] = _mark(model)
            except OSError:  # none there, or not at this moment
                continue
    return found


def _mark(model: Path) -> str:
    if model.is_dir():
        return model_sums(model)
    stat = model.stat()  # a file by itself, maybe of a hundred megabytes: it is not read
    return f"{stat.st_mtime_ns} {stat.st_size}"
