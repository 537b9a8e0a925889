"""Exported models: where they lie, whether they are whole, and which is the fastest.

RUN/export/FORMAT-PRECISION/    model.onnx, or model.xml and model.bin, or model.safetensors
                                model.json, SHA256SUMS
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnets.engines import Pipeline
from resnets.errors import ConfigError, ModelFileError, ResnetsError
from resnets.prediction.card import read_card
from resnets.prediction.classifier import Classifier
from resnets.sealing import CARD, SUMS, read_folder

Runtime = Literal["pytorch", "onnxruntime", "openvino"]
FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "safetensors": ("model.safetensors",),
}
"""The model files of each format; the first is the one to name."""
RUNTIMES: dict[str, tuple[Runtime, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "safetensors": ("pytorch",),
}
"""What runs each format; the first is what it is proven with."""
SUFFIXES = (".onnx", ".xml")
FOLDER = "export"
AGAIN = "export the model again with `resnets export`"


@dataclass(frozen=True)
class Export:
    """An exported model's folder and its card."""

    folder: Path
    card: Mapping[str, Any]

    @property
    def form(self) -> str:
        """onnx, openvino or safetensors."""
        return self.card["export"]["format"]

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8."""
        return self.card["export"]["precision"]

    @property
    def times_pytorch(self) -> float:
        """How many times faster than the sealed model it was when it was exported."""
        return self.card["export"]["proof"]["times_pytorch"]


def exports_folder(path: Path) -> Path:
    """Where the exports of a run or of a sealed model lie."""
    if (path / "model").exists() or path.name == "model":
        return (path.parent if path.name == "model" else path) / FOLDER
    return path.with_name(f"{path.name}.{FOLDER}")


def source_of(path: Path) -> str:
    """SHA-256 of the sums of a sealed model's files: another model has another."""
    folder = path / "model" if (path / "model").exists() else path
    return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()


def is_export(path: Path) -> bool:
    """Whether a path is an exported file or the folder of one."""
    if path.suffix in SUFFIXES and path.is_file():
        return True
    return _card_of(path) is not None


def open_export(
    path: Path, runtime: Runtime | None = None, *, threads: int | None = None
) -> Classifier:
    """Open an exported file or folder that PyTorch is not needed for.

    A file whose folder's ``model.json`` and ``SHA256SUMS`` are gone tells itself what it needs,
    and a note says that it is unverified.

    Raises ``ModelFileError`` for what is damaged or was not exported here, ``MissingExtra``, and
    ``ConfigError`` for a runtime that cannot run it.
    """
    folder = path.parent if path.is_file() else path
    card = _card_of(folder)
    form = card["export"]["format"] if card else _form(path)
    if path.is_file() and path.name != FILES[form][0]:
        card, form = None, _form(path)
    runtime = runtime or RUNTIMES[form][0]
    if runtime not in RUNTIMES[form]:
        raise ConfigError(
            f"{runtime} cannot run the {form} export {path}",
            fix=f"use --engine {' or '.join(RUNTIMES[form])}",
        )
    notes: list[str] = []
    if card is None:
        files = {path.name: path.read_bytes()}
        if form == "openvino":
            files["model.bin"] = path.with_suffix(".bin").read_bytes()
        notes.append(f"{path} is unverified: its {CARD} and {SUMS} are not beside it")
    else:
        files = read_folder(folder, (*FILES[form], CARD))
        card = json.loads(files.pop(CARD))
        if runtime != RUNTIMES[form][0]:
            if card["export"]["precision"] == "int8":
                raise ConfigError(
                    f"{folder} is int8 for {RUNTIMES[form][0]}: {runtime} needs it otherwise",
                    fix=f"export it with --format {runtime} --precision int8",
                )
            notes.append(
                f"{folder} was proven with {RUNTIMES[form][0]}; {runtime} may answer otherwise"
            )
    precision = card["export"]["precision"] if card else ""
    pipeline, told = _pipeline(list(files.values()), path, form, runtime, precision, threads)
    try:
        card = card or _told_card(told)
        classes, preprocess = read_card(card)
    except Exception as cause:  # whatever the file holds, it raises what it leads to
        why = cause.problem if isinstance(cause, ResnetsError) else repr(cause)
        raise ModelFileError(
            f"{path} does not say what its answers mean: {why}", fix=AGAIN
        ) from cause
    return Classifier(
        network=None,
        engine=pipeline,
        classes=classes,
        preprocess=preprocess,
        mean_image=None,
        card=dict(card),
        path=folder if not notes or path.is_dir() else path,
        notes=tuple(notes),
    )


