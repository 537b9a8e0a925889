"""Every reader of files meets files with random damage: an answer or one of our errors."""

import gzip
import hashlib
import io
import json
import os
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from corpus import encoded, scene
from damage import damaged
from made_up_sets import binary_file
from made_up_weights import put, saved
from resnets.checkpoint import read_sealed, read_state, save_state, seal
from resnets.config import TrainConfig
from resnets.data import open_dataset
from resnets.data.cifar import read_binary
from resnets.data.idx import parse_idx, read_bytes
from resnets.data.ledger import Ledger
from resnets.decoding import decode
from resnets.errors import ModelFileError, ResnetsError
from resnets.models.weights import sandbox
from resnets.training.runfolder import RunFolder
from runs import save_folder
from soaking import cases, record

COUNT = cases(60, 5_000)
FORKED = cases(20, 1_000)
"""Of readers in a process of their own, which takes a while to make."""


def a_state(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """Behind a hash that holds, as an attacker would make it."""
    tensors = {"model.w": torch.arange(6.0), "momentum.w": torch.ones(6)}
    data = save_state(folder, 3, tensors, {"rows": []}).read_bytes()

    def read(content: bytes) -> Any:
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = folder / f"step-000000003-{digest}.safetensors"
        path.write_bytes(content)
        try:
            return read_state(path)
        finally:
            path.unlink()

    return data, read


def a_card(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    seal(folder / "model", {"w": torch.zeros(2)}, {"architecture": "resnet20", "label_names": []})
    card, sums = folder / "model" / "model.json", folder / "model" / "SHA256SUMS"
    weights = hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()

    def read(content: bytes) -> Any:
        card.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sums.write_text(f"{digest}  model.json\n{weights}  model.safetensors\n")
        return read_sealed(folder)

    return card.read_bytes(), read


def settings(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    path = folder / "config.toml"

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return RunFolder(folder).read_config()

    return TrainConfig(model="resnet20", epochs=3, lr_drops=(0.5,)).to_toml().encode(), read


def a_table(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    photos = save_folder(folder / "photos", 6, 16)
    lines = ["path,label,split"]
    for path in sorted(photos.rglob("*.png")):
        split = path.parts[-3]
        lines.append(f"{path.relative_to(folder)},{path.parent.name},{split}")
    table = folder / "table.csv"

    def read(content: bytes) -> Any:
        table.write_bytes(content)
        return open_dataset(table)

    return ("\n".join(lines) + "\n").encode(), read


def a_picture(kind: str) -> Callable[[Path], tuple[bytes, Callable[[bytes], Any]]]:
    return lambda folder: (encoded(Image.fromarray(scene()), kind), decode)


def cifar_binary(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """One file of two records, and a reader that wants just those."""
    path = folder / "data_batch_1.bin"

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return read_binary([path], records=2, label_bytes=1, classes=10)

    return binary_file(np.zeros((2, 32, 32, 3), np.uint8), [3, 9], coarse=False), read


def idx(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """Two images in the format of MNIST."""
    data = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 4, 4) + bytes(range(32))
    return data, lambda content: parse_idx(content, folder / "images-idx3-ubyte")


def packed_idx(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    path = folder / "images-idx3-ubyte.gz"

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return parse_idx(read_bytes(path), path)

    return gzip.compress(idx(folder)[0], mtime=0), read


def in_the_sandbox(path: Path) -> Any:
    """What ``read_foreign`` does, in a fork of this process instead of a new one that starts for
    seconds. Whatever the file does to the process that reads it is one of our errors."""
    target, told = path.with_suffix(".made"), path.with_suffix(".told")
    for one in (target, told):
        one.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads: the child uses none
        child = os.fork()
    if not child:
        try:
            sandbox.main(path, target, told)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    if not told.exists() or "problem" in (answer := json.loads(told.read_text())):
        raise ModelFileError("refused, or the reading process ended", fix="get it again")
    return answer, safetensors.torch.load_file(target)


def from_torch(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    def read(content: bytes) -> Any:
        return in_the_sandbox(put(folder / "w.pt", content))

    return saved({"fc.weight": torch.ones(2, 3), "epoch": 3}), read


def the_pickle_in_it(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """In an archive whose checksums hold."""
    with zipfile.ZipFile(io.BytesIO(from_torch(folder)[0])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (called,) = (name for name in members if name.endswith("data.pkl"))

    def read(content: bytes) -> Any:
        with zipfile.ZipFile(folder / "w.pt", "w") as archive:
            for name, data in (members | {called: content}).items():
                archive.writestr(name, data)
        return in_the_sandbox(folder / "w.pt")

    return members[called], read


def from_keras(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    path = folder / "w.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("conv1_conv/conv1_conv")
        group["kernel:0"], group["bias:0"] = np.ones((3, 3, 1, 2), "f4"), np.ones(2, "f4")
    return path.read_bytes(), lambda content: in_the_sandbox(put(path, content))


def a_ledger(folder: Path) -> tuple[bytes, Callable[[bytes], Any]]:
    """Behind a hash that holds; whatever else is in it, it is forgotten."""
    photos = save_folder(folder / "photos", 4, 16)
    dataset = open_dataset(photos)
    ledger = Ledger.of(dataset, folder=folder / "kept")
    for path in photos.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
        ledger.inspect(path.name, str(path))
    ledger.save()
    (file,) = (folder / "kept").iterdir()

    def read(content: bytes) -> Any:
        file.write_bytes(hashlib.sha256(content[32:]).digest() + content[32:])
        return Ledger.of(dataset, folder=folder / "kept")

    return file.read_bytes(), read


READERS: dict[str, Callable[[Path], tuple[bytes, Callable[[bytes], Any]]]] = {
    "training state": a_state,
    "model.json": a_card,
    "config.toml": settings,
    "table": a_table,
    "ledger": a_ledger,
    "CIFAR": cifar_binary,
    "IDX": idx,
    "IDX, packed": packed_idx,
    ".pt": from_torch,
    "the pickle in a .pt": the_pickle_in_it,
    ".h5": from_keras,
    **{kind: a_picture(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")},
}


FORKING = (".pt", "the pickle in a .pt", ".h5")


@pytest.mark.parametrize("reader", READERS)
def test_random_damage_is_answered_or_refused(tmp_path: Path, reader: str) -> None:
    if reader in FORKING and not hasattr(os, "fork"):
        pytest.skip("no processes are forked here")
    count = FORKED if reader in FORKING else COUNT
    sound, read = READERS[reader](tmp_path)
    read(sound)
    rng, began, refused, answered = np.random.default_rng(0), time.monotonic(), 0, 0
    for _ in range(count):
        content = damaged(sound, rng)
        try:
            read(content)
            answered += 1
        except ResnetsError as problem:
            assert problem.problem and problem.fix
            refused += 1
        except Exception as bug:
            raise AssertionError(f"{reader}: {content!r}") from bug
    record(
        f"damaged files ({reader}) answered or refused",
        answered + refused,
        count,
        time.monotonic() - began,
    )
    assert refused + answered == count and json.dumps(answered)
