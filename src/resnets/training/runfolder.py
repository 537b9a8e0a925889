"""The run folder: ``config.toml``, ``metrics.csv``, ``data.json``, ``model/``, ``state/``."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.checkpoint import make_folder, write_durably
from resnets.config import TrainConfig
from resnets.errors import ConfigError
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
FREE_TO_CHANGE = frozenset({"workers", "checkpoint_activations"})
"""Settings that change no result, so that a run may go on with others."""


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

    @property
    def begun(self) -> bool:
        """Whether a run was set up here."""
        return (self.path / "config.toml").exists()

    @property
    def has_state(self) -> bool:
        """Whether there is a training state to go on from."""
        return any(self.state.glob("*.safetensors"))

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
        make_folder(self.path)
        text = json.dumps(manifest, indent=1, ensure_ascii=True)
        write_durably(self.path / "data.json", text.encode())
        self.write_config(config)

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
