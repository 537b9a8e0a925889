"""How good answers are: scores and their 95 % intervals, pure functions on arrays.

Shapes: ``probabilities`` (N, C), each row summing to one; ``labels`` and ``predicted`` (N,)
class indices; a confusion matrix is (C, C), true classes in rows, predicted ones in columns.
No images is a ``ValueError``; a probability that is no number is a mistake of ours.
"""

import math
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


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """(N, C) or (C,) probabilities of logits over a temperature (arXiv:1706.04599, Eq. 9)."""
    scaled = np.asarray(logits, np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


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


class Coverage(NamedTuple):
    """(K,) each, one entry per distinct top probability, the highest first."""

    thresholds: Floats
    answered: Ints
    """Images whose top probability is at least the threshold."""
    wrong: Ints
    """The wrong ones among them."""


def coverage(probabilities: Floats, labels: Ints) -> Coverage:
    """How many answers each threshold lets through, and how many of them are wrong."""
    top = probabilities.max(axis=1)
    order = np.argsort(-top, kind="stable")
    wrong = np.cumsum(~top_k_correct(probabilities, labels)[order], dtype=np.int64)
    last = np.flatnonzero(np.append(np.diff(top[order]) != 0, True))  # equals go together
    return Coverage(top[order][last], last + 1, wrong[last])


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


def mcnemar(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The two-sided exact p of two models being equally often right on the same images.

    McNemar 1947 with the binomial distribution: of the images that one alone has right, each is
    as likely the one's as the other's. (N,) each; 1 where there is no such image.
    """
    ours, theirs = alone(right, other)
    n = ours + theirs
    tail = sum(math.comb(n, k) for k in range(min(ours, theirs) + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def paired_interval(
    right: NDArray[np.bool_], other: NDArray[np.bool_], z: float = Z_95
) -> Interval:
    """Of the accuracy of ``right`` less that of ``other``, on the same images.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10: the two Wilson intervals, squared and added, with the
    correlation of the pairs.
    """
    ours, theirs = alone(right, other)
    n, both = len(right), int((right & other).sum())
    neither = n - both - ours - theirs
    first, second = (both + ours) / n, (both + theirs) / n
    low, high = wilson_interval(both + ours, n, z)
    low_other, high_other = wilson_interval(both + theirs, n, z)
    product = (both + ours) * (theirs + neither) * (both + theirs) * (ours + neither)
    covered = float(both * neither - ours * theirs)
    if covered > 0:  # Newcombe's correction for continuity
        covered = max(covered - n / 2, 0.0)
    correlation = covered / math.sqrt(product) if product else 0.0

    def spread(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))

    difference = first - second
    return Interval(
        max(-1.0, difference - spread(first - low, high_other - second)),
        min(1.0, difference + spread(high - first, second - low_other)),
    )


def alone(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int]:
    """How many images the first alone has right, and how many the other alone."""
    if right.shape != other.shape or right.ndim != 1 or not len(right):
        raise ValueError(
            f"answers to the same images are compared, not {right.shape} {other.shape}"
        )
    return int((right & ~other).sum()), int((other & ~right).sum())


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
