"""The sealed model and the training state: atomic, hashed, no pickle.

Both are written aside, synced and renamed, so that a kill or a full disk at any instant leaves
a whole one behind. A sealed model is a folder (``model.safetensors``, ``model.json``,
``SHA256SUMS``); a training state is one safetensors file whose name carries its step and hash.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from resnets.errors import CannotGoOn, ModelFileError
from resnets.sealing import (
    CARD,
    as_json,
    make_folder,
    named,
    passing,
    read_folder,
    replace_folder,
    write_durably,
)

WEIGHTS = "model.safetensors"
STATES_KEPT = 2
HEADER_LIMIT, TENSOR_LIMIT = 2**24, 100_000
"""What the header of a weight file may have, in bytes and entries: that of a training state of
ResNet-1202 has 3 MB and 25,000."""


@dataclass(frozen=True)
class Sealed:
    """A sealed model as read: its weights by name, its card (``model.json``), its folder."""

    weights: dict[str, Tensor]
    card: dict[str, Any]
    path: Path


@dataclass(frozen=True)
class State:
    """A training state as read: tensors by name and plain values, after so many steps."""

    step: int
    tensors: dict[str, Tensor]
    info: dict[str, Any]
    damaged: list[Path] = field(default_factory=list)
    """Newer state files that were passed over because their hash does not hold."""


def seal(folder: Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a sealed model to ``folder``, replacing the one there as a whole.

    Raises ``CannotGoOn`` when the disk refuses; what was there before can then still be read.
    """
    files = {
        WEIGHTS: safetensors.torch.save(_plain(weights)),
        CARD: as_json(card),
    }
    replace_folder(folder, files)


def read_sealed(path: str | Path) -> Sealed:
    """Read a sealed model from its folder or from the run folder around it.

    A folder that is missing or torn is replaced by the sibling whose hashes hold, as a writer
    killed between two renames leaves them. Raises ``ModelFileError``.
    """
    path = Path(path)
    folder = path / "model"
    if not folder.exists() and not _siblings(folder):
        if (path / CARD).exists() or (_siblings(path) and not path.exists()):
            folder = path
    if not path.exists() and not _siblings(path):
        raise ModelFileError(
            f"no model or run folder at {path}",
            fix="give the folder that `resnets train` printed, such as runs/photos",
        )
    if not folder.exists() and not _siblings(folder):
        if not (path / "config.toml").exists():
            raise ModelFileError(
                f"{path} is no run folder and no sealed model",
                fix="give the folder that `resnets train` or `resnets import` printed",
            )
        raise ModelFileError(
            f"{path} holds no sealed model",
            fix="let the run finish (the same `resnets train` command continues it)",
        )
    problems = []
    for candidate in (folder, *_siblings(folder)):
        try:
            return _read_whole(candidate)
        except (ModelFileError, OSError) as problem:
            problems.append(problem)
    if isinstance(problems[0], ModelFileError):
        raise problems[0]
    raise ModelFileError(f"{folder}: {problems[0]}", fix="restore the folder from a copy, or train")


def _siblings(folder: Path) -> list[Path]:
    return [beside for beside in passing(named(folder)) if beside.exists()]


def _read_whole(folder: Path) -> Sealed:
    files = read_folder(folder, (WEIGHTS, CARD))
    try:
        card = json.loads(files[CARD])
        return Sealed(_tensors(files[WEIGHTS]), card, folder)
    except (ValueError, RecursionError) as cause:
        raise ModelFileError(
            f"{folder} is no sealed model: {cause}", fix="restore it from a copy, or train again"
        ) from cause


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], info: dict[str, Any]) -> Path:
    """Write a training state and remove all but the newest two. Raises ``CannotGoOn``."""
    data = safetensors.torch.save(_plain(tensors), metadata={"info": json.dumps(info)})
    path = folder / f"step-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
    make_folder(folder)
    write_durably(path, data)
    try:
        for torn in folder.glob("*.tmp"):  # of a writer that was killed
            torn.unlink()
        # A later step may lie here from a run that went on under another plan; the one just
        # written is the newest by definition.
        others = sorted(other for other in folder.glob("step-*.safetensors") if other != path)
        for other in others:
            if other.name > path.name:
                other.unlink()
        for other in [other for other in others if other.name < path.name][: -STATES_KEPT + 1]:
            other.unlink()
    except OSError as cause:
        raise CannotGoOn(
            f"cannot remove older states in {folder}: {cause.strerror}",
            fix="make the folder writable, then type the same command again",
        ) from cause
    return path


def newest_state(folder: Path) -> State | None:
    """The newest state whose hash holds, or ``None`` where there is no state file at all.

    Raises ``ModelFileError`` when there are state files and every one of them is damaged.
    """
    damaged: list[Path] = []
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            return dataclasses.replace(read_state(path), damaged=damaged)
        except ModelFileError:
            damaged.append(path)
    if damaged:
        raise ModelFileError(
            f"every training state in {folder} is damaged ({', '.join(p.name for p in damaged)})",
            fix="start again with --fresh; the old folder is kept",
        )
    return None


def read_state(path: Path) -> State:
    """Read one training state. Raises ``ModelFileError`` where it is not whole."""
    _, _, name = path.stem.partition("-")
    step, _, digest = name.partition("-")
    before = "the state before it is used where there is one"
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise ModelFileError(f"{path} cannot be read: {cause.strerror}", fix=before) from cause
    if hashlib.sha256(data).hexdigest()[:16] != digest or not step.isdecimal():
        raise ModelFileError(
            f"{path} is damaged: its SHA-256 is not the one in its name", fix=before
        )
    try:
        tensors = _tensors(data)
        info = json.loads(_header(data)["__metadata__"]["info"])
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise ModelFileError(f"{path} is no training state: {cause}", fix=before) from cause
    return State(int(step), tensors, info)


def _tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ``ValueError`` before it takes much memory."""
    _header(data)
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as cause:
        raise ValueError(str(cause)) from cause


def _header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if length > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"its header has {length:,} bytes")
    header = json.loads(data[8 : 8 + length])
    if not isinstance(header, dict) or len(header) > TENSOR_LIMIT:
        raise ValueError("its header is no list of tensors, or of too many")
    return header


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, each with memory of its own: what safetensors can write."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
