"""Every image file read once, before training: hashed, checked, and into memory where it fits."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from resnets.console import Progress
from resnets.data.ledger import Facts, Ledger
from resnets.data.listing import told
from resnets.data.sources import ArrayImages, Dataset, FileImages, LeftOut, Split
from resnets.decoding import decode
from resnets.errors import DataError, UnreadableImage
from resnets.machine import available_cores

TOO_MANY = 0.2
"""The share of unreadable files beyond which the data set as a whole is refused."""
MEMORY = 2 * 2**30
"""Images that take no more bytes than this stay in memory."""
CHUNK = 64
"""Files a thread takes at a time: one by one, handing them out would cost as much as reading."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _File(NamedTuple):
    part: str
    images: FileImages
    position: int

    @property
    def name(self) -> str:
        return self.images.paths[self.position]

    @property
    def path(self) -> str:
        return os.path.join(self.images.root, self.name)


class _Seen(NamedTuple):
    facts: Facts
    grey: bool
    """All three channels are the same."""
    decoded: bool = False


def read_images(
    dataset: Dataset,
    *,
    seconds: float = 60,
    progress: Callable[[int, int], None] | None = None,
    memory: int = MEMORY,
    ledger: Ledger | None = None,
    too_many: float = TOO_MANY,
    lose_classes: bool = False,
) -> Dataset:
    """The data set with digests, without files that cannot be read, in memory where it fits.

    Images of one shape (with one channel if all are grey) that take at most ``memory`` bytes
    become arrays. Otherwise files are decoded as a check until ``seconds`` have passed, and a
    note says of how many only the header was read.

    Args:
        progress: told the images done and their number, now and then.
        ledger: what is known of the files; takes in what is found out, of the pixels too.
        too_many: the share of unreadable files, of at least five, beyond which all are refused.
        lose_classes: whether all training images of a class may be unreadable.

    Raises ``DataError`` when too many files are unreadable, or all training images of a class.
    """
    deadline = time.monotonic() + seconds
    files = [
        _File(part, split.images, position)
        for part, split in dataset.splits.items()
        if isinstance(split.images, FileImages)
        for position in range(len(split))
    ]
    tell = _HalfSteps(progress, sum(map(len, dataset.splits.values())), len(files))
    book = ledger or Ledger()
    seen = list(in_threads(lambda file: _inspect(file, book), files, tell))
    shape = _shared_shape(seen, memory)
    arrays = {
        part: np.empty((len(split), *shape), np.uint8)
        for part, split in dataset.splits.items()
        if shape and isinstance(split.images, FileImages)
    }

    def check(pair: tuple[_File, _Seen | str]) -> _Seen | str:
        file, found = pair
        array = arrays.get(file.part)
        late = time.monotonic() > deadline
        if isinstance(found, str) or (array is None and (late or found.decoded)):
            return found
        return _decode(file, array, None if late else ledger) or found._replace(decoded=True)

    found = list(in_threads(check, list(zip(files, seen, strict=True)), tell))
    notes = _notes(found, seconds)
    rows = iter(found)
    splits: dict[str, Split] = {}
    left_out: list[LeftOut] = []
    for part, split in dataset.splits.items():
        if isinstance(split.images, FileImages):
            outcome = list(islice(rows, len(split)))
            splits[part] = _readable(split, outcome, arrays.pop(part, None))
            left_out += [
                LeftOut(name, reason, part)
                for name, reason in zip(split.names, outcome, strict=True)
                if isinstance(reason, str)
            ]
        else:
            splits[part] = _with_digests(split)
    if len(files) >= 5 and len(left_out) > too_many * len(files):
        raise _too_many(dataset, left_out, len(files))
    if not lose_classes:
        _refuse_lost_classes(dataset, splits["train"], left_out)
    for part in [part for part, split in splits.items() if not len(split)]:
        notes.append(f"no image of {part} can be read: there is no such split")
        del splits[part]
    return replace(
        dataset,
        splits=splits,
        notes=(*dataset.notes, *notes),
        left_out=(*dataset.left_out, *left_out),
    )


@contextmanager
def reading_bar(progress: Progress, dataset: Dataset) -> Iterator[Callable[[int, int], None]]:
    """A bar over the images of a data set, as what ``read_images`` tells its progress to."""
    progress.begin("reading images", sum(map(len, dataset.splits.values())))
    done = 0

    def tell(count: int, total: int) -> None:
        nonlocal done
        progress.advance(count - done)
        done = count

    yield tell
    progress.end()


