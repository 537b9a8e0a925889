"""Scores equal scikit-learn's and torchmetrics'; intervals cover the truth as often as they say."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
)

from resnets import metrics

SHAPES = [(1, 2), (7, 2), (40, 3), (200, 10), (300, 100), (50, 100)]
"""Images, classes: two classes, many, more than there are images."""


def draw(n: int, classes: int, seed: int = 0, *, sure: float = 2.0) -> tuple[np.ndarray, ...]:
    """Probabilities that lean towards the labels, and labels that leave out some classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, max(1, classes - classes // 3), n)
    logits = generator.normal(size=(n, classes)) * sure
    logits[np.arange(n), labels] += sure * generator.random(n)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(("n", "classes"), SHAPES)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_equals_scikit_learn_and_torchmetrics(n: int, classes: int, k: int) -> None:
    probabilities, labels = draw(n, classes)
    ours = metrics.top_k_accuracy(probabilities, labels, k)
    if k < classes:
        scores = probabilities[:, 1] if classes == 2 else probabilities
        theirs = sklearn.metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
        assert ours == pytest.approx(theirs, abs=1e-12)
        other = multiclass_accuracy(
            torch.tensor(probabilities),
            torch.tensor(labels),
            num_classes=classes,
            average="micro",
            top_k=k,
        )
        assert ours == pytest.approx(float(other), abs=1e-6)
    else:
        assert ours == 1


def test_of_equal_probabilities_the_first_class_is_likelier() -> None:
    even = np.full((3, 4), 0.25)
    labels = np.array([0, 1, 3])
    assert metrics.top_k_correct(even, labels, 1).tolist() == [True, False, False]
    assert metrics.top_k_correct(even, labels, 2).tolist() == [True, True, False]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 12), st.integers(1, 40))
def test_confusion_and_class_scores_equal_scikit_learn(
    data: st.DataObject, classes: int, n: int
) -> None:
    indices = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    labels, predicted = np.array(data.draw(indices)), np.array(data.draw(indices))
    confusion = metrics.confusion_matrix(predicted, labels, classes)
    names = range(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one class alone: scikit-learn asks whether it is meant
        theirs = sklearn.metrics.confusion_matrix(labels, predicted, labels=names)
    assert np.array_equal(confusion, theirs)
    expected = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=0
    )
    for ours, theirs in zip(metrics.per_class(confusion), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-15)


def test_rows_of_the_confusion_matrix_are_true_classes() -> None:
    confusion = metrics.confusion_matrix(np.array([1, 1]), np.array([0, 0]), 2)
    assert confusion.tolist() == [[0, 2], [0, 0]]


@pytest.mark.parametrize(("n", "classes"), SHAPES)
def test_log_loss_and_brier_equal_scikit_learn(n: int, classes: int) -> None:
    probabilities, labels = draw(n, classes, seed=1)
    names = np.arange(classes)
    assert metrics.log_loss(probabilities, labels) == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities, labels=names), rel=1e-12
    )
    theirs = sklearn.metrics.brier_score_loss(
        labels, probabilities, labels=names, scale_by_half=False
    )
    assert metrics.brier(probabilities, labels) == pytest.approx(theirs, rel=1e-12)


def test_a_certain_and_wrong_answer_costs_what_scikit_learn_says() -> None:
    probabilities, labels = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 0])
    theirs = sklearn.metrics.log_loss(labels, probabilities, labels=[0, 1])
    assert metrics.log_loss(probabilities, labels) == pytest.approx(theirs, rel=1e-12)
    assert metrics.brier_scores(probabilities, labels).tolist() == [2, 0]


@pytest.mark.parametrize(("n", "classes"), SHAPES)
@pytest.mark.parametrize("sure", [0.3, 2.0, 8.0])
def test_calibration_error_equals_torchmetrics(n: int, classes: int, sure: float) -> None:
    probabilities, labels = draw(n, classes, seed=2, sure=sure)
    probabilities = np.minimum(probabilities, 1 - 1e-6)  # it gives certainty a bin of its own
    theirs = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), num_classes=classes, n_bins=15, norm="l1"
    )
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(
        float(theirs), abs=2e-6
    )


