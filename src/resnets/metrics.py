"""How good answers are: scores and their 95 % intervals, pure functions on arrays.

Shapes: ``probabilities`` (N, C), each row summing to one; ``labels`` and ``predicted`` (N,)
class indices; a confusion matrix is (C, C), true classes in rows, predicted ones in columns.
No images is a ``ValueError``; a probability that is no number is a mistake of ours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15  # Guo et al. 2017, arXiv:1706.04599, Section 5
RESAMPLES = 1000
Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""
DRAWS_AT_ONCE = 2**21
"""Bounds the bootstrap's memory to about 50 MB."""


class Interval(NamedTuple):
    """Where the true value lies with 95 % confidence."""

    low: float
    high: float


class PerClass(NamedTuple):
    """(C,) each; support is the number of images that truly are of the class."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


def top_k_correct(probabilities: Floats, labels: Ints, k: int = 1) -> NDArray[np.bool_]:
    """(N,): whether the label is among the k likeliest classes; of equals the first wins."""
    own = probability_of(probabilities, labels)[:, None]
    earlier = np.arange(probabilities.shape[1]) < np.asarray(labels)[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & earlier)
    return ahead.sum(axis=1) < k


def top_k_accuracy(probabilities: Floats, labels: Ints, k: int = 1) -> float:
    """Share of images whose label is among the k likeliest classes."""
    return float(top_k_correct(probabilities, labels, k).mean())


def confusion_matrix(predicted: Ints, labels: Ints, classes: int) -> Ints:
    """(C, C) counts: ``[i, j]`` images of class i were called j."""
    predicted, labels = np.asarray(predicted, np.int64), np.asarray(labels, np.int64)
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ValueError(f"predicted {predicted.shape} and labels {labels.shape} differ")
    _check_indices(predicted, classes)
    _check_indices(labels, classes)
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64)


def per_class(confusion: Ints) -> PerClass:
    """Of every class, from a confusion matrix; zero where there is nothing to divide by."""
    hits = np.diagonal(confusion)
    support, called = confusion.sum(axis=1), confusion.sum(axis=0)
    return PerClass(
        precision=_share(hits, called),
        recall=_share(hits, support),
        f1=_share(2 * hits, support + called),
        support=support,
    )


def log_losses(probabilities: Floats, labels: Ints) -> Floats:
    """(N,): -ln of the label's probability, which counts as the float's epsilon at least."""
    own = probability_of(probabilities, labels)
    return -np.log(np.maximum(own, np.finfo(own.dtype).eps))


def log_loss(probabilities: Floats, labels: Ints) -> float:
    """Mean of ``log_losses``, in nats."""
    return float(log_losses(probabilities, labels).mean())


def brier_scores(probabilities: Floats, labels: Ints) -> Floats:
    """(N,): squared error summed over all classes (Brier 1950), from 0 to 2."""
    own = probability_of(probabilities, labels)
    return np.einsum("nc,nc->n", probabilities, probabilities) - 2 * own + 1


def brier(probabilities: Floats, labels: Ints) -> float:
    """Mean of ``brier_scores``: not halved, not divided by the number of classes."""
    return float(brier_scores(probabilities, labels).mean())


def calibration_gaps(probabilities: Floats, labels: Ints, bins: int = BINS) -> Floats:
    """(N, bins): right or wrong minus the top probability, in the bin the top probability is in.

    Bins are equally wide and hold their lower edge, the last one both.
    """
    right = top_k_correct(probabilities, labels)
    top = probabilities.max(axis=1)
    gaps = np.zeros((len(top), bins))
    gaps[np.arange(len(top)), np.minimum((top * bins).astype(np.int64), bins - 1)] = right - top
    return gaps


def calibration_error(probabilities: Floats, labels: Ints, bins: int = BINS) -> float:
    """Expected calibration error of the top class (arXiv:1706.04599, Eq. 3)."""
    gaps = calibration_gaps(probabilities, labels, bins)
    return float(np.abs(gaps.mean(axis=0)).sum())


def wilson_interval(successes: int, n: int, z: float = Z_95) -> Interval:
    """Of a share (Wilson 1927); unlike the normal approximation it holds near 0 and 1."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no share")
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # rounding must not push the share itself out of its interval
    low = max(0.0, min(share, float((centre - spread) / scale)))
    high = min(1.0, max(share, float((centre + spread) / scale)))
    return Interval(low, high)


def bootstrap_interval(
    values: Floats, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Of the mean of one value per image, by the percentile bootstrap (Efron 1979)."""
    means = resampled_means(np.asarray(values)[:, None], seed=seed, resamples=resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def calibration_interval(
    gaps: Floats, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Of the expected calibration error, from ``calibration_gaps``.

    Noise adds to a sum of absolute values, in the data and again in each resample, so plain
    percentiles lie too high. The error differs from the true one by at most the sum of the
    bins' noise (triangle inequality): that bounds it below. Above, the percentile is mirrored.
    """
    value = np.abs(gaps.mean(axis=0)).sum()
    means = resampled_means(gaps, seed=seed, resamples=resamples)
    noise = np.quantile(np.abs(means - gaps.mean(axis=0)).sum(axis=1), level)
    lowest = np.quantile(np.abs(means).sum(axis=1), (1 - level) / 2)
    high = min(1.0, max(value, 2 * value - lowest))
    return Interval(max(0.0, float(value - noise)), float(high))


def resampled_means(values: Floats, *, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """(resamples, K) means of N rows drawn with replacement from ``values`` (N, K)."""
    n = len(values)
    if n == 0:
        raise ValueError("no images to resample")
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // n)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = times.astype(np.float64) @ values / n
    return means


def probability_of(probabilities: Floats, labels: Ints) -> Floats:
    """(N,): the probability each image's label was given."""
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} differ")
    _check_indices(labels, probabilities.shape[1])
    if np.isnan(probabilities).any():
        raise AssertionError("a probability is no number")
    return probabilities[np.arange(len(labels)), labels]


def _check_indices(indices: Ints, classes: int) -> None:
    if len(indices) == 0:
        raise ValueError("no images to score")
    if indices.min() < 0 or indices.max() >= classes:
        raise ValueError(f"a class index lies outside 0 to {classes - 1}")


def _share(part: Ints, whole: Ints) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
