"""Every reader of files meets files with random damage: an answer or one of our errors."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from corpus import encoded, scene
from resnets.checkpoint import read_sealed, read_state, save_state, seal
from resnets.config import TrainConfig
from resnets.data import open_dataset
from resnets.data.ledger import Ledger
from resnets.decoding import decode
from resnets.errors import ResnetsError
from resnets.training.runfolder import RunFolder
from runs import save_folder
from soaking import cases, record

COUNT = cases(60, 5_000)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, bytes replaced, parts cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        length = int(rng.integers(1, 9))
        match int(rng.integers(5)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place : place + length] = rng.bytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case _:
                del changed[place:]
    return bytes(changed)


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
    **{kind: a_picture(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")},
}


@pytest.mark.parametrize("reader", READERS)
def test_random_damage_is_answered_or_refused(tmp_path: Path, reader: str) -> None:
    sound, read = READERS[reader](tmp_path)
    read(sound)
    rng, began, refused, answered = np.random.default_rng(0), time.monotonic(), 0, 0
    for _ in range(COUNT):
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
        COUNT,
        time.monotonic() - began,
    )
    assert refused + answered == COUNT and json.dumps(answered)
