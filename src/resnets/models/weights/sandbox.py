"""Reads one foreign file and ends: ``python -m resnets.models.weights.sandbox FILE TARGET TOLD``.

A pickle can do anything the process can that opens it. So this process may little: memory, time,
files and their sizes have limits, and whatever starts a process or opens a connection is refused.
``torch.load`` with ``weights_only`` comes on top of that, not instead.
"""

import argparse
import contextlib
import io
import json
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from resnets.errors import require
from resnets.models.weights.foreign import KERAS

NESTS = (
    "model_ema", "ema", "ema_state_dict", "state_dict_ema",
    "state_dict", "model_state_dict", "model", "net",
)  # fmt: skip
"""Where checkpoints keep their weights; the averaged ones, which are what is published, first."""
REFUSED = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
    "subprocess.Popen", "pty.spawn", "socket.__new__", "socket.connect", "ctypes.dlopen",
)  # fmt: skip
"""Audit events (Python's "Audit events table") that reading a file has no need of."""
SAVE_WEIGHTS = (
    "where it can be opened, save the weights alone: torch.save(model.state_dict(), 'weights.pt')"
)
GET_AGAIN = "get the file again from whoever made it, best as .safetensors"
RESAVE = "save the model again with Keras: model.save('model.keras')"
SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    *[(SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")],
    np.dtype,
    *[type(np.dtype(name)) for name in ("float64", "float32", "int64")],
]
"""What training scripts save beside the weights, and no more than values: their arguments and
numpy's numbers."""
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
LAYER = ("kernel", "bias")


class Unreadable(Exception):
    """What is wrong with the file, and what to do about it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def main(path: Path, target: Path, told: Path) -> None:
    """Write the tensors of ``path`` to ``target``, and what there is to say to ``told``."""
    limit(path.stat().st_size)
    try:
        keras = path.name.lower().endswith(KERAS)
        tensors, notes = read_keras(path) if keras else read_torch(path)
        safetensors.torch.save_file(tensors, target)
        answer: dict[str, Any] = {"notes": notes}
    except Unreadable as problem:
        answer = {"problem": str(problem), "fix": problem.fix}
    except Exception as problem:  # the file is hostile until proven otherwise
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        answer = {
            "problem": f"cannot be read: {reason}",
            "fix": GET_AGAIN,
        }
    told.write_text(json.dumps(answer), encoding="utf-8")


def limit(size: int) -> None:
    """Bound what this process may use, by the size of the file it reads, where the system can."""
    sys.addaudithook(_refuse)
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_CPU: 60 + size // 10_000_000,
        resource.RLIMIT_FSIZE: 64 * 2**20 + 4 * size,
        resource.RLIMIT_NOFILE: 64,
    }
    with contextlib.suppress(OSError):  # only Linux says what is in use
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + 2**30 + 6 * size
    for kind, amount in limits.items():
        with contextlib.suppress(OSError, ValueError):  # a lower limit is in force already
            resource.setrlimit(kind, (amount, amount))


def read_torch(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of what ``torch.save`` wrote."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
            raise Unreadable("is TorchScript, a program and not only weights", SAVE_WEIGHTS)
        if any(name.endswith("archive_format") for name in names):
            raise Unreadable("is an exported program and not only weights", SAVE_WEIGHTS)
    try:
        with torch.serialization.safe_globals(HARMLESS):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:  # whose words advise to read it all the same
        if match := re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(problem)):
            message = f"needs code to be opened, which may do anything: it asks for {match[1]}"
            raise Unreadable(message, SAVE_WEIGHTS) from problem
        raise Unreadable("is no file of weights that torch.save wrote", GET_AGAIN) from problem
    return state_dict_in(held)


def state_dict_in(held: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The weights in what a checkpoint holds, and how they were found."""
    notes = []
    while isinstance(held, Mapping):
        nests = [name for name in NESTS if isinstance(held.get(name), Mapping)]
        if not nests:
            break
        beside = f", beside {', '.join(nests[1:])}" if len(nests) > 1 else ""
        notes.append(f"weights from {nests[0]}{beside}")
        held = held[nests[0]]
    if not isinstance(held, Mapping):
        raise Unreadable(f"holds a {type(held).__name__}, not weights by name", SAVE_WEIGHTS)
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    if not tensors:
        raise Unreadable("holds no tensors by name", SAVE_WEIGHTS)
    if other := [str(name) for name, value in held.items() if not isinstance(value, Tensor)]:
        notes.append(f"left out, being no tensors: {', '.join(sorted(other)[:5])}")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise Unreadable(f"holds {name}, which is no plain tensor", SAVE_WEIGHTS)
    # each with memory of its own, which is what safetensors can write
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, notes


def read_keras(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The variables of a Keras file, as ``layer.variable``."""
    h5py = require("h5py", extra="keras")
    source: Path | io.BytesIO = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    variables: dict[str, Tensor] = {}

    def walk(group: Any, trail: tuple[str, ...]) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Unreadable(f"has a link at {name}, which may lead to other files", RESAVE)
            item = group[name]
            if isinstance(item, h5py.Group):
                if name not in ("optimizer", "optimizer_weights"):
                    walk(item, (*trail, name))
            elif item.dtype.kind == "f":
                if item.external or item.is_virtual:
                    raise Unreadable(f"has its {name} in another file", RESAVE)
                called = f"{_layer(group, trail)}.{_variable(name, len(group), item.ndim)}"
                if called in variables:
                    raise Unreadable(f"has {called} twice", RESAVE)
                variables[called] = torch.from_numpy(item[()].astype(item.dtype.newbyteorder("=")))

    with h5py.File(source, "r") as file:
        walk(file, ())
    if not variables:
        raise Unreadable("holds no variables of a Keras model", RESAVE)
    layers = {name.rpartition(".")[0] for name in variables}
    return variables, [f"variables of {len(layers)} Keras layers"]


def _layer(group: Any, trail: tuple[str, ...]) -> str:
    """The name of the layer that a group of variables belongs to."""
    if trail[-1:] != ("vars",):  # of the older format: .../layer/kernel:0
        return trail[-1] if trail else ""
    if "name" not in group.attrs:
        raise Unreadable("is of a Keras that wrote no names of layers", RESAVE)
    return str(group.attrs["name"])


def _variable(name: str, count: int, dimensions: int) -> str:
    """What a variable is, where the file has but its number."""
    if not name.isdecimal():
        return name.partition(":")[0]
    names = NORM if count == len(NORM) and dimensions == 1 else LAYER
    return names[int(name)] if int(name) < len(names) else name


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event in REFUSED:
        raise PermissionError(f"reading weights has no need of {event}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
