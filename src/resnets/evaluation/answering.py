"""Images in, answers out: a network run over a stream of images, few of them held at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.cache import pixels_at
from resnets.data.sources import ArrayImages, Images
from resnets.data.transforms import normalise, to_pixels
from resnets.engines import Engine
from resnets.errors import CannotGoOn, UnreadableImage
from resnets.machine import available_cores
from resnets.metrics import Floats

Answer = Floats | UnreadableImage
"""(classes,) float64 logits, or why there are none."""
Item = TypeVar("Item")
Row = TypeVar("Row")

BATCH_SIZE = 64
READERS = 8
"""At most so many threads decode; more would only wait for the network."""


def predict_logits(
    engine: Engine,
    images: Images,
    preprocess: Preprocess,
    *,
    mean_image: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per image, in order; few images are held at a time."""
    run = partial(_logits, engine)
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


def stream_logits(
    engine: Engine,
    items: Iterable[Item],
    prepare: Callable[[Item], Tensor],
    *,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Answer]:
    """One answer per item, in order; ``prepare`` makes (C, H, W) tensors of items in threads.

    An ``UnreadableImage`` it raises becomes that item's answer; other errors end the stream.
    """
    return _stream(partial(_logits, engine), items, prepare, batch_size)


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


def _answers(
    run: Callable[[Tensor], Iterable[Row]], batch: list[Tensor | UnreadableImage]
) -> Iterator[Row | UnreadableImage]:
    tensors = [tensor for tensor in batch if isinstance(tensor, Tensor)]
    rows = iter(run(torch.stack(tensors)) if tensors else ())
    for tensor in batch:
        yield next(rows) if isinstance(tensor, Tensor) else tensor


def _logits(engine: Engine, batch: Tensor) -> Floats:
    logits = engine(batch).double().numpy()
    if not np.isfinite(logits).all():
        raise CannotGoOn(
            "the network's answer to an image is not a finite number",
            fix="train again at a lower learning rate: these weights are unusable",
        )
    return logits


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
