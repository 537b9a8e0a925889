"""Exported models: where they lie, whether they are whole, and which is the fastest.

RUN/export/FORMAT-PRECISION/    model.onnx, or model.xml and model.bin, or model.safetensors
                                model.json, SHA256SUMS; of a site all that it consists of
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnets.engines import Pipeline
from resnets.engines.onnx_file import OnnxFile
from resnets.engines.onnx_runtime import OnnxRuntimePipeline
from resnets.engines.open_vino import OpenVinoPipeline
from resnets.errors import ConfigError, ModelFileError, ResnetsError
from resnets.prediction.card import read_card
from resnets.prediction.classifier import EXPORTS, Classifier
from resnets.sealing import CARD, PASSING, SUMS, named, names_in, read_folder

Runtime = Literal["pytorch", "onnxruntime", "openvino"]
FILES = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "safetensors": ("model.safetensors",),
    "web": ("model.onnx",),
}
"""The model files of each format; the first is the one to name."""
RUNTIMES: dict[str, tuple[Runtime, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "safetensors": ("pytorch",),
    "web": ("onnxruntime",),
}
"""What runs each format; the first is what it is proven with."""
SUFFIXES = (".onnx", ".xml")
AGAIN = "export the model again with `resnets export`"


@dataclass(frozen=True)
class Export:
    """An exported model's folder and its card."""

    folder: Path
    card: Mapping[str, Any]

    @property
    def form(self) -> str:
        """onnx, openvino, safetensors or web."""
        return self.card["export"]["format"]

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8."""
        return self.card["export"]["precision"]

    @property
    def times_pytorch(self) -> float:
        """How many times faster than the sealed model it was when it was exported."""
        return float(self.card["export"]["proof"]["times_pytorch"])


def exports_folder(path: Path) -> Path:
    """Where the exports of a run or of a sealed model lie."""
    path = named(path)
    if (path / "model").exists() or path.name == "model":
        return (path.parent if path.name == "model" else path) / EXPORTS
    return path.with_name(f"{path.name}.{EXPORTS}")


def source_of(path: Path) -> str:
    """SHA-256 of the sums of a sealed model's files: another model has another."""
    return model_sums(path / "model" if (path / "model").exists() else path)


def model_sums(path: Path) -> str:
    """SHA-256 of a model's SHA256SUMS, or of the file where it is one by itself."""
    file = path / SUMS if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def is_export(path: Path) -> bool:
    """Whether a path is an exported file or the folder of one."""
    if path.suffix in SUFFIXES and path.is_file():
        return True
    return _at(path) is not None


def open_export(
    path: Path, runtime: Runtime | None = None, *, threads: int | None = None
) -> Classifier:
    """Open an exported file or folder, without PyTorch.

    A file whose ``model.json`` and ``SHA256SUMS`` are not beside it tells itself what its answers
    mean, and a note says that it is unverified.

    Raises ``ModelFileError`` for what is damaged or no export, ``MissingExtra``, and
    ``ConfigError`` for a runtime that cannot run it.
    """
    export = _at(path)
    if export is not None:
        export, files = read_export(export.folder)
    else:
        files = _read(path, [path, path.with_suffix(".bin")][: 1 + (path.suffix == ".xml")])
    form = export.form if export else ("onnx" if path.suffix == ".onnx" else "openvino")
    its_own = RUNTIMES[form][0]
    runtime = runtime or its_own
    if runtime not in RUNTIMES[form]:
        raise ConfigError(
            f"{runtime} cannot run the {form} export {path}",
            fix=f"use --engine {' or '.join(RUNTIMES[form])}",
        )
    pipeline, told = _pipeline(files, path, form, runtime, threads)
    try:
        card = dict(export.card) if export else _told_card(told)
        classes, preprocess = read_card(card)
        precision = card["export"]["precision"]
    except Exception as cause:  # whatever the file holds, it raises what it leads to
        why = cause.problem if isinstance(cause, ResnetsError) else repr(cause)
        raise ModelFileError(
            f"{path} does not say what its answers mean: {why}",
            fix="give a file that `resnets export` has written",
        ) from cause
    if isinstance(pipeline, OpenVinoPipeline):
        if form == "onnx" and precision == "int8":
            raise ConfigError(
                f"{path} is int8 for ONNX Runtime; OpenVINO answers wrongly with it",
                fix="export the model with --format openvino --precision int8",
            )
        pipeline.precision = "bf16" if precision == "bf16" else "f32"
    notes = []
    if export is None:
        notes.append(f"{path} is unverified: its {CARD} and {SUMS} are not beside it")
    elif runtime != its_own:
        notes.append(f"{path} was proven with {its_own}; {runtime} may answer otherwise")
    return Classifier(
        network=None,
        engine=pipeline,
        classes=classes,
        preprocess=preprocess,
        mean_image=None,
        card=card,
        path=export.folder if export else path,
        notes=tuple(notes),
    )