def test_calibration_error_equals_its_definition_written_out() -> None:
    probabilities, labels = draw(500, 5, seed=3)
    probabilities[0] = [0, 0, 1, 0, 0]
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0.0
    for m in range(15):  # arXiv:1706.04599, Eq. 3
        inside = (top >= m / 15) & ((top < (m + 1) / 15) | (m == 14))
        if inside.any():
            error += inside.sum() / 500 * abs(right[inside].mean() - top[inside].mean())
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(error, abs=1e-12)


@given(st.integers(1, 60_000), st.floats(0, 1))
def test_wilson_interval_equals_scipy(n: int, share: float) -> None:
    successes = round(share * n)
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    interval = metrics.wilson_interval(successes, n)
    assert interval.low == pytest.approx(theirs.low, abs=1e-12)
    assert interval.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1


def covered(intervals: list[metrics.Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_wilson_interval_covers_the_truth_as_often_as_it_says(p: float) -> None:
    draws = np.random.default_rng(0).binomial(500, p, size=2_000)
    intervals = [metrics.wilson_interval(int(successes), 500) for successes in draws]
    assert 0.93 <= covered(intervals, p) <= 0.97


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [
        metrics.bootstrap_interval(generator.exponential(size=200), seed=seed, resamples=300)
        for seed in range(2_000)
    ]
    assert 0.93 <= covered(intervals, 1.0) <= 0.97


@pytest.mark.parametrize("excess", [0.0, 0.1, 0.3])
def test_calibration_interval_covers_the_truth(excess: float) -> None:
    generator = np.random.default_rng(1)

    def gaps(n: int) -> np.ndarray:
        """Two classes; an answer of probability p is right less often than p, by ``excess``."""
        top = 0.5 + 0.5 * generator.beta(3, 1, n)
        right = generator.random(n) < top - excess * (2 * top - 1)
        probabilities = np.stack([top, 1 - top], axis=1)
        return metrics.calibration_gaps(probabilities, np.where(right, 0, 1))

    truth = np.abs(gaps(2_000_000).mean(axis=0)).sum()
    intervals = [metrics.calibration_interval(gaps(400), resamples=200) for _ in range(300)]
    assert covered(intervals, truth) >= 0.92


def test_the_bootstrap_gives_the_same_interval_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=300)
    assert metrics.bootstrap_interval(values, seed=3) == metrics.bootstrap_interval(values, seed=3)
    assert metrics.bootstrap_interval(values, seed=3) != metrics.bootstrap_interval(values, seed=4)


def test_the_bootstrap_draws_whole_rows_and_keeps_memory_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    doubled = np.concatenate([values, 2 * values], axis=1)
    monkeypatch.setattr(metrics, "DRAWS_AT_ONCE", 120)  # two resamples at a time
    means = metrics.resampled_means(doubled, resamples=7)
    assert means.shape == (7, 4)
    np.testing.assert_allclose(means[:, 2:], 2 * means[:, :2])
    theirs = np.random.default_rng(0).integers(0, 50, size=(2, 50))
    np.testing.assert_allclose(means[:2, :2], values[theirs].mean(axis=1))


@pytest.mark.parametrize(
    "function",
    [metrics.top_k_accuracy, metrics.log_loss, metrics.brier, metrics.calibration_error],
)
def test_no_images_is_an_error(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match="no images"):
        function(np.empty((0, 3)), np.empty(0, dtype=np.int64))


def test_no_images_has_no_interval_and_no_confusion() -> None:
    none = np.empty(0, dtype=np.int64)
    with pytest.raises(ValueError, match="no images"):
        metrics.confusion_matrix(none, none, 3)
    with pytest.raises(ValueError, match="no images"):
        metrics.bootstrap_interval(np.empty(0))
    with pytest.raises(ValueError, match="0 of 0"):
        metrics.wilson_interval(0, 0)


def test_a_probability_that_is_no_number_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="no number"):
        metrics.log_loss(np.array([[0.5, np.nan]]), np.array([0]))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to 2"):
        metrics.log_loss(np.full((1, 3), 1 / 3), np.array([label]))
    with pytest.raises(ValueError, match="outside 0 to 2"):
        metrics.confusion_matrix(np.array([0]), np.array([label]), 3)
