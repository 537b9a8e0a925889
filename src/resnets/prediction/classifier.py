"""Image in, ranked labels out."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import PIL.Image

from resnets.config import Preprocess
from resnets.console import percent
from resnets.data.sources import Dataset, FileImages
from resnets.decoding import decode
from resnets.engines import Engine, Pipeline
from resnets.errors import ConfigError, DataError, ModelFileError, UnreadableImage
from resnets.evaluation import (
    BATCH_SIZE,
    Answer,
    Predictions,
    Scores,
    batch_logits,
    combine,
    match_classes,
    predict_split,
    run_over,
    stream_logits,
)
from resnets.metrics import Floats, softmax
from resnets.prediction.answers import FilePrediction, Prediction

if TYPE_CHECKING:  # an exported model answers without torch
    from torch import Tensor, nn

    from resnets.explanation import Embedding, Explainer, Explanation

Item = TypeVar("Item")
Source = str | Path | bytes | PIL.Image.Image | np.ndarray
Many = list[Any] | tuple[Any, ...] | Iterator[Any]
ACCEPTED = "give a path, bytes, a PIL image or an (H, W, 3) uint8 RGB array, or a list of these"
MEAN_IMAGE = "preprocess.mean_image"
EXPORTS = "export"
"""The folder in a run where its exports lie."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Classifier:
    """A sealed or exported model, ready to answer, with class names and the whole preprocessing."""

    network: "nn.Module | None"
    """``None`` for an exported model, of which there is only what runs it."""
    engine: Engine | Pipeline
    """What runs it: a network, or for an exported model its preprocessing too."""
    classes: tuple[str, ...]
    preprocess: Preprocess
    mean_image: "Tensor | None"
    """(C, H, W), where ``preprocess.mean_image`` asks for it."""
    card: dict[str, Any]
    """``model.json``."""
    path: Path
    """The folder of the sealed or exported model, or the exported file by itself."""
    notes: tuple[str, ...] = ()
    """What a person should know of this choice of model and engine."""

    @property
    def model(self) -> "nn.Module":
        """The network as a module. Raises ``ConfigError`` for an exported model."""
        if self.network is None:
            raise ConfigError(
                f"{self.path} is an exported model: it answers, but cannot be looked into",
                fix="give the run or the sealed model it was exported from",
            )
        return self.network

    @property
    def temperature(self) -> float:
        """What logits are divided by, so that probabilities are what they say; 1 as trained."""
        return self.card.get("temperature") or 1.0

    @property
    def threshold(self) -> float | None:
        """The probability under which an answer is unsure; ``None`` where none was chosen."""
        return self.card.get("threshold")

    @overload
    def predict(self, source: Source, top: int = 1) -> list[Prediction]: ...
    @overload
    def predict(self, source: Many, top: int = 1) -> list[list[Prediction]]: ...
    def predict(
        self, source: Source | Many, top: int = 1
    ) -> list[Prediction] | list[list[Prediction]]:
        """The ``top`` likeliest labels, best first; for many images a list of such lists.

        Args:
            source: a path, the bytes of a file, a PIL image or an (H, W, 3) uint8 RGB array;
                or a list, a tuple or an iterator of these.

        Raises ``DataError`` for anything else and for the first image that cannot be read.
        """
        if not isinstance(source, (list, tuple, Iterator)):
            return self.predict([source], top)[0]
        ranked = []
        for answer in self._answers(source, self._read):
            if isinstance(answer, UnreadableImage):
                raise answer
            ranked.append(self._ranked(answer, top))
        return ranked

    def predict_files(
        self, paths: Iterable[str | Path], top: int = 1, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[FilePrediction]:
        """One row per file, in order; a file that cannot be read carries the reason.

        Memory does not grow with the number of files.
        """
        named, read = itertools.tee(paths)
        answers = self._answers(read, self._decode, batch_size=batch_size)
        for file, answer in zip(named, answers, strict=True):
            if isinstance(answer, UnreadableImage):
                yield FilePrediction(str(file), error=answer.reason(str(file)))
            else:
                yield self.answer(str(file), answer, top)

    def prepare(self, image: np.ndarray) -> Any:
        """What the engine reads of one upright (H, W, 3) uint8 image; safe in threads."""
        if isinstance(self.engine, Pipeline):
            return self.engine.prepare(image)
        from resnets.data.transforms import preprocess_image

        return preprocess_image(image, self.preprocess, self.mean_image)

    def logits(self, prepared: Sequence[Any]) -> Floats:
        """(N, classes) float64 of N images as ``prepare`` made them, run together.

        Raises ``CannotGoOn`` where one is not finite.
        """
        return batch_logits(self.engine, prepared)

    def answer(self, file: str, logits: Floats, top: int) -> FilePrediction:
        """The ``top`` likeliest labels of one file, from its (classes,) logits."""
        ranked = tuple(self._ranked(logits, top))
        return FilePrediction(file, ranked, unsure=self._unsure(ranked))

    def evaluate(
        self,
        data: Any = None,
        split: str = "test",
        *,
        data_dir: Path | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int, int], None] | None = None,
    ) -> Scores:
        """Scores on a split of anything ``open_dataset`` takes; classes are matched by name.

        Without ``data``, or with the very data the model was trained on, each split is what it was
        then. Other class folders, and tables without splits, are scored as a whole. Raises
        ``DataError`` for a split there is not and for a class the model does not know.

        Args:
            data_dir: where a named data set lies.
            progress: told the images done and their number.
        """
        predictions = self.predict_split(
            data, split, data_dir=data_dir, batch_size=batch_size, progress=progress
        )
        return predictions.scores(self.temperature, self.threshold)

    def predict_split(
        self,
        data: Any = None,
        split: str = "test",
        *,
        data_dir: Path | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int, int], None] | None = None,
    ) -> Predictions:
        """The logits of every image of a split; arguments and errors are those of ``evaluate``."""
        matched = self.labelled(data, split, data_dir)
        part = matched.splits[split]
        return predict_split(
            self.engine,
            part,
            self.preprocess,
            self.classes,
            name=split,
            data=matched.name,
            mean_image=self.mean_image,
            batch_size=batch_size,
            progress=progress,
            left_out=[item for item in matched.left_out if item.split == split],
            notes=matched.notes,
        )

    def labelled(self, data: Any, split: str, data_dir: Path | None = None) -> Dataset:
        """The data with that split alone, its labels those of this model.

        Arguments and errors are those of ``evaluate``.
        """
        dataset = self.opened(data, split, data_dir)
        if split not in dataset.splits:
            raise DataError(
                f"{dataset.name} has no split {split!r}",
                fix=f"choose one of its splits: {', '.join(dataset.splits)}",
            )
        chosen = dataclasses.replace(dataset, splits={split: dataset.splits[split]})
        matched = match_classes(chosen, self.classes)
        part = matched.splits[split]
        if isinstance(part.images, FileImages):  # transparency over the model's colour
            images = dataclasses.replace(part.images, background=self.preprocess.background)
            part = dataclasses.replace(part, images=images)
        return dataclasses.replace(matched, splits={split: part})

    def explain(self, source: Source, **options: Any) -> "Explanation":
        """Where in one image the evidence for a class lies; options as ``Explainer.explain``'s."""
        return self.explainer().explain(self._read(source), **options)

    def explainer(self) -> "Explainer":
        """What makes explanations; of the network itself, not of the engine's copy."""
        from resnets.explanation import Explainer
        from resnets.models import Network

        assert isinstance(self.model, Network)  # noqa: S101
        return Explainer(
            self.model, self.classes, self.preprocess, self.mean_image, self.temperature
        )

    def embed(
        self, source: Iterable[str | Path] | Dataset, *, progress: Callable[[], None] | None = None
    ) -> "Embedding":
        """What the head reads of files or of all splits of a data set.

        A file that cannot be read is named in ``unreadable``; ``progress`` is told of every image.
        """
        from resnets.explanation.embedding import Features, gather, listed

        sources = listed(source, self.classes, self.preprocess.background)
        run = Features(self.model)
        rows = (
            row
            for images in sources.images
            for row in run_over(run, images, self.preprocess, mean_image=self.mean_image)
        )
        return gather(rows, sources.names, sources.labels, progress=progress)

    def _answers(
        self,
        sources: Iterable[Item],
        read: Callable[[Item], np.ndarray],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Answer]:
        def prepare(source: Item) -> Any:
            return self.prepare(read(source))

        return stream_logits(self.engine, sources, prepare, batch_size=batch_size)

    def _ranked(self, logits: Floats, top: int) -> list[Prediction]:
        if top < 1:
            raise ConfigError(f"top={top} asks for no answer", fix="ask for 1 or more labels")
        if len(logits) != len(self.classes):
            raise ModelFileError(
                f"{self.path} gives {len(logits)} probabilities for {len(self.classes)} classes",
                fix="export the model again",
            )
        probabilities = softmax(logits, self.temperature)
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [Prediction(self.classes[index], float(probabilities[index])) for index in order]

    def _unsure(self, ranked: Sequence[Prediction]) -> bool | None:
        return None if self.threshold is None else ranked[0].probability < self.threshold

    def _read(self, source: Any) -> np.ndarray:
        """(H, W, 3) uint8 from any one source ``predict`` accepts, or a ``DataError``."""
        if isinstance(source, np.ndarray):
            if (
                source.dtype == np.uint8
                and source.ndim == 3
                and source.shape[2] == 3
                and source.size
            ):
                return source
            raise DataError(f"an array of {source.dtype} {source.shape} is no image", fix=ACCEPTED)
        if isinstance(source, (str, Path)):
            if os.path.isdir(source):
                raise DataError(
                    f"{source} is a folder", fix="pass find_images([folder]) to predict_files"
                )
            if not os.path.exists(source):
                raise DataError(f"there is no file {str(source)!r}", fix=ACCEPTED)
        elif not isinstance(source, (bytes, PIL.Image.Image)):
            raise DataError(f"a {type(source).__name__} is no image", fix=ACCEPTED)
        return self._decode(source)

    def _decode(self, source: str | Path | bytes | PIL.Image.Image) -> np.ndarray:
        return decode(source, background=self.preprocess.background)

    def opened(self, data: Any, split: str, data_dir: Path | None) -> Dataset:
        """The data to score; that of the run itself in the parts the run had.

        Raises ``DataError`` where the data is gone or none is known.
        """
        from resnets.data import open_dataset
        from resnets.data.manifest import reopen

        around = self.path.absolute().parent
        beside = around.parent if around.name == EXPORTS else around
        record = beside / "data.json"
        if record.exists():
            recorded = json.loads(record.read_text(encoding="utf-8"))
            its_own = isinstance(data, (str, Path)) and os.path.abspath(data) == recorded["source"]
            if data is None or its_own:
                return reopen(recorded, data_dir)
        elif data is None:
            raise DataError(
                f"no data is given and none recorded in {record}",
                fix="name the data: a folder, a CSV file or a data set's name",
            )
        return open_dataset(data, data_dir=data_dir, whole=split)


def evaluate_together(
    models: Sequence[Classifier], data: Any = None, split: str = "test", **how: Any
) -> Scores:
    """Scores of one model, or of the mean of the calibrated probabilities of several.

    Args:
        data, split, how: as ``Classifier.evaluate`` takes them; the first model's own data where
            none is given.

    Raises ``ConfigError`` where the models know different classes, and what ``evaluate`` does.
    """
    if len(models) == 1:
        return models[0].evaluate(data, split, **how)
    if data is None:
        data = models[0].opened(None, split, how.get("data_dir"))
    members = [model.predict_split(data, split, **how) for model in models]
    together = combine(members, [model.temperature for model in models])
    alone = [
        f"{_called(model.path)} {percent(member.right().mean())}"
        for model, member in zip(models, members, strict=True)
    ]
    note = f"{len(models)} models together; alone: {', '.join(alone)}"
    return dataclasses.replace(together, notes=(*together.notes, note)).scores()


def _called(path: Path) -> str:
    """What tells a model from others: its run, and of an export also which it is."""
    folder = path.absolute()
    if folder.parent.name == EXPORTS:
        return f"{folder.parents[1].name}/{folder.name}"
    return folder.parent.name if folder.name == "model" else folder.name
