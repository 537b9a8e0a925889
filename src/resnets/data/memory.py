"""Images that are in memory, or in somebody's torch data set, as a ``Dataset``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from resnets.data.listing import natural_key, told
from resnets.data.sources import ArrayImages, Dataset, Images, ListImages, Split
from resnets.decoding import decode
from resnets.errors import DataError

Labelled = tuple[Any, Any]
"""N images and N labels."""

AS_UINT8 = "give uint8 from 0 to 255 in the order (H, W, C), with 1 or 3 channels"


def from_arrays(
    train: Labelled,
    *,
    val: Labelled | None = None,
    test: Labelled | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """A data set of arrays.

    Args:
        train, val, test: images and labels: (N, H, W, C) or (N, H, W) uint8, or a list of
            (H, W, C) arrays of many shapes, C 1 or 3; N class names, or N integers.
        classes: names in order, which integer labels index. Without them the classes are the
            labels of ``train``, sorted.

    Raises ``DataError`` for other arrays, and for a label that training lacks.
    """
    given = {"train": train, "val": val, "test": test}
    parts = {name: part for name, part in given.items() if part is not None}
    labels = {name: np.asarray(part[1]) for name, part in parts.items()}
    if classes is None:
        classes = sorted({str(label) for label in labels["train"].tolist()}, key=natural_key)
        labels = {name: part.astype(str) for name, part in labels.items()}
    return _dataset(
        "(arrays)", {name: _images(part[0], name) for name, part in parts.items()}, labels, classes
    )


def from_torch(train: Any, *, val: Any = None, test: Any = None, classes: Sequence[str]) -> Dataset:
    """A data set of torch data sets, read into memory once.

    Args:
        train, val, test: what ``torch.utils.data.Dataset`` describes, with items (image, label):
            a Pillow image, a (H, W, C) uint8 array or a (C, H, W) uint8 tensor; an index into
            ``classes`` or a name.

    Raises ``DataError`` for other items, e.g. where ``ToTensor`` is among the transforms.
    """
    images, labels = {}, {}
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            items = [part[index] for index in range(len(part))]
            images[name] = _images([_pixels(image, name) for image, _ in items], name)
            labels[name] = np.array([np.asarray(label).item() for _, label in items])
    return _dataset("(torch data set)", images, labels, classes)


def _dataset(
    source: str, images: dict[str, Images], labels: dict[str, np.ndarray], classes: Sequence[str]
) -> Dataset:
    names = tuple(map(str, classes))
    if len(set(names)) != len(names) or len(names) < 2:
        raise DataError(f"classes={names}", fix="give two or more names, each once")
    position = {name: index for index, name in enumerate(names)}
    splits, notes = {}, []
    for part, found in labels.items():
        if found.shape != (len(images[part]),) or not len(found):
            raise DataError(
                f"{part} has {len(images[part])} images and labels of shape {found.shape}",
                fix="give one label per image, and at least one image",
            )
        if found.dtype.kind in "UO":
            numbers = np.array([position.get(str(name), -1) for name in found], dtype=np.int64)
        elif found.dtype.kind in "iu":
            numbers = found.astype(np.int64)
        else:
            raise DataError(
                f"{part} has labels of type {found.dtype}", fix="give integers or class names"
            )
        strange = np.unique(found[(numbers < 0) | (numbers >= len(names))])
        if len(strange):
            raise DataError(
                f"{part} has labels that are no class: {told(strange.tolist())}",
                fix=f"label with {told(names)}, or with integers from 0 to {len(names) - 1}",
            )
        called = tuple(f"{part}/{index:05}" for index in range(len(numbers)))
        splits[part] = Split(images[part], numbers, called)
        if len(absent := np.setdiff1d(np.arange(len(names)), numbers)):
            notes.append(f"{part} has no image of {told(repr(names[label]) for label in absent)}")
    trained = set(splits["train"].labels.tolist())
    for part, split in splits.items():
        if lacking := sorted(set(split.labels.tolist()) - trained):
            raise DataError(
                f"{part} has images of {told(repr(names[label]) for label in lacking)}, "
                "of which train has none",
                fix=f"put images of these classes into train, or take them out of {part}",
            )
    return Dataset(source.strip("()"), source, names, splits, tuple(notes))


def _images(images: Any, part: str) -> Images:
    """(N, H, W, C) of one shape, or a list of arrays. Raises ``DataError`` for other types."""
    if isinstance(images, (list, tuple)):
        arrays = [np.asarray(image) for image in images]
        arrays = [array[..., None] if array.ndim == 2 else array for array in arrays]
        if any(array.shape[-1:] == (3,) for array in arrays):  # one grey among coloured ones
            arrays = [
                array.repeat(3, axis=2) if array.shape[2:] == (1,) else array for array in arrays
            ]
        for array in arrays:
            _check(array, part, dimensions=3)
        if len({array.shape for array in arrays}) != 1:
            return ListImages(arrays)
        return ArrayImages(np.stack(arrays))
    array = np.asarray(images)
    array = array[..., None] if array.ndim == 3 else array
    _check(array, part, dimensions=4)
    return ArrayImages(np.require(array, requirements=["C", "W"]))  # what torch.from_numpy takes


def _check(array: np.ndarray, part: str, *, dimensions: int) -> None:
    if array.dtype != np.uint8 or array.ndim != dimensions or array.shape[-1] not in (1, 3):
        raise DataError(
            f"{part} has images of type {array.dtype} and shape {array.shape}", fix=AS_UINT8
        )


def _pixels(image: Any, part: str) -> np.ndarray:
    """(H, W, C) uint8 of one item of a torch data set; C is 1 for a grey Pillow image."""
    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L") or image.mode.startswith("I")
        return decode(image)[..., : 1 if grey else 3]
    if hasattr(image, "permute"):
        array = image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy()
        if array.dtype != np.uint8:
            raise DataError(
                f"{part} gives images of type {image.dtype}",
                fix="take ToTensor and Normalize out of the data set's transforms: "
                "the preprocessing is ours to do",
            )
        return array
    return np.asarray(image)
