"""The run folder: ``config.toml``, ``metrics.csv``, ``data.json``, ``model/``, ``state/``."""

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.config import TrainConfig
from resnets.errors import ConfigError
from resnets.sealing import write_durably
from resnets.training.state import Row

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
)
FREE_TO_CHANGE = frozenset(
    {"workers", "checkpoint_activations", "save_every", "on_nonfinite", "tensorboard"}
)
"""Settings that change no step that was taken, so that a run may go on with others."""


_held: set[int] = set()
"""Handles of the folders that runs of this process hold."""


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):  # a worker that outlives a killed run must not hold its folder
    os.register_at_fork(after_in_child=_let_go)


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one run lie, and how they are written."""

    path: Path

    @property
    def model(self) -> Path:
        """The sealed model."""
        return self.path / "model"

    @property
    def state(self) -> Path:
        """Training states for continuing."""
        return self.path / "state"

    def predictions(self, split: str) -> Path:
        """What the sealed model answered to a split."""
        return self.path / "predictions" / f"{split}.npz"

    @property
    def begun(self) -> bool:
        """Whether a run was set up here."""
        return (self.path / "config.toml").exists()

    @property
    def has_state(self) -> bool:
        """Whether there is a training state to go on from."""
        return any(self.state.glob("*.safetensors"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, which exists; a process that dies lets go of it.

        Raises ``ConfigError`` where another run holds it. Windows has no such lock.
        """
        if os.name == "nt":
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        _held.add(handle)
        try:
            self._lock(handle)
            yield
        finally:
            if handle in _held:  # a forked child has closed its own
                _held.remove(handle)
                os.close(handle)

    def _lock(self, handle: int) -> None:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another run is training in {self.path}",
                fix="wait until it ends, or choose another folder with --out",
            ) from None
        except OSError:  # a file system without locks
            return

    def check_usable(self) -> None:
        """Raise ``ConfigError`` where the path holds something that is no run."""
        if self.path.exists() and not self.begun:
            ours = {"data.json", "data.json.tmp", "config.toml.tmp"}  # of a kill at the very start
            if not self.path.is_dir() or {p.name for p in self.path.iterdir()} - ours:
                raise ConfigError(
                    f"{self.path} exists and is no run folder", fix="choose another with --out"
                )

    def set_aside(self) -> Path:
        """Rename the folder to the first free NAME.1, NAME.2, ... and return that."""
        number = 1
        while (kept := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(kept)
        return kept

    def write_setup(self, config: TrainConfig, manifest: dict[str, Any]) -> None:
        """Write ``data.json`` and then ``config.toml``, which makes the folder a run."""
        self.write_manifest(manifest)
        self.write_config(config)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write ``data.json``."""
        text = json.dumps(manifest, indent=1, ensure_ascii=True)
        write_durably(self.path / "data.json", text.encode())

    def write_config(self, config: TrainConfig) -> None:
        """Write every setting as resolved."""
        write_durably(self.path / "config.toml", config.to_toml().encode())

    def read_config(self) -> TrainConfig:
        """The settings this run was set up with."""
        return TrainConfig(**TrainConfig.keys_in(self.path / "config.toml"))

    def read_manifest(self) -> dict[str, Any]:
        """The contents of ``data.json``."""
        return json.loads((self.path / "data.json").read_text(encoding="utf-8"))

    def write_metrics(self, rows: list[Row]) -> None:
        """Write ``metrics.csv`` anew; an unknown value is left empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_durably(self.path / "metrics.csv", text.getvalue().encode())

    def add_not_finite(self, path: Path, step: int, what: str, images: list[str]) -> None:
        """Add a step that could not be taken to the file that lists them."""
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        entries = [entry for entry in entries if entry["step"] != step]
        entries.append({"step": step, "what": what, "images": images})
        write_durably(path, json.dumps(entries, indent=1, ensure_ascii=True).encode())

    def check_settings(self, asked: dict[str, Any], stored: TrainConfig) -> dict[str, Any]:
        """Hold what is asked for to this run's settings; returns those that may change.

        Settings that are not named are those of the run; one that is named may be as it was asked
        for at set-up or as it was resolved. Raises ``ConfigError`` for another one.
        """
        before = self.read_manifest()["asked"]
        for name, value in asked.items():
            held = getattr(stored, name)
            value = _plain(value)
            known = [held, _plain(before.get(name)), "auto"]
            known += ["default"] if name == "recipe" else []
            if value not in known and name not in FREE_TO_CHANGE:
                longer = name == "epochs" and held is not None and value > held
                extend = ", --extend to train on to that many epochs" if longer else ""
                raise ConfigError(
                    f"{self.path} holds a run with {name} = {held!r}, not {value!r}",
                    fix="--out for another folder, --fresh to start again here "
                    f"(the old folder is kept){extend}",
                )
        return {name: value for name, value in asked.items() if name in FREE_TO_CHANGE}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
