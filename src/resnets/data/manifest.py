"""What a run was trained on, written down (``data.json``) and found again."""

import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resnets.data import hold_out, open_dataset
from resnets.data.sources import Dataset, LeftOut, Split
from resnets.errors import DataError


def manifest(dataset: Dataset, *, validation: float, data_dir: Path | None) -> dict[str, Any]:
    """The contents of ``data.json``.

    Args:
        dataset: read, with its validation part held out.
        validation: the share that was held out, so that ``reopen`` can do it again.
    """
    return {
        "name": dataset.name,
        "source": dataset.source,
        "data_dir": str(data_dir) if data_dir else None,
        "validation": validation,
        "classes": list(dataset.classes),
        "splits": {name: _split(split, dataset.classes) for name, split in dataset.splits.items()},
        "left_out": [dataclasses.asdict(item) for item in dataset.left_out],
        "notes": list(dataset.notes),
    }


def reopen(recorded: dict[str, Any]) -> Dataset:
    """The data set of a run, in the same parts, without what was left out of it.

    Raises ``DataError`` where the data is gone.
    """
    source = recorded["source"]
    if source.startswith("("):
        raise DataError(
            f"the run was trained on {source}, which no name or folder leads back to",
            fix="give the data to score",
        )
    data_dir = Path(recorded["data_dir"]) if recorded["data_dir"] else None
    dataset = leave_out(open_dataset(source, data_dir=data_dir), recorded)
    if "val" not in dataset.splits and recorded["validation"]:
        dataset = hold_out(dataset, recorded["validation"])
    return dataset


def leave_out(dataset: Dataset, recorded: dict[str, Any]) -> Dataset:
    """The data set without the files that were found unreadable before, and with its notes."""
    left_out = tuple(LeftOut(**item) for item in recorded["left_out"])
    gone = {(item.split, item.path) for item in left_out}
    splits = {
        part: split.take(np.flatnonzero([(part, name) not in gone for name in split.names]))
        for part, split in dataset.splits.items()
    }
    kept = {part: split for part, split in splits.items() if len(split)}
    return replace(dataset, splits=kept, left_out=left_out, notes=tuple(recorded["notes"]))


def differences(recorded: dict[str, Any], now: dict[str, Any]) -> str | None:
    """A sentence on what was added, removed or changed since, or ``None``."""
    if recorded["classes"] != now["classes"]:
        return f"the classes were {recorded['classes']} and are {now['classes']}"
    before, after = _digests(recorded), _digests(now)
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    parts = [
        f"{len(names)} {word} ({', '.join(sorted(names)[:10])}{', ...' if len(names) > 10 else ''})"
        for names, word in ((added, "added"), (removed, "removed"), (changed, "changed"))
        if names
    ]
    return ", ".join(parts) or None


def _split(split: Split, classes: tuple[str, ...]) -> dict[str, Any]:
    counts = {name: int((split.labels == label).sum()) for label, name in enumerate(classes)}
    digests = split.digests or ("",) * len(split)
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {
        "count": len(split),
        "per_class": counts,
        "sha256": whole,
        "images": dict(zip(split.names, digests, strict=True)),
    }


def _digests(recorded: dict[str, Any]) -> dict[str, str]:
    return {
        f"{part}: {name}": digest
        for part, split in recorded["splits"].items()
        for name, digest in split["images"].items()
    }