def read_export(folder: Path) -> tuple[Export, list[bytes]]:
    """An export's card and its model files, with the hashes they should have.

    Raises ``ModelFileError``.
    """
    export = _at(folder)
    if export is None:
        raise ModelFileError(f"{folder} is no export", fix=AGAIN)
    try:
        names = (*FILES[export.form], CARD)
        files = read_folder(folder, names if export.form != "web" else _site_names(folder, names))
        card = json.loads(files[CARD])
        return Export(folder, card), [files[name] for name in FILES[export.form]]
    except OSError as cause:
        raise ModelFileError(f"{folder} is not whole: {cause}", fix=AGAIN) from cause


def _site_names(folder: Path, least: Sequence[str]) -> list[str]:
    """What a site consists of, by its sums; they name no file outside of it."""
    listed = names_in((folder / SUMS).read_text(encoding="ascii", errors="replace"))
    names = {*listed, *least}
    return sorted(name for name in names if name and Path(name).name == name)


def exports_of(path: Path) -> list[Export]:
    """The exports beside a run or a sealed model, those of earlier models among them."""
    folders = sorted(exports_folder(path).glob("*-*"))
    found = [_at(folder) for folder in folders if folder.suffix not in PASSING]
    return [export for export in found if export is not None]


def choose(path: Path, runtime: Runtime | None = None) -> tuple[Export | None, list[str]]:
    """The fastest export of a model as it is now, and what to say of the choice.

    Args:
        runtime: what has to run it; by default any, and ``None`` comes back where none is faster
            than the sealed model.
    """
    notes: list[str] = []
    usable = []
    try:
        current = source_of(path)
    except OSError:  # whoever opens it says what is missing
        return None, notes
    for export in exports_of(path):
        its_own = RUNTIMES[export.form][0]
        if runtime not in (None, its_own):
            continue
        try:
            source, _ = export.card["export"]["source"], export.times_pytorch
        except (KeyError, TypeError, ValueError):
            notes.append(f"{export.folder} is passed over: its {CARD} tells no proof")
            continue
        if source != current:
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
    files: list[bytes], path: Path, form: str, runtime: Runtime, threads: int | None
) -> tuple[Pipeline, Mapping[str, str]]:
    """What runs the files, and what they tell of themselves."""
    if form == "openvino":
        pipeline = OpenVinoPipeline(*files, where=path, threads=threads)
        return pipeline, pipeline.metadata
    file = OnnxFile(files[0], where=path)
    if runtime == "openvino":
        return OpenVinoPipeline(files[0], where=path, threads=threads), file.metadata
    return OnnxRuntimePipeline(file, threads=threads), file.metadata


def _told_card(told: Mapping[str, str]) -> dict[str, Any]:
    """A card made of what a file tells of itself, each value text or JSON."""
    card: dict[str, Any] = {
        name: json.loads(told[name])
        for name in ("label_names", "preprocess", "temperature", "threshold")
    }
    export = {"format": told["format"], "precision": told["precision"]}
    return card | {"architecture": told["architecture"], "export": export}


def _at(path: Path) -> Export | None:
    """The export whose folder, or a model file of it, this is; its card is not verified yet."""
    folder = path.parent if path.is_file() else path
    try:
        card = json.loads((folder / CARD).read_bytes())
        names = FILES[card["export"]["format"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Export(folder, card) if path == folder or path.name in names else None


def _read(path: Path, files: list[Path]) -> list[bytes]:
    try:
        return [file.read_bytes() for file in files]
    except OSError as cause:
        raise ModelFileError(f"{path} cannot be read: {cause}", fix=AGAIN) from cause