def _inspect(file: _File, ledger: Ledger) -> _Seen | str:
    """What a file's bytes and header tell, or the reason why it cannot be read."""
    try:
        facts = ledger.inspect(file.name, file.path)
    except (OSError, UnreadableImage) as error:
        return _reason(error)
    grey = facts.grey and len(set(file.images.background)) == 1
    return _Seen(facts, grey, decoded=bool(facts.pixels))


def _decode(file: _File, array: np.ndarray | None, ledger: Ledger | None) -> str | None:
    """Decode a file into its row of ``array``, or as a check; the reason where that fails."""
    try:
        with open(file.path, "rb") as opened:
            image = decode(opened.read(), background=file.images.background)
    except (OSError, UnreadableImage) as error:
        return _reason(error)
    if array is not None:
        if image.shape[:2] != array.shape[1:3]:
            return "has another size than its header says"
        array[file.position] = image[..., : array.shape[3]]
    if ledger:
        ledger.look(file.name, image)
    return None


def _reason(error: OSError | UnreadableImage) -> str:
    if isinstance(error, UnreadableImage):
        return error.problem.removeprefix("image: ")  # what bytes are called
    return f"could not be read ({error.strerror})"


def _shared_shape(seen: Sequence[_Seen | str], memory: int) -> tuple[int, int, int] | None:
    """Height, width and channels where all images share them and fit into memory."""
    readable = [item for item in seen if not isinstance(item, str)]
    shapes = {item.facts.shape for item in readable}
    if len(shapes) != 1:
        return None
    height, width = shapes.pop()
    channels = 1 if all(item.grey for item in readable) else 3
    fits = len(seen) * height * width * channels <= memory
    return (height, width, channels) if fits else None


def _readable(split: Split, outcome: Sequence[_Seen | str], array: np.ndarray | None) -> Split:
    """The split without the files whose outcome is a reason."""
    seen = [(index, item) for index, item in enumerate(outcome) if not isinstance(item, str)]
    kept = np.array([index for index, _ in seen], dtype=np.int64)
    if array is None:
        images = split.images.take(kept)
    else:
        images = ArrayImages(array if len(kept) == len(array) else array[kept])
    names = tuple(split.names[index] for index in kept)
    return Split(images, split.labels[kept], names, tuple(item.facts.digest for _, item in seen))


def _with_digests(split: Split) -> Split:
    """A split in memory, each array hashed."""
    digests = split.digests or tuple(
        hashlib.sha256(split.images[index].tobytes()).hexdigest() for index in range(len(split))
    )
    return replace(split, digests=digests)


def _too_many(dataset: Dataset, left_out: Sequence[LeftOut], files: int) -> DataError:
    first = told((f"{item.path} ({item.reason})" for item in left_out), most=10)
    return DataError(
        f"{len(left_out):,} of {files:,} files of {dataset.source} are unreadable: {first}",
        fix="mend or remove them; what opens elsewhere can be saved as JPEG or PNG; "
        "--allow unreadable trains without them",
    )


def _refuse_lost_classes(dataset: Dataset, train: Split, left_out: Sequence[LeftOut]) -> None:
    lost = np.setdiff1d(dataset.splits["train"].labels, train.labels)
    if len(lost):
        first = told(f"{item.path} ({item.reason})" for item in left_out)
        raise DataError(
            f"no training image of {told(repr(dataset.classes[label]) for label in lost)} "
            f"can be read; unreadable: {first}",
            fix="mend these files, or take the class out",
        )


def _notes(found: Sequence[_Seen | str], seconds: float) -> list[str]:
    late = sum(not isinstance(item, str) and not item.decoded for item in found)
    if not late:
        return []
    return [
        f"the check of all files was cut after {seconds:g} seconds: of {late:,} of "
        f"{len(found):,} only the header was read"
    ]


class _HalfSteps:
    """Tells progress in images: a file counts half when inspected, half when decoded."""

    def __init__(
        self, progress: Callable[[int, int], None] | None, images: int, files: int
    ) -> None:
        self.progress, self.images = progress, images
        self.halves = 2 * (images - files)

    def __call__(self, steps: int) -> None:
        self.halves += steps
        if self.progress:
            self.progress(self.halves // 2, self.images)


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], tell: Callable[[int], None]
) -> Iterator[Result]:
    """``work`` of every item, in order, on the cores this process may use."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    pool = ThreadPoolExecutor(available_cores())
    try:
        for results in pool.map(lambda chunk: [work(item) for item in chunk], chunks):
            yield from results
            tell(len(results))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the rest
