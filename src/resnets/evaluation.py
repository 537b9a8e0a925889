"""How good a model is: an engine and labelled images -> ``Scores`` with 95 % intervals."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from resnets import metrics
from resnets.config import Preprocess
from resnets.data.cache import pixels_at
from resnets.data.listing import class_name, told
from resnets.data.sources import ArrayImages, Dataset, Images, LeftOut, Split
from resnets.data.transforms import normalise, to_pixels
from resnets.engines import Engine
from resnets.errors import CannotGoOn, DataError, UnreadableImage, did_you_mean
from resnets.machine import available_cores
from resnets.metrics import Floats, Interval

Answer = Floats | UnreadableImage
"""(classes,) float64 probabilities, or why there are none."""
Item = TypeVar("Item")
Row = TypeVar("Row")

BATCH_SIZE = 64
READERS = 8
"""At most so many threads decode; more would only wait for the network."""
MISTAKES = 20


@dataclass(frozen=True, slots=True)
class Headline:
    """One number about n images and where its true value lies with 95 % confidence."""

    value: float
    low: float
    high: float
    n: int
    interval: Literal["wilson", "bootstrap"]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fares; zero where there is nothing to divide by."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Images that truly are of the class."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image called ``predicted``, with that probability, though it is ``label``."""

    name: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All that ``evaluate`` finds out; ``to_dict`` is the object ``evaluate --json`` prints."""

    split: str
    data: str
    n: int
    """Images scored; those in ``left_out`` are not among them."""
    accuracy: Headline
    top5: Headline | None
    """``None`` unless there are more than ten classes."""
    per_class: tuple[ClassScore, ...]
    log_loss: Headline
    brier: Headline
    """Squared error summed over the classes, mean over the images: from 0 to 2."""
    calibration_error: Headline
    confusion: tuple[tuple[int, ...], ...]
    """Images by true class (rows) and predicted class (columns)."""
    classes: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    """The most confident ones first."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        headlines = {
            name: None if values[name] is None else Headline(**values[name])
            for name in ("accuracy", "top5", "log_loss", "brier", "calibration_error")
        }
        rows = {
            "per_class": tuple(ClassScore(**row) for row in values["per_class"]),
            "mistakes": tuple(Mistake(**row) for row in values["mistakes"]),
            "left_out": tuple(LeftOut(**row) for row in values["left_out"]),
            "confusion": tuple(tuple(row) for row in values["confusion"]),
            "classes": tuple(values["classes"]),
            "notes": tuple(values["notes"]),
        }
        return cls(**(values | headlines | rows))


def evaluate(
    engine: Engine,
    split: Split,
    preprocess: Preprocess,
    classes: Sequence[str],
    *,
    name: str = "test",
    data: str = "",
    mean_image: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int, int], None] | None = None,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Scores:
    """Answer every image of a split and score the answers; labels index ``classes``.

    An image that cannot be read is named in ``left_out`` and not scored.

    Args:
        name, data: what the split and the data set are called in the result.
        progress: told the images done and their number, after every image.
        left_out, notes: what is known of the split already, handed on.

    Raises ``DataError`` where no image is left to score.
    """
    probabilities = np.empty((len(split), len(classes)))
    read = np.ones(len(split), dtype=bool)
    unreadable = []
    answers = predict_probabilities(
        engine, split.images, preprocess, mean_image=mean_image, batch_size=batch_size
    )
    for index, answer in enumerate(answers):
        if isinstance(answer, UnreadableImage):
            read[index] = False
            unreadable.append(LeftOut(split.names[index], reason(answer, split.names[index]), name))
        else:
            probabilities[index] = answer
        if progress:
            progress(index + 1, len(split))
    if not read.any():
        first = f"; {unreadable[0].path} {unreadable[0].reason}" if unreadable else ""
        raise DataError(
            f"{name} has no image to score{first}", fix="add readable images or name another split"
        )
    kept = np.flatnonzero(read)
    return score(
        probabilities if read.all() else probabilities[kept],
        split.labels[kept],
        [split.names[index] for index in kept],
        classes,
        split=name,
        data=data,
        left_out=(*left_out, *unreadable),
        notes=notes,
    )


