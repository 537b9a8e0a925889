"""Files written so that a kill or a full disk at any instant leaves whole ones behind.

They are written aside, synced and renamed. A folder is replaced as a whole and carries the
hashes of its files in ``SHA256SUMS``.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.errors import CannotGoOn, ModelFileError

CARD, SUMS = "model.json", "SHA256SUMS"
"""In the folder of a sealed or exported model: what it is, and the hashes of its files."""
PASSING = (".new", ".old")
"""Endings of folders that are about to get another name."""


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of these files and their ``SHA256SUMS``, replacing the one there as a whole.

    Raises ``CannotGoOn`` when the disk refuses; what was there before can then still be read.
    """
    new, old = passing(folder)
    try:
        if new.exists():
            shutil.rmtree(new)
        make_folder(new)
        for name, data in {**files, SUMS: sums_of(files)}.items():
            write_durably(new / name, data)
        # At every instant between these renames a whole model lies under one of the three names.
        if folder.exists():
            if old.exists():
                shutil.rmtree(old)
            folder.rename(old)
        new.rename(folder)
        _sync_folder(folder.parent)
    except OSError as cause:
        raise CannotGoOn(
            f"cannot replace {folder}: {cause.strerror}",
            fix="make the folder writable, then type the same command again",
        ) from cause
    shutil.rmtree(old, ignore_errors=True)


def named(path: Path) -> Path:
    """The path, spelled so that it ends in the folder's own name: ``.`` and ``..`` do not."""
    return path if path.name not in ("", "..") else path.resolve()


def passing(folder: Path) -> list[Path]:
    """What lies beside a folder while it is replaced: the new one, and the old one."""
    return [folder.with_name(folder.name + ending) for ending in PASSING]


def read_folder(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The files of these names, held against the folder's ``SHA256SUMS``, which lists just them.

    Raises ``ModelFileError`` where they differ, and ``OSError``.
    """
    files = {name: (folder / name).read_bytes() for name in names}
    sums = (folder / SUMS).read_bytes()
    if sums != sums_of(files):  # byte for byte, so that no flipped bit is passed over
        changed = [name for name, data in files.items() if sums_of({name: data}) not in sums]
        raise ModelFileError(
            f"{folder / changed[0]} is damaged: its SHA-256 is not the one in {SUMS}"
            if len(changed) == 1
            else f"{folder / SUMS} is damaged: it holds not the SHA-256 of the files beside it",
            fix="restore it from a copy, or train again",
        )
    return files


def as_json(values: Any) -> bytes:
    """A JSON file of plain values."""
    return (json.dumps(values, indent=2, ensure_ascii=True) + "\n").encode()


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """What ``SHA256SUMS`` holds of files by name, as ``sha256sum -c`` reads it."""
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    ]
    return "".join(lines).encode()


def names_in(sums: str) -> list[str]:
    """The files that the text of a ``SHA256SUMS`` lists."""
    return [line.partition("  ")[2] for line in sums.splitlines()]


def make_folder(folder: Path) -> None:
    """Create a folder and its parents. Raises ``CannotGoOn`` with the path and the reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise CannotGoOn(
            f"cannot make the folder {folder}: {cause.strerror}", fix="choose another with --out"
        ) from cause


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that after a power cut it is there as a whole or not at all.

    Raises ``CannotGoOn`` with the path, the bytes needed and the bytes free.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync_folder(path.parent)
    except OSError as cause:
        free = 0
        with contextlib.suppress(OSError):  # a read-only disk refuses these too
            free = shutil.disk_usage(path.parent).free
            aside.unlink(missing_ok=True)
        raise CannotGoOn(
            f"cannot write {path}: {cause.strerror} ({len(data):,} bytes needed, {free:,} free)",
            fix="make room or choose another folder, then type the same command again",
        ) from cause


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is durable without
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
