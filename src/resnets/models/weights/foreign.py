"""Files that take more than reading to read: pickles and HDF5, each in a process of its own.

What comes out is kept as safetensors under the SHA-256 of what went in, so that a file is opened
that way once.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from resnets.errors import CannotGoOn, ModelFileError, require
from resnets.models.weights.record import sha256_of

KERAS = (".h5", ".hdf5", ".keras")
PICKLES = (".pt", ".pth", ".th", ".ckpt", ".pth.tar")
FORM = "1"
"""Of what is kept; another number has everything read anew."""
SECONDS = 600
"""After which reading a file is given up."""

Read = tuple[dict[str, Tensor], tuple[str, ...]]
"""Tensors as the file names them, and what was recognised in it."""


def read_foreign(path: Path, kept: Path, *, origin: str = "") -> Read:
    """The tensors of a PyTorch or Keras file.

    Args:
        kept: the folder of what was read before.
        origin: whose official file it is, once that has been checked.

    Raises ``ModelFileError`` for a file that is none or needs code to be read, ``MissingExtra``
    for a Keras file without the extra ``keras``, ``CannotGoOn`` where nothing can be kept.
    """
    if path.name.lower().endswith(KERAS):
        require("h5py", extra="keras")
    digest = sha256_of(path)
    if (read := kept_before(digest, kept, origin=origin)) is not None:
        return read
    target = kept / f"{digest}.safetensors"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".reading-", dir=kept) as folder:
            made = Path(folder) / "read.safetensors"
            notes = _in_another_process(path, made)
            record = {
                "form": FORM,
                "file": path.name,
                "origin": origin,
                "sha256": digest,
                "safetensors": sha256_of(made),
                "notes": notes,
            }
            listing = Path(folder) / "read.json"
            listing.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            os.replace(made, target)
            os.replace(listing, target.with_suffix(".json"))
    except OSError as cause:
        raise CannotGoOn(
            f"cannot write into {kept}: {cause.strerror or cause}",
            fix="make room there, or name another folder: RESNETS_WEIGHTS_DIR=/some/folder",
        ) from cause
    return safetensors.torch.load_file(target), tuple(notes)


def kept_before(digest: str, kept: Path, *, origin: str = "") -> Read | None:
    """What a file gave when it was read before, if that is still whole.

    Args:
        digest: the SHA-256 of the file, or its first digits, which a file from elsewhere could be
            made to share.
        origin: where it must have come from.
    """
    for record_file in sorted(kept.glob(f"{digest}*.json")):
        target = record_file.with_suffix(".safetensors")
        try:
            record: dict[str, Any] = json.loads(record_file.read_text(encoding="utf-8"))
            known = record["form"] == FORM and origin in ("", record["origin"])
            if known and record["safetensors"] == sha256_of(target):
                return safetensors.torch.load_file(target), tuple(record["notes"])
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            continue  # torn or of another form: read it anew
    return None


def _in_another_process(path: Path, target: Path) -> list[str]:
    """Have a file read elsewhere, with limits; returns what was recognised in it."""
    told = target.with_suffix(".told")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-W", "ignore", "-m", "resnets.models.weights.sandbox"]
    command += [str(path.absolute()), str(target), str(told)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=target.parent,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _stopped(path, f"after {SECONDS} seconds") from None
    try:
        answer: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _stopped(path, f"with exit code {done.returncode}") from None
    if "problem" in answer:
        raise ModelFileError(f"{path} {answer['problem']}", fix=answer["fix"])
    return list(answer["notes"])


def _stopped(path: Path, how: str) -> ModelFileError:
    return ModelFileError(
        f"{path} was being read in a process with limits, which ended {how}",
        fix="get the file again from whoever made it, best as .safetensors",
    )
