"""The rows of ``metrics.csv`` as event files for TensorBoard."""

import contextlib
from pathlib import Path
from typing import Any

from resnets.errors import CannotGoOn, require
from resnets.training.state import Row

TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
}
"""Column of ``metrics.csv`` -> what TensorBoard calls it; the step is the step."""


class EventFiles:
    """A folder of event files that holds the same rows as ``metrics.csv``.

    A run that goes on writes all rows anew, so that neither a kill nor a disk that was full leaves
    a gap or a row that was taken back. Nothing is written before ``write``.

    Raises ``MissingExtra``.
    """

    def __init__(self, folder: Path, config: str) -> None:
        require("tensorboard", extra="tensorboard")
        self.folder, self.config = folder, config
        self._writer: Any = None
        self._written = 0

    def write(self, rows: list[Row]) -> None:
        """Add the rows that are new. Raises ``CannotGoOn`` when the disk refuses."""
        try:
            if self._writer is None:
                self._begin()
            for row in rows[self._written :]:
                for column, tag in TAGS.items():
                    if row.get(column) is not None:
                        self._writer.add_scalar(tag, row.get(column), row["step"])
            self._writer.flush()
        except OSError as cause:
            self._writer = None  # the next write begins anew
            raise CannotGoOn(
                f"cannot write {self.folder}: {cause.strerror}",
                fix="make room, then type the same command again",
            ) from cause
        self._written = len(rows)

    def close(self) -> None:
        """Write what is left and end the thread that writes."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def _begin(self) -> None:
        from torch.utils.tensorboard import SummaryWriter  # half a second

        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._written = 0
        self._writer = SummaryWriter(str(self.folder))
        self._writer.add_text("config.toml", f"```toml\n{self.config}\n```")
