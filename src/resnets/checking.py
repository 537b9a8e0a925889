"""Is a sealed model or a run whole? Every file read as its users read it, and nothing changed."""

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnets.checkpoint import read_state
from resnets.config import TrainConfig
from resnets.errors import ModelFileError, ResnetsError
from resnets.evaluation import read_predictions
from resnets.prediction import load
from resnets.prediction.exports import exports_of, is_export, read_export
from resnets.sealing import passing


@dataclass(frozen=True)
class Checked:
    """One file or folder, and what is wrong with it."""

    what: str
    path: Path
    found: str
    """What it holds, in a few words; the reason where it is damaged."""
    whole: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"path": str(self.path)}


def check(path: str | Path) -> list[Checked]:
    """Check a sealed or exported model, or everything in a run folder.

    A model has to have the hashes of its SHA256SUMS, to be one that can be built, and to hold
    weights of the right shapes and types that are numbers; a training state the hash in its name.

    Raises ``ModelFileError`` where there is neither.
    """
    path = Path(path)
    if not any((path / name).exists() for name in ("config.toml", "data.json", "state")):
        if not path.exists() and not list(path.parent.glob(f"{path.name}.*")):
            raise ModelFileError(
                f"no model or run folder at {path}",
                fix="give the folder that `resnets train` or `resnets import` printed",
            )
        if is_export(path):
            return [_checked("export", path, _export)]
        return [_checked("sealed model", path, _model)]
    parts = [
        _checked("settings", path / "config.toml", _settings),
        _checked("data list", path / "data.json", _data_list),
    ]
    if (path / "metrics.csv").exists():
        parts.append(_checked("metrics", path / "metrics.csv", _metrics))
    parts += [
        _checked("predictions", answers, _predictions)
        for answers in sorted((path / "predictions").glob("*.npz"))
    ]
    parts += [
        _checked("training state", state, _state)
        for state in sorted((path / "state").glob("*.safetensors"))
    ]
    if (path / "model").exists() or list(path.glob("model.*")):
        parts.append(_checked("sealed model", path / "model", _model))
    parts += [_checked("export", export.folder, _export) for export in exports_of(path)]
    return parts


def _checked(what: str, path: Path, read: Callable[[Path], str]) -> Checked:
    try:
        return Checked(what, path, read(path), True)
    except ResnetsError as problem:
        return Checked(what, path, problem.problem, False)
    except (
        OSError,
        csv.Error,
        RecursionError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as problem:
        return Checked(what, path, f"cannot be read: {problem!r}", False)


def _model(path: Path) -> str:
    classifier = load(path)
    card = classifier.card
    if classifier.path in passing(path):
        raise ModelFileError(
            f"is torn; {classifier.path} beside it is whole and is read in its place",
            fix="train or import once more, or rename that folder",
        )
    return f"{card['architecture']}, {len(classifier.classes)} classes"


def _export(path: Path) -> str:
    export, _ = read_export(path)
    return f"{export.form}, {export.precision}, {len(export.card['label_names'])} classes"


def _settings(path: Path) -> str:
    config = TrainConfig(**TrainConfig.keys_in(path))
    return f"{config.model} on {config.data}"


def _data_list(path: Path) -> str:
    recorded = json.loads(path.read_text(encoding="utf-8"))
    counts = [f"{part['count']:,} {name}" for name, part in recorded["splits"].items()]
    return f"{len(recorded['classes'])} classes; {', '.join(counts)}"


def _metrics(path: Path) -> str:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["step"]) for row in rows]
    if steps != sorted(set(steps)):
        raise ValueError("its steps are not in order")
    return f"{len(rows)} rows"


def _predictions(path: Path) -> str:
    answers = read_predictions(path)
    return f"{len(answers):,} images of {answers.split}"


def _state(path: Path) -> str:
    state = read_state(path)
    return f"after step {state.step:,}"