def exports_of(path: Path) -> list[Export]:
    """The exports beside a run or a sealed model, those of earlier models among them."""
    folders = sorted(exports_folder(path).glob("*-*"))
    found = [(folder, _card_of(folder)) for folder in folders if not _passing(folder)]
    return [Export(folder, card) for folder, card in found if card is not None]


def choose(path: Path, runtime: Runtime | None = None) -> tuple[Export | None, list[str]]:
    """The fastest export of a model as it is now, and what to say of the choice.

    Args:
        runtime: what has to run it; by default any, and ``None`` comes back where none is faster
            than the sealed model.
    """
    notes, usable = [], []
    current = source_of(path)
    for export in exports_of(path):
        its_own = RUNTIMES[export.form][0]
        if runtime not in (None, its_own):
            continue
        if export.card["export"]["source"] != current:
            notes.append(f"{export.folder} is of an earlier model: {AGAIN}")
        elif its_own != "pytorch" and importlib.util.find_spec(its_own) is None:
            notes.append(f"{export.folder} is passed over: {its_own} is not installed")
        else:
            usable.append(export)
    best = max(usable, key=lambda export: export.times_pytorch, default=None)
    if runtime is None and best is not None and best.times_pytorch <= 1:
        best = None
    if best is not None:
        proof = best.card["export"]["proof"]
        notes.append(
            f"engine {RUNTIMES[best.form][0]}, {best.precision}: {best.times_pytorch:.1f} times "
            f"PyTorch when it was exported, {proof['changed']} of {proof['n']:,} answers changed "
            f"({best.folder})"
        )
    return best, notes


def _pipeline(
    files: list[bytes], path: Path, form: str, runtime: Runtime, precision: str, threads: int | None
) -> tuple[Pipeline, Mapping[str, str]]:
    """What runs the files, and what they tell of themselves."""
    if form == "onnx":
        from resnets.engines.onnx_file import OnnxFile

        file = OnnxFile(files[0], where=path)
        if runtime == "onnxruntime":
            from resnets.engines.onnx_runtime import OnnxRuntimePipeline

            return OnnxRuntimePipeline(file, threads=threads), file.metadata
    from resnets.engines.open_vino import OpenVinoPipeline

    pipeline = OpenVinoPipeline(*files, where=path, threads=threads)
    told = file.metadata if form == "onnx" else pipeline.metadata
    if (precision or told.get("precision")) == "bf16":
        pipeline.precision = "bf16"
    return pipeline, told


def _told_card(told: Mapping[str, str]) -> dict[str, Any]:
    """A card made of what a file tells of itself, each value text or JSON."""
    card: dict[str, Any] = {
        name: json.loads(told[name])
        for name in ("label_names", "preprocess", "temperature", "threshold")
    }
    export = {"format": told["format"], "precision": told["precision"]}
    return card | {"architecture": told["architecture"], "export": export}


def _form(path: Path) -> str:
    return "onnx" if path.suffix == ".onnx" else "openvino"


def _card_of(folder: Path) -> Mapping[str, Any] | None:
    """The card of an export's folder; ``None`` where it is no such folder."""
    try:
        card = json.loads((folder / CARD).read_bytes())
        return card if card["export"]["format"] in FILES else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _passing(folder: Path) -> bool:
    """Whether a folder is one that is being written or was replaced."""
    return folder.suffix in (".new", ".old")
