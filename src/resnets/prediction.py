"""Image in, ranked labels out: ``load(path)`` opens a sealed model as a ``Classifier``."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from resnets.checkpoint import CARD, read_sealed
from resnets.config import Preprocess
from resnets.console import percent
from resnets.data.listing import natural_key
from resnets.data.sources import Dataset, FileImages
from resnets.data.transforms import preprocess_image
from resnets.decoding import IMAGE_SUFFIXES, decode
from resnets.engines import Engine
from resnets.engines.mirrored import Mirrored
from resnets.engines.pytorch import TorchEngine
from resnets.errors import ConfigError, DataError, ModelFileError, ResnetsError, UnreadableImage
from resnets.evaluation import (
    BATCH_SIZE,
    Answer,
    Predictions,
    Scores,
    combine,
    match_classes,
    predict_split,
    run_over,
    stream_logits,
)
from resnets.machine import usable_device
from resnets.metrics import Floats, softmax
from resnets.models import Network, create_model

if TYPE_CHECKING:
    from resnets.explanation import Embedding, Explainer, Explanation

Item = TypeVar("Item")
Source = str | Path | bytes | PIL.Image.Image | np.ndarray
Many = list[Any] | tuple[Any, ...] | Iterator[Any]
ACCEPTED = "give a path, bytes, a PIL image or an (H, W, 3) uint8 RGB array, or a list of these"
MEAN_IMAGE = "preprocess.mean_image"
DIFFERENCES = 5
"""Of the tensors that do not fit, an error tells so many."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and the probability the model gives it."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """One file's ranked predictions, or why there are none."""

    file: str
    predictions: tuple[Prediction, ...] | None = None
    error: str | None = None
    unsure: bool | None = None
    """Whether the best probability is under the model's threshold; ``None`` where it has none."""

    def to_dict(self) -> dict[str, Any]:
        """``{file, predictions: [{label, probability}], unsure}`` or ``{file, error}``."""
        if self.predictions is None:
            return {"file": self.file, "error": self.error}
        rows = [dataclasses.asdict(prediction) for prediction in self.predictions]
        told = {} if self.unsure is None else {"unsure": self.unsure}
        return {"file": self.file, "predictions": rows} | told

    def to_csv(self) -> list[list[str | int | float]]:
        """Rows of file, rank, label, probability, error, unsure: one for each label, or the error.

        ``unsure`` is 0 or 1, and empty where the model has no threshold.
        """
        if self.predictions is None:
            return [[self.file, "", "", "", self.error or "", ""]]
        ranked = enumerate(self.predictions, start=1)
        unsure = "" if self.unsure is None else int(self.unsure)
        return [
            [self.file, rank, each.label, each.probability, "", unsure] for rank, each in ranked
        ]


@dataclass(frozen=True, eq=False, kw_only=True)
class Classifier:
    """A sealed model, ready to answer: network, class names and the whole preprocessing."""

    model: nn.Module
    engine: Engine
    """What runs the network."""
    classes: tuple[str, ...]
    preprocess: Preprocess
    mean_image: Tensor | None
    """(C, H, W), where ``preprocess.mean_image`` asks for it."""
    card: dict[str, Any]
    """``model.json``."""
    path: Path
    """The sealed model's folder."""

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
                ranked = tuple(self._ranked(answer, top))
                yield FilePrediction(str(file), ranked, unsure=self._unsure(ranked))

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

    def explain(self, source: Source, **options: Any) -> "Explanation":
        """Where in one image the evidence for a class lies; options as ``Explainer.explain``'s."""
        return self.explainer().explain(self._read(source), **options)

    def explainer(self) -> "Explainer":
        """What makes explanations; of the network itself, not of the engine's copy."""
        from resnets.explanation import Explainer

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
        def prepare(source: Item) -> Tensor:
            return preprocess_image(read(source), self.preprocess, self.mean_image)

        return stream_logits(self.engine, sources, prepare, batch_size=batch_size)

    def _ranked(self, logits: Floats, top: int) -> list[Prediction]:
        if top < 1:
            raise ConfigError(f"top={top} asks for no answer", fix="ask for 1 or more labels")
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

        record = self.path.parent / "data.json"
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
        f"{model.path.parent.name} {percent(member.right().mean())}"
        for model, member in zip(models, members, strict=True)
    ]
    note = f"{len(models)} models together; alone: {', '.join(alone)}"
    return dataclasses.replace(together, notes=(*together.notes, note)).scores()


