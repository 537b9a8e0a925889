"""Images in, answers out: a network run over a stream of images, few of them held at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from resnets.config import Preprocess
from resnets.data.sources import ArrayImages, Images
from resnets.engines import Engine, Pipeline
from resnets.errors import CannotGoOn, UnreadableImage
from resnets.machine import available_cores
from resnets.metrics import Floats

if TYPE_CHECKING:  # an exported model answers without torch
    from torch import Tensor

Answer = Floats | UnreadableImage
"""(classes,) float64 logits, or why there are none."""
Item = TypeVar("Item")
Row = TypeVar("Row")

BATCH_SIZE = 64
READERS = 8
"""At most so many threads decode; more would only wait for the network."""


def predict_logits(
    engine: Engine | Pipeline,
    images: Images,
    preprocess: Preprocess,
    *,
    mean_image: "Tensor | None" = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per image, in order; few images are held at a time.

    Args:
        preprocess, mean_image: what an ``Engine`` needs before it; a ``Pipeline`` has its own.
    """
    if isinstance(engine, Pipeline):

        def prepare(index: int) -> Any:
            return engine.prepare(in_colour(images[index]))

        return stream_logits(engine, range(len(images)), prepare, batch_size=batch_size)
    run = partial(_logits, engine)
    return run_over(run, images, preprocess, mean_image=mean_image, batch_size=batch_size)


def run_over(
    run: "Callable[[Tensor], Iterable[Row]]",
    images: Images,
    preprocess: Preprocess,
    *,
    mean_image: "Tensor | None" = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Row | UnreadableImage]:
    """What ``run`` makes of each image, in order, preprocessed and in batches (N, C, H, W)."""
    import torch

    from resnets.data.cache import pixels_at
    from resnets.data.transforms import normalise, to_pixels

    if isinstance(images, ArrayImages):  # one shape, in memory: whole batches at once
        for start in range(0, len(images), batch_size):
            pixels = torch.from_numpy(images.array[start : start + batch_size].copy())
            yield from run(normalise(to_pixels(pixels, preprocess), preprocess, mean_image))
    else:

        def prepare(index: int) -> torch.Tensor:
            pixels = pixels_at(images, index, preprocess)
            return normalise(pixels[None], preprocess, mean_image)[0]

        def run_rows(rows: list[torch.Tensor]) -> Iterable[Row]:
            return run(torch.stack(rows))

        yield from _stream(run_rows, range(len(images)), prepare, batch_size)


def stream_logits(
    engine: Engine | Pipeline,
    items: Iterable[Item],
    prepare: Callable[[Item], Any],
    *,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per item, in order; ``prepare`` makes what the engine reads of it, in threads.

    That is a (C, H, W) tensor, or for a ``Pipeline`` an array.

    An ``UnreadableImage`` it raises becomes that item's answer; other errors end the stream.
    """

    return _stream(partial(batch_logits, engine), items, prepare, batch_size)


def batch_logits(engine: Engine | Pipeline, rows: Sequence[Any]) -> Floats:
    """(N, classes) of N images, prepared as ``stream_logits`` asks, run together.

    Raises ``CannotGoOn`` where an answer is not finite.
    """
    if isinstance(engine, Pipeline):
        return _finite(engine.logits(np.stack(rows)).astype(np.float64))
    import torch

    return _logits(engine, torch.stack(list(rows)))


def _stream(
    run: Callable[[list[Any]], Iterable[Row]],
    items: Iterable[Item],
    prepare: Callable[[Item], Any],
    batch_size: int,
) -> Iterator[Row | UnreadableImage]:
    batch: list[Any] = []
    for prepared in _ahead(items, prepare, 2 * batch_size):
        batch.append(prepared)
        if len(batch) == batch_size:
            yield from _answers(run, batch)
            batch = []
    if batch:
        yield from _answers(run, batch)


def _answers(
    run: Callable[[list[Any]], Iterable[Row]], batch: list[Any]
) -> Iterator[Row | UnreadableImage]:
    readable = [prepared for prepared in batch if not isinstance(prepared, UnreadableImage)]
    rows = iter(run(readable) if readable else ())
    for prepared in batch:
        yield prepared if isinstance(prepared, UnreadableImage) else next(rows)


def _logits(engine: Engine, batch: "Tensor") -> Floats:
    return _finite(engine(batch).double().numpy())


def _finite(logits: Floats) -> Floats:
    if not np.isfinite(logits).all():
        raise CannotGoOn(
            "the network's answer to an image is not a finite number",
            fix="train again at a lower learning rate: these weights are unusable",
        )
    return logits


def in_colour(image: np.ndarray) -> np.ndarray:
    """(H, W, 3): what a pipeline reads, also of images that are grey (H, W, 1)."""
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def _ahead(items: Iterable[Item], prepare: Callable[[Item], Any], most: int) -> Iterator[Any]:
    """``prepare`` of every item in order, at most ``most`` of them begun before they are taken."""
    pool = ThreadPoolExecutor(min(READERS, available_cores()), thread_name_prefix="resnets-read")
    begun: deque[Future[Any]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(prepare, item))
            if len(begun) == most:
                yield _result(begun.popleft())
        while begun:
            yield _result(begun.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except UnreadableImage as error:
        return error
