"""Images as features: what the head reads of them, and which lie near each other."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.listing import class_name
from resnets.data.sources import Dataset, FileImages, Images
from resnets.errors import ConfigError, DataError, UnreadableImage
from resnets.explanation.maps import exact
from resnets.models import Network
from resnets.sealing import make_folder, write_durably

BLOCK = 1024
"""Images whose similarities to all others are computed at once."""
KINDS = (".npz", ".csv")


class Neighbour(NamedTuple):
    """Another image, by its row, and the cosine of the angle between the two, -1 to 1."""

    row: int
    similarity: float


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Embedding:
    """The features of images, row by row."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    """Class names; empty where an image's class is not known."""
    features: NDArray[np.float32]
    """(N, D)."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Names and reasons of images that are not among the rows."""

    def neighbours(self, k: int) -> list[list[Neighbour]]:
        """The ``k`` nearest other images of each, by cosine, nearest first; fewer of few images.

        Equal ones come in the order of the rows; features that are all zero are like no others.
        """
        if k < 1:
            raise ConfigError(f"{k} neighbours", fix="ask for 1 or more")
        rows = self.features.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
        found = []
        for first in range(0, len(rows), BLOCK):
            block = rows[first : first + BLOCK] @ rows.T
            block[np.arange(len(block)), first + np.arange(len(block))] = -np.inf  # itself
            nearest = np.argsort(-block, axis=1, kind="stable")[:, : min(k, len(rows) - 1)]
            found += [
                [Neighbour(int(other), float(similar[other])) for other in order]
                for similar, order in zip(block, nearest, strict=True)
            ]
        return found

    def rows(self, k: int) -> Iterator[dict[str, Any]]:
        """Plain values for JSON: each image's name and label, and those of its neighbours."""
        for row, near in enumerate(self.neighbours(k)):
            others = [self._named(each.row) | {"similarity": each.similarity} for each in near]
            yield self._named(row) | {"neighbours": others}

    def save(self, path: Path) -> None:
        """Write ``names``, ``labels`` and ``features`` as .npz, or a row for each image as .csv.

        Raises ``ConfigError`` for another kind of file, ``CannotGoOn`` where the disk refuses.
        """
        check_kind(path)
        data = self._npz() if path.suffix.lower() == ".npz" else self._csv()
        make_folder(path.absolute().parent)
        write_durably(path, data)

    def _named(self, row: int) -> dict[str, Any]:
        return {"name": self.names[row], "label": self.labels[row]}

    def _npz(self) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(
            file,
            names=np.array(self.names, dtype=np.str_),
            labels=np.array(self.labels, dtype=np.str_),
            features=self.features,
        )
        return file.getvalue()

    def _csv(self) -> bytes:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        columns = [f"feature_{number}" for number in range(self.features.shape[1])]
        writer.writerow(["name", "label", *columns])
        for name, label, row in zip(self.names, self.labels, self.features, strict=True):
            writer.writerow([name, label, *row.tolist()])
        return file.getvalue().encode("utf-8", "surrogateescape")


class Features:
    """A network without its head, as a function of a batch."""

    def __init__(self, network: Any) -> None:
        self.network: Network = network
        self.point = self.network.points[-2]

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, H, W), preprocessed -> (N, D) float32 on the CPU."""
        device = next(self.network.parameters()).device
        with exact():
            found = self.network.features(batch.to(device), at=[self.point])[self.point]
        return found.flatten(1).float().cpu()


class Sources(NamedTuple):
    """Images to embed, with their names and, where they are known, their classes."""

    images: tuple[Images, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]


def listed(
    source: Iterable[str | Path] | Dataset, classes: Sequence[str], background: tuple[int, int, int]
) -> Sources:
    """All splits of a data set; or files, whose class is the nearest folder called as one.

    Args:
        background: the colour under transparent pixels of files.
    """
    if isinstance(source, Dataset):
        parts = source.splits.values()
        return Sources(
            tuple(_over(part.images, background) for part in parts),
            tuple(name for part in parts for name in part.names),
            tuple(source.classes[label] for part in parts for label in part.labels),
        )
    files = [Path(file) for file in source]
    known = {class_name(each): each for each in classes}
    folders = ([class_name(each.name) for each in file.absolute().parents] for file in files)
    labels = (next((known[each] for each in above if each in known), "") for above in folders)
    paths = tuple(map(str, files))
    return Sources((FileImages(Path(), paths, background),), paths, tuple(labels))


def gather(
    rows: Iterable[Tensor | UnreadableImage],
    names: Sequence[str],
    labels: Sequence[str],
    *,
    progress: Callable[[], None] | None = None,
) -> Embedding:
    """The features of images, those that cannot be read named apart.

    Args:
        rows: one for each name, (D,) or why there is none.
        labels: class names, empty where they are not known.
        progress: told after every image.

    Raises ``DataError`` where no image can be read.
    """
    kept: list[tuple[str, str, Tensor]] = []
    unreadable: list[tuple[str, str]] = []
    for name, label, row in zip(names, labels, rows, strict=True):
        if isinstance(row, UnreadableImage):
            unreadable.append((name, row.reason(name)))
        else:
            kept.append((name, label, row))
        if progress:
            progress()
    if not kept:
        first = f"; {unreadable[0][0]} {unreadable[0][1]}" if unreadable else ""
        raise DataError(f"there is no image to embed{first}", fix="name images that can be read")
    found_names, found_labels, features = zip(*kept, strict=True)
    return Embedding(
        names=found_names,
        labels=found_labels,
        features=torch.stack(features).numpy(),
        unreadable=tuple(unreadable),
    )


def _over(images: Images, background: tuple[int, int, int]) -> Images:
    return replace(images, background=background) if isinstance(images, FileImages) else images


def check_kind(path: Path) -> None:
    """Raise ``ConfigError`` unless the file's name ends as one that can be written."""
    if path.suffix.lower() not in KINDS:
        raise ConfigError(
            f"{path}: features are written as {' or '.join(KINDS)}",
            fix=f"end its name in {KINDS[0]} or {KINDS[1]}",
        )
