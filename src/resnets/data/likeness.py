"""Whether two pictures show the same, judged from 16 x 16 grey pixels of each.

small_picture -> fingerprints -> near_pairs -> likeness. Fingerprints find the few pairs that are
worth a look; likeness looks: how much of one picture's detail the other one has.
"""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
_COSINES = 8
"""Lowest frequencies of each direction: 64 bits."""
_BLOCK = 2**22
"""Pairs that are compared at once: 32 MB of fingerprints."""

Small = NDArray[np.uint8]
"""(N, 16, 16)"""


def small_picture(image: NDArray[np.uint8]) -> Small:
    """(H, W, C) uint8 pixels, C 1 or 3 -> (16, 16) uint8: their means in grey."""
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def fingerprints(small: Small) -> NDArray[np.uint64]:
    """(N,) perceptual hashes: which of the 64 lowest cosine frequencies are above their median.

    Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, Section 3.1.
    """
    places = np.arange(SIDE) + 0.5
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(_COSINES), places)).astype(np.float32)
    strengths = (waves @ small.astype(np.float32) @ waves.T).reshape(len(small), -1)
    above = strengths > np.median(strengths[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64).reshape(len(small))


def near_pairs(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    radius: int,
    *,
    deadline: float = float("inf"),
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The pairs of fingerprints that differ in at most ``radius`` bits.

    Args:
        deadline: by ``time.monotonic()``; fingerprints whose turn has not come are left out.

    Yields for block after block of ``first`` how many it has, and the (K, 2) positions in
    ``first`` and ``second``.
    """
    rows = _rows_at_once(second)
    for start in range(0, len(first), rows):
        if time.monotonic() > deadline:
            return
        block = first[start : start + rows, None]
        near = np.flatnonzero(_ones(block ^ second) <= radius)  # far faster than in two dimensions
        one, two = np.divmod(near, len(second))
        yield len(block), np.stack([one + start, two], axis=1)


def _rows_at_once(others: NDArray[np.uint64]) -> int:
    return max(1, _BLOCK // max(1, len(others)))


def radius_for(
    first: NDArray[np.uint64], second: NDArray[np.uint64], *, largest: int, most: int
) -> int:
    """The largest radius that leaves about ``most`` pairs, judged from up to 256 of ``first``."""
    some = first[np.linspace(0, len(first) - 1, min(len(first), 256)).astype(np.int64)]
    counts = np.zeros(65, dtype=np.int64)
    rows = _rows_at_once(second)
    for start in range(0, len(some), rows):
        counts += np.bincount(_ones(some[start : start + rows, None] ^ second).ravel(), None, 65)
    expected = np.cumsum(counts) * len(first) / len(some)
    within = int(np.searchsorted(expected, most, "right")) - 1
    return min(largest, max(0, within))


def _ones(bits: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits are set."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(bits)
    table = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)
    return table[bits[..., None].view(np.uint8)].sum(axis=-1, dtype=np.uint8)


def likeness(first: Small, second: Small) -> NDArray[np.float64]:
    """(N,) how much of the fine detail of ``second`` ``first`` explains, from 0 to 1.

    ``first`` is moved and stretched onto ``second`` by least squares, by up to a tenth (one step
    of Lucas and Kanade 1981, Section 4), then both are reduced to what differs from the
    neighbouring pixels: brightness, contrast and soft backgrounds, in which most pictures of a
    kind agree, count for nothing.
    """
    parts = range(0, len(first), 512)
    found = [_likeness(first[i : i + 512], second[i : i + 512]) for i in parts]
    return np.concatenate(found) if found else np.zeros(0)


def _likeness(first: Small, second: Small) -> NDArray[np.float64]:
    source, target = first.astype(np.float32), second.astype(np.float32)
    weights, _ = _explained(_moves(source), target)
    source = _moved(source, weights)
    detail = np.stack([_detail(move) for move in _moves(source)])
    weights, share = _explained(detail, _detail(target))
    return np.where(weights[:, 0] > 0, share, 0.0)  # a negative is no copy


def _moves(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, N, S, S): the images, and how they change with x, y, width and height."""
    down, right = np.gradient(images, axis=(1, 2))
    y, x = _grid()
    return np.stack([images, right, down, x * right, y * down])


def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each pixel's place from the middle."""
    middle = (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE] - middle
    return y.astype(np.float32), x.astype(np.float32)


def _explained(
    causes: NDArray[np.float32], target: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares for each image: (N, K) weights of the causes and the explained share."""
    inner = (slice(None), slice(1, -1), slice(1, -1))
    wanted = target[inner].reshape(len(target), -1)
    wanted = wanted - wanted.mean(axis=1, keepdims=True)
    columns = np.stack([cause[inner].reshape(len(target), -1) for cause in causes], axis=1)
    columns = columns - columns.mean(axis=2, keepdims=True)
    products = (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
    onto = (columns @ wanted[..., None]).astype(np.float64)
    ridge = 1e-3 * np.eye(len(causes))  # levels²: a plain image explains nothing
    weights = np.linalg.solve(products + ridge, onto)[..., 0]
    variance = np.square(wanted, dtype=np.float64).sum(axis=1)
    share = (weights * onto[..., 0]).sum(axis=1) / np.maximum(variance, 1e-3)
    return weights, np.clip(share, 0.0, 1.0)


def _moved(images: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The images moved and stretched as the weights of ``_moves`` say, at most by a tenth."""
    scaled = weights[:, 1:] / np.maximum(weights[:, :1], 0.1)
    limits = np.array([0.1 * SIDE, 0.1 * SIDE, 0.1, 0.1])
    right, down, wider, taller = np.clip(scaled, -limits, limits).T[:, :, None, None]
    y, x = _grid()
    last = SIDE - 1
    x = np.clip(x + right + wider * x + last / 2, 0, last - 1e-3)
    y = np.clip(y + down + taller * y + last / 2, 0, last - 1e-3)
    left, top = x.astype(np.int64), y.astype(np.int64)
    x, y = x - left, y - top
    each = np.arange(len(images))[:, None, None]
    upper = (1 - x) * images[each, top, left] + x * images[each, top, left + 1]
    lower = (1 - x) * images[each, top + 1, left] + x * images[each, top + 1, left + 1]
    return ((1 - y) * upper + y * lower).astype(np.float32)


def _detail(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel less the mean of its four neighbours."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return images - around * np.float32(0.25)