def is_model(path: str | Path) -> bool:
    """Whether a path is a sealed model or a run folder with one."""
    path = Path(path)
    return any((folder / CARD).exists() for folder in (path, path / "model"))


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    tta: Literal["none", "flip"] = "none",
) -> Classifier:
    """Open a sealed model or the run folder around one.

    Args:
        tta: flip: answer with the mean over each image and its mirror image.

    Raises ``ModelFileError``, and ``ConfigError`` for a device that is not there.
    """
    device = usable_device(device)
    sealed = read_sealed(path)
    weights = dict(sealed.weights)
    mean_image = weights.pop(MEAN_IMAGE, None)
    try:
        classes = tuple(sealed.card["label_names"])
        if strange := [name for name in classes if not isinstance(name, str)]:
            raise TypeError(f"{strange[0]!r} is no name of a class")
        preprocess = Preprocess.from_dict(sealed.card["preprocess"])
        _check_calibration(sealed.card)
        options = sealed.card.get("options", {}) | {
            "num_classes": len(classes),
            "in_channels": preprocess.input_size[0],
        }
        with torch.device("meta"):  # the weights follow; first ones would cost time and randomness
            model = create_model(sealed.card["architecture"], **options)
    except Exception as cause:  # whatever the card holds, it raises what it leads to
        why = cause.problem if isinstance(cause, ResnetsError) else repr(cause)
        raise ModelFileError(
            f"{sealed.path}: model.json does not describe a model we can build: {why}",
            fix="open it with the version of resnets that wrote it, or train again",
        ) from cause
    expected = {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}
    if preprocess.mean_image:
        expected[MEAN_IMAGE] = (preprocess.input_size, torch.float32)
    check_weights(sealed.weights, expected, where=sealed.path)
    model.load_state_dict(weights, strict=True, assign=True)
    model.to(memory_format=torch.channels_last)
    engine: Engine = TorchEngine(model, device, precision)
    return Classifier(
        model=model,
        engine=Mirrored(engine) if tta == "flip" else engine,
        classes=classes,
        preprocess=preprocess,
        mean_image=mean_image,
        card=sealed.card,
        path=sealed.path,
    )


def _check_calibration(card: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for a temperature or a threshold that no calibration gives."""
    temperature, threshold = card.get("temperature", 1.0), card.get("threshold")
    if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature={temperature!r}", fix="calibrate it again")
    if threshold is not None and not (isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
        raise ConfigError(f"threshold={threshold!r}", fix="calibrate it again")


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files named, as they are, and in place of a folder the images in and below it.

    A folder's images come in natural order (2.jpg before 10.jpg); hidden files and folders are
    passed over. Raises ``DataError`` for a folder without an image or without the right to look.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = list(_walk(path))
        if not inside:
            raise DataError(
                f"no image in the folder {path}",
                fix=f"name another folder; images end in {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        found += inside
    return found


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()  # links may lead in a circle
    for here, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = _shown(folders) if real not in seen else []
        for file in _shown(files) if real not in seen else []:
            if Path(file).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(here, file)
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"cannot look into {error.filename}: {error.strerror}",
        fix="make the folder readable or leave it out",
    ) from error


def _shown(names: list[str]) -> list[str]:
    return sorted((name for name in names if not name.startswith(".")), key=natural_key)


def check_weights(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    *,
    where: object,
) -> None:
    """Raise ``ModelFileError`` unless all tensors are there, fit and hold possible numbers.

    Args:
        expected: shape and type of each by its name.
        where: what holds them, for the message.
    """
    found = {name: (tuple(t.shape), t.dtype) for name, t in weights.items()}
    wrong = [
        f"{name}: {_told(found.get(name))} instead of {_told(expected.get(name))}"
        for name in [*expected, *(found.keys() - expected.keys())]
        if found.get(name) != expected.get(name)
    ]
    if not wrong:
        wrong = [
            f"{name} holds impossible numbers"
            for name, tensor in weights.items()
            if not torch.isfinite(tensor).all()
            or (name.endswith("running_var") and tensor.min() < 0)
        ]
    if wrong:
        more = f"; and {len(wrong) - DIFFERENCES} more" if len(wrong) > DIFFERENCES else ""
        raise ModelFileError(
            f"{where}: the weights do not fit: {'; '.join(wrong[:DIFFERENCES])}{more}",
            fix="restore it from a copy, or train again",
        )


def _told(tensor: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return f"{str(tensor[1]).removeprefix('torch.')} {tensor[0]}" if tensor else "nothing"
