"""What a network answered to every image of a split, kept so that scores can be taken anew."""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnets import metrics
from resnets.config import Preprocess
from resnets.data.sources import LeftOut, Split
from resnets.engines import Engine, Pipeline
from resnets.errors import ConfigError, DataError, ModelFileError, UnreadableImage
from resnets.evaluation.answering import BATCH_SIZE, predict_logits
from resnets.evaluation.scores import Scores, score
from resnets.metrics import Floats, Ints
from resnets.sealing import make_folder, write_durably

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """The answers of one model to one split; images that could not be read are not among them."""

    split: str
    data: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: Ints
    """(N,) indices of ``classes``."""
    logits: Floats
    """(N, classes) float64; of several models together the logarithms of their probabilities."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def probabilities(self, temperature: float = 1.0) -> Floats:
        """(N, classes): the softmax of the logits over the temperature."""
        return metrics.softmax(self.logits, temperature)

    def scores(self, temperature: float = 1.0, threshold: float | None = None) -> Scores:
        """How good the answers are at that temperature and threshold."""
        return score(
            self.probabilities(temperature),
            self.labels,
            self.names,
            self.classes,
            split=self.split,
            data=self.data,
            threshold=threshold,
            left_out=self.left_out,
            notes=self.notes,
        )

    def right(self) -> np.ndarray:
        """(N,): whether the likeliest class is the label."""
        return self.logits.argmax(axis=1) == self.labels

    def take(self, indices: np.ndarray) -> "Predictions":
        """Those of some images."""
        return dataclasses.replace(
            self,
            names=tuple(self.names[index] for index in indices),
            labels=self.labels[indices],
            logits=self.logits[indices],
        )

    def save(self, path: Path) -> None:
        """Write an ``.npz`` of ``names``, ``labels``, ``logits``, ``classes``, ``data``, ``split``.

        Logits are written as float32, which is what networks put out. Raises ``CannotGoOn``.
        """
        file = io.BytesIO()
        np.savez(
            file,
            names=np.array(self.names, dtype=np.str_),
            labels=self.labels.astype(np.int64),
            logits=self.logits.astype(np.float32),
            classes=np.array(self.classes, dtype=np.str_),
            data=np.str_(self.data),
            split=np.str_(self.split),
        )
        make_folder(path.parent)
        write_durably(path, file.getvalue())


def read_predictions(path: Path) -> Predictions:
    """Read what ``Predictions.save`` wrote. Raises ``ModelFileError`` where it is not whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files}
        read = Predictions(
            split=str(found["split"]),
            data=str(found["data"]),
            classes=tuple(found["classes"].tolist()),
            names=tuple(found["names"].tolist()),
            labels=found["labels"],
            logits=found["logits"].astype(np.float64),
        )
        if read.logits.shape != (len(read.names), len(read.classes)) or len(read.labels) != len(
            read.names
        ):
            raise ValueError(f"{read.logits.shape} logits of {len(read.names)} images")
        if not np.isfinite(read.logits).all():
            raise ValueError("logits that are no numbers")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile, EOFError) as cause:
        raise ModelFileError(
            f"{path} holds no predictions: {cause}", fix="make them again with `resnets evaluate`"
        ) from cause
    return read


def predict_split(
    engine: Engine | Pipeline,
    split: Split,
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    name: str = "test",
    data: str = "",
    mean_image: "Tensor | None" = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Predictions:
    """Answer every image of a split whose labels index ``classes``.

    An image that cannot be read is named in ``left_out``.

    Args:
        name, data: what the split and the data set are called in the result.
        progress: told the images done and their number, after every image.
        left_out, notes: what is known of the split already, handed on.

    Raises ``DataError`` where no image is left.
    """
    logits = np.empty((len(split), len(classes)))
    read = np.ones(len(split), dtype=bool)
    unreadable = []
    answers = predict_logits(
        engine, split.images, preprocess, mean_image=mean_image, batch_size=batch_size
    )
    for index, answer in enumerate(answers):
        if isinstance(answer, UnreadableImage):
            read[index] = False
            unreadable.append(LeftOut(split.names[index], answer.reason(split.names[index]), name))
        else:
            logits[index] = answer
        if progress:
            progress(index + 1, len(split))
    if not read.any():
        first = f"; {unreadable[0].path} {unreadable[0].reason}" if unreadable else ""
        raise DataError(
            f"{name} has no image to score{first}", fix="add readable images or name another split"
        )
    kept = np.flatnonzero(read)
    return Predictions(
        split=name,
        data=data,
        classes=tuple(classes),
        names=tuple(split.names[index] for index in kept),
        labels=split.labels[kept],
        logits=logits if read.all() else logits[kept],
        left_out=(*left_out, *unreadable),
        notes=tuple(notes),
    )


def evaluate(
    engine: Engine | Pipeline,
    split: Split,
    preprocess: Preprocess,
    classes: Sequence[str],
    **how: Any,
) -> Scores:
    """The scores of ``predict_split``, which takes the same arguments."""
    return predict_split(engine, split, preprocess, classes, **how).scores()


def combine(members: Sequence[Predictions], temperatures: Sequence[float]) -> Predictions:
    """The mean probability of several models for each image that all of them could read.

    He et al. combine six networks so (arXiv:1512.03385, Table 5). Classes are matched by name.
    Raises ``ConfigError`` where the models know different classes.
    """
    first = members[0]
    for other in members[1:]:
        if sorted(other.classes) != sorted(first.classes):
            raise ConfigError(
                f"one model knows the classes {list(first.classes)}, another {list(other.classes)}",
                fix="combine models of the same classes",
            )
    common = set(first.names).intersection(*(member.names for member in members[1:]))
    kept = [index for index, name in enumerate(first.names) if name in common]
    total = np.zeros((len(kept), len(first.classes)))
    for member, temperature in zip(members, temperatures, strict=True):
        rows = {name: index for index, name in enumerate(member.names)}
        order = [rows[first.names[index]] for index in kept]
        columns = [member.classes.index(label) for label in first.classes]
        total += member.probabilities(temperature)[np.ix_(order, columns)]
    logits = np.log(np.maximum(total / len(members), np.finfo(np.float64).tiny))
    return dataclasses.replace(first.take(np.array(kept, dtype=np.int64)), logits=logits)
