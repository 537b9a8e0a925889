"""What a run was trained on, written down (``data.json``) and found again."""

import hashlib
from pathlib import Path
from typing import Any

from resnets.data import hold_out, open_dataset
from resnets.data.sources import Dataset, Split
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
        "left_out": [{"path": item.path, "reason": item.reason} for item in dataset.left_out],
        "notes": list(dataset.notes),
    }


def reopen(recorded: dict[str, Any]) -> Dataset:
    """The data set of a run, with the same parts. Raises ``DataError`` where it is gone."""
    source = recorded["source"]
    if source.startswith("("):
        raise DataError(
            f"the run was trained on {source}, which no name or folder leads back to",
            fix="give the data to score",
        )
    data_dir = Path(recorded["data_dir"]) if recorded["data_dir"] else None
    dataset = open_dataset(source, data_dir=data_dir)
    if "val" not in dataset.splits and recorded["validation"]:
        dataset = hold_out(dataset, recorded["validation"])
    return dataset


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