def score(
    probabilities: Floats,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    *,
    split: str = "test",
    data: str = "",
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Scores:
    """Scores of (N, C) probabilities for (N,) labels of images called ``names``.

    Shares carry Wilson's interval, the rest a bootstrap's with a fixed seed.
    """
    n = len(labels)
    predicted = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(predicted, labels, len(classes))
    gaps = metrics.calibration_gaps(probabilities, labels)
    rows = zip(classes, *(column.tolist() for column in metrics.per_class(confusion)), strict=True)
    return Scores(
        split=split,
        data=data,
        n=n,
        accuracy=_share(int((predicted == labels).sum()), n),
        top5=_share(int(metrics.top_k_correct(probabilities, labels, 5).sum()), n)
        if len(classes) > 10
        else None,
        per_class=tuple(ClassScore(*row) for row in rows),
        log_loss=_mean(metrics.log_losses(probabilities, labels)),
        brier=_mean(metrics.brier_scores(probabilities, labels)),
        calibration_error=_bootstrapped(
            np.abs(gaps.mean(axis=0)).sum(), n, metrics.calibration_interval(gaps)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=tuple(classes),
        mistakes=tuple(_mistakes(probabilities, predicted, labels, names, classes)),
        left_out=tuple(left_out),
        notes=tuple(notes),
    )


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with labels that index ``classes``, matched by name.

    Classes without an image are told in the notes, split by split. Raises ``DataError`` for an
    image of a class that is not in ``classes``.
    """
    position = {class_name(name): index for index, name in enumerate(classes)}
    new = np.array([position.get(class_name(name), -1) for name in dataset.classes], np.int64)
    used = np.unique(np.concatenate([split.labels for split in dataset.splits.values()]))
    if unknown := [dataset.classes[index] for index in used if new[index] < 0]:
        hint = did_you_mean(unknown[0], classes) or f"it knows {told(map(repr, classes))}; "
        raise DataError(
            f"{dataset.name} has images of a class the model does not know: "
            f"{told(map(repr, unknown))}",
            fix=f"{hint}name the class as the model has it, or take its images out",
        )
    splits, notes = {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        splits[name] = dataclasses.replace(split, labels=new[split.labels])
        there = set(splits[name].labels.tolist())
        missing = [label for index, label in enumerate(classes) if index not in there]
        note = f"{name} has no image of {told(map(repr, missing))}"
        if missing and note not in notes:  # the data set may have said so itself
            notes.append(note)
    return dataclasses.replace(dataset, classes=tuple(classes), splits=splits, notes=tuple(notes))


def predict_probabilities(
    engine: Engine,
    images: Images,
    preprocess: Preprocess,
    *,
    mean_image: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per image, in order; few images are held at a time."""
    run = partial(_probabilities, engine)
    return run_over(run, images, preprocess, mean_image=mean_image, batch_size=batch_size)


def run_over(
    run: Callable[[Tensor], Iterable[Row]],
    images: Images,
    preprocess: Preprocess,
    *,
    mean_image: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Row | UnreadableImage]:
    """What ``run`` makes of each image, in order, preprocessed and in batches (N, C, H, W)."""
    if isinstance(images, ArrayImages):  # one shape, in memory: whole batches at once
        for start in range(0, len(images), batch_size):
            pixels = torch.from_numpy(images.array[start : start + batch_size].copy())
            yield from run(normalise(to_pixels(pixels, preprocess), preprocess, mean_image))
    else:

        def prepare(index: int) -> Tensor:
            pixels = pixels_at(images, index, preprocess)
            return normalise(pixels[None], preprocess, mean_image)[0]

        yield from _stream(run, range(len(images)), prepare, batch_size)


def stream_probabilities(
    engine: Engine,
    items: Iterable[Item],
    prepare: Callable[[Item], Tensor],
    *,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per item, in order; ``prepare`` makes (C, H, W) tensors of items in threads.

    An ``UnreadableImage`` it raises becomes that item's answer; other errors end the stream.
    """
    return _stream(partial(_probabilities, engine), items, prepare, batch_size)


def _stream(
    run: Callable[[Tensor], Iterable[Row]],
    items: Iterable[Item],
    prepare: Callable[[Item], Tensor],
    batch_size: int,
) -> Iterator[Row | UnreadableImage]:
    batch: list[Tensor | UnreadableImage] = []
    for tensor in _ahead(items, prepare, 2 * batch_size):
        batch.append(tensor)
        if len(batch) == batch_size:
            yield from _answers(run, batch)
            batch = []
    if batch:
        yield from _answers(run, batch)


def reason(error: UnreadableImage, name: str) -> str:
    """Why an image cannot be read, without its name, which is told beside it."""
    return error.problem.partition(f"{name}: ")[2] or error.problem


def _answers(
    run: Callable[[Tensor], Iterable[Row]], batch: list[Tensor | UnreadableImage]
) -> Iterator[Row | UnreadableImage]:
    tensors = [tensor for tensor in batch if isinstance(tensor, Tensor)]
    rows = iter(run(torch.stack(tensors)) if tensors else ())
    for tensor in batch:
        yield next(rows) if isinstance(tensor, Tensor) else tensor


def _probabilities(engine: Engine, batch: Tensor) -> Floats:
    probabilities = torch.softmax(engine(batch).double(), dim=1).numpy()
    if np.isnan(probabilities).any():
        raise CannotGoOn(
            "the network's answer to an image is not a finite number",
            fix="train again at a lower learning rate: these weights are unusable",
        )
    return probabilities


def _ahead(
    items: Iterable[Item], prepare: Callable[[Item], Tensor], most: int
) -> Iterator[Tensor | UnreadableImage]:
    """``prepare`` of every item in order, at most ``most`` of them begun before they are taken."""
    pool = ThreadPoolExecutor(min(READERS, available_cores()), thread_name_prefix="resnets-read")
    begun: deque[Future[Tensor]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(prepare, item))
            if len(begun) == most:
                yield _result(begun.popleft())
        while begun:
            yield _result(begun.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Tensor]) -> Tensor | UnreadableImage:
    try:
        return future.result()
    except UnreadableImage as error:
        return error


def _share(successes: int, n: int) -> Headline:
    return Headline(successes / n, *metrics.wilson_interval(successes, n), n, "wilson")


def _mean(values: Floats) -> Headline:
    return _bootstrapped(values.mean(), len(values), metrics.bootstrap_interval(values))


def _bootstrapped(value: float, n: int, interval: Interval) -> Headline:
    return Headline(float(value), interval.low, interval.high, n, "bootstrap")


def _mistakes(
    probabilities: Floats,
    predicted: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
) -> Iterator[Mistake]:
    wrong = np.flatnonzero(predicted != labels)
    confidence = probabilities[wrong, predicted[wrong]]
    for place in np.argsort(-confidence, kind="stable")[:MISTAKES]:
        index = wrong[place]
        yield Mistake(
            names[index],
            classes[labels[index]],
            classes[predicted[index]],
            float(confidence[place]),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
