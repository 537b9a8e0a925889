"""``load``: a path, and what shall run it, become a ``Classifier``."""

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from resnets.errors import ConfigError, did_you_mean
from resnets.prediction.classifier import Classifier
from resnets.prediction.exports import RUNTIMES, Runtime, choose, is_export, open_export
from resnets.sealing import CARD

WEIGHTS = "model.safetensors"

EngineName = Literal["auto", "pytorch", "onnxruntime", "openvino"]
ENGINES = get_args(EngineName)


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    tta: Literal["none", "flip"] = "none",
    engine: EngineName | None = None,
    threads: int | None = None,
) -> Classifier:
    """Open a sealed or exported model, or a run folder.

    Args:
        device, precision, tta: of a sealed model; an exported one has its own. flip: answer with
            the mean over each image and its mirror image.
        engine: what runs the model. By default PyTorch for a run or a sealed model, and for an
            exported one what it was proven with. ``auto`` takes the fastest export of the model,
            where one is faster than PyTorch; ``notes`` says which.
        threads: of an exported model; by default one per core.

    Raises ``ModelFileError``, ``MissingExtra``, and ``ConfigError`` for what cannot be had.
    """
    path = Path(path)
    if path.name == WEIGHTS and is_export(path):
        path = path.parent
    if engine is not None and engine not in ENGINES:
        raise ConfigError(
            f"engine={engine!r} is none of {', '.join(ENGINES)}",
            fix=f"{did_you_mean(engine, ENGINES)}choose one of them",
        )
    notes: list[str] = []
    runtime: Runtime | None = None if engine is None or engine == "auto" else engine
    own_way = device not in ("cpu", "auto") or tta != "none" or precision != "fp32"
    if engine == "auto" and own_way and not is_export(path):
        notes.append(
            "engine pytorch: an export answers on the CPU and in the precision it was made in"
        )
    elif not is_export(path) and engine not in (None, "pytorch"):
        chosen, notes = choose(path, runtime)
        if chosen is not None:
            path = chosen.folder
        elif runtime is not None:
            raise ConfigError(
                "; ".join([f"{path} has no export that {runtime} runs", *notes]),
                fix=f"resnets export {path} --format {_format_of(runtime)}",
            )
        else:
            notes.append("engine pytorch: no export of this model is faster")
    if is_export(path) and not (path / WEIGHTS).exists():
        if own_way:
            raise ConfigError(
                f"device={device}, precision={precision}, tta={tta}: {path} is an exported model, "
                "which answers on the CPU and as it was exported",
                fix="give the run or the sealed model, or leave them out",
            )
        classifier = open_export(path, runtime, threads=threads)
    else:
        if runtime not in (None, "pytorch"):
            raise ConfigError(
                f"{runtime} cannot run the safetensors export {path}", fix="use --engine pytorch"
            )
        from resnets.prediction.sealed import open_sealed  # imports torch: a second

        classifier = open_sealed(path, device=device, precision=precision, tta=tta)
    return dataclasses.replace(classifier, notes=(*notes, *classifier.notes))


def is_model(path: str | Path) -> bool:
    """Whether a path is a sealed or exported model or a run folder with one."""
    path = Path(path)
    return any((folder / CARD).exists() for folder in (path, path / "model")) or is_export(path)


def _format_of(runtime: Runtime) -> str:
    return next(form for form, runtimes in RUNTIMES.items() if runtimes[0] == runtime)
