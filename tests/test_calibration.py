"""Probabilities that mean what they say, the answers they leave alone, and models compared."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from resnets import metrics
from resnets.errors import ConfigError, ModelFileError
from resnets.evaluation import Predictions, calibrate, combine, read_predictions
from resnets.evaluation.calibration import choose_threshold, fit_temperature


def overconfident(n: int = 600, classes: int = 5, *, factor: float = 3.0, seed: int = 0):
    """Logits whose softmax is the truth at ``temperature == factor``, and labels drawn so."""
    generator = np.random.default_rng(seed)
    true = 2 * generator.normal(size=(n, classes))
    labels = np.array([generator.choice(classes, p=p) for p in metrics.softmax(true)])
    return factor * true, labels


def predictions(logits: np.ndarray, labels: np.ndarray, **changes: object) -> Predictions:
    values: dict[str, object] = {
        "split": "val",
        "data": "made up",
        "classes": tuple(f"class {index}" for index in range(logits.shape[1])),
        "names": tuple(f"{index}.png" for index in range(len(labels))),
        "labels": labels,
        "logits": logits,
    }
    return Predictions(**(values | changes))  # type: ignore[arg-type]


# The temperature --------------------------------------------------------------------------------


def test_softmax_is_scipys() -> None:
    logits, _ = overconfident()
    for temperature in (0.3, 1.0, 7.0):
        np.testing.assert_allclose(
            metrics.softmax(logits, temperature),
            scipy.special.softmax(logits / temperature, axis=1),
            atol=1e-15,
        )
    assert metrics.softmax(np.array([1e4, -1e4])).tolist() == [1, 0]


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_the_least_log_loss(factor: float) -> None:
    logits, labels = overconfident(factor=factor)
    ours = fit_temperature(logits, labels)
    theirs = scipy.optimize.minimize_scalar(
        lambda t: metrics.log_loss(metrics.softmax(logits, t), labels),
        bounds=(0.01, 100),
        method="bounded",
        options={"xatol": 1e-9},
    ).x
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours == pytest.approx(factor, rel=0.1)  # the one the labels were drawn with


def test_the_temperature_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(400, 4))
    labels = np.array([generator.choice(3, p=p) for p in metrics.softmax(points[:, :3])])
    model = LogisticRegression(C=100).fit(points[:200], labels[:200])
    held_points, held_labels = points[200:], labels[200:]
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    theirs.fit(held_points, held_labels)
    logits = model.decision_function(held_points)
    ours = metrics.softmax(logits, fit_temperature(logits, held_labels))
    np.testing.assert_allclose(ours, theirs.predict_proba(held_points), atol=1e-4)


def test_calibrating_lowers_log_loss_and_calibration_error_and_changes_no_answer() -> None:
    found = predictions(*overconfident())
    calibration = calibrate(found)
    (before, after), (error_before, error_after) = (
        calibration.log_loss,
        calibration.calibration_error,
    )
    assert after < before and error_after < error_before / 2
    plain, scaled = found.probabilities(), found.probabilities(calibration.temperature)
    assert (plain.argmax(axis=1) == scaled.argmax(axis=1)).all()
    assert metrics.log_loss(scaled, found.labels) == after
    assert type(calibration).from_dict(calibration.to_dict()) == calibration


def test_right_answers_alone_and_few_images_give_no_temperature() -> None:
    logits, labels = overconfident()
    all_right = calibrate(predictions(logits, logits.argmax(axis=1)))
    few = calibrate(predictions(logits[:20], labels[:20]))
    for calibration, why in ((all_right, "are right"), (few, "20 images of val are too few")):
        assert calibration.temperature == 1.0
        assert any(why in note for note in calibration.notes)


# The threshold ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.02, 0.1, 0.3])
def test_the_threshold_answers_as_many_as_the_target_allows(target: float) -> None:
    logits, labels = overconfident(factor=1.0)
    probabilities = metrics.softmax(logits)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    best = (0, None)
    for threshold in top:  # every one there is, by brute force
        given = top >= threshold
        if (~right[given]).mean() <= target and given.sum() > best[0]:
            best = (int(given.sum()), threshold)
    threshold, covered, error = choose_threshold(probabilities, labels, target)
    assert (threshold, covered) == (best[1], best[0] / len(labels))
    assert error is not None and error <= target


def test_images_of_equal_probability_are_answered_together() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.7, 0.3]])
    labels = np.array([0, 0, 1, 0])
    found = metrics.coverage(probabilities, labels)
    assert [column.tolist() for column in found] == [[0.9, 0.8, 0.7], [1, 3, 4], [0, 1, 1]]
    assert choose_threshold(probabilities, labels, 0.2) == (0.9, 0.25, 0.0)


def test_where_no_threshold_reaches_the_target_there_is_none() -> None:
    logits, labels = overconfident()
    wrong = (logits.argmax(axis=1) + 1) % 5
    calibration = calibrate(predictions(logits, wrong))
    assert calibration.threshold is None
    assert any("no threshold reaches an error of 2.0%" in note for note in calibration.notes)
    with pytest.raises(ConfigError, match=r"a target error of 1\.5"):
        calibrate(predictions(logits, labels), target_error=1.5)


def test_scores_tell_what_the_threshold_does() -> None:
    found = predictions(*overconfident())
    calibration = calibrate(found, 0.1)
    chosen = found.scores(calibration.temperature, calibration.threshold).selective
    assert chosen and chosen.error
    assert (chosen.coverage.value, chosen.error.value) == (calibration.coverage, calibration.error)
    assert chosen.error.n == round(chosen.coverage.value * len(found))
    assert type(found.scores(1.0, 0.5)).from_dict(found.scores(1.0, 0.5).to_dict()).selective


# Two models -------------------------------------------------------------------------------------


def paired(both: int, ours: int, theirs: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    right = np.repeat([True, True, False, False], [both, ours, theirs, neither])
    other = np.repeat([True, False, True, False], [both, ours, theirs, neither])
    return right, other


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (5, 5), (12, 3), (1, 9), (400, 320)])
def test_mcnemar_is_the_exact_binomial_test(ours: int, theirs: int) -> None:
    p = metrics.mcnemar(*paired(50, ours, theirs, 7))
    expected = scipy.stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert p == pytest.approx(expected, rel=1e-12)


def test_the_paired_interval_covers_the_true_difference() -> None:
    generator = np.random.default_rng(0)
    covered, runs = 0, 2_000
    for _ in range(runs):
        drawn = generator.choice(4, size=200, p=[0.7, 0.12, 0.08, 0.1])
        low, high = metrics.paired_interval(np.isin(drawn, [0, 1]), np.isin(drawn, [0, 2]))
        covered += low <= 0.04 <= high
    assert 0.93 <= covered / runs <= 0.985


def test_the_paired_interval_of_equal_answers_and_of_opposite_ones() -> None:
    low, high = metrics.paired_interval(*paired(80, 0, 0, 20))
    assert low <= 0 <= high and -low == pytest.approx(high) and high < 0.05
    low, high = metrics.paired_interval(*paired(0, 100, 0, 0))
    assert low > 0.9 and high == 1
    ours, theirs = (
        metrics.paired_interval(*paired(60, 25, 5, 10)),
        metrics.paired_interval(*paired(60, 5, 25, 10)),
    )
    assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low))


# Several models together, and files -------------------------------------------------------------


def test_models_together_give_the_mean_of_their_probabilities_by_name() -> None:
    logits, labels = overconfident(40)
    other, _ = overconfident(40, seed=1)
    first = predictions(logits, labels)
    order = np.array([3, 1, 0, 2, 4])
    rows = np.random.default_rng(2).permutation(40)[:35]  # five images it could not read
    second = predictions(
        other[rows][:, order],
        np.argsort(order)[labels[rows]],
        classes=tuple(first.classes[index] for index in order),
        names=tuple(first.names[index] for index in rows),
    )
    together = combine([first, second], [2.0, 1.5])
    assert set(together.names) == {first.names[index] for index in rows}
    for row, name in enumerate(together.names):
        index = first.names.index(name)
        expected = (
            scipy.special.softmax(logits[index] / 2.0) + scipy.special.softmax(other[index] / 1.5)
        ) / 2
        np.testing.assert_allclose(together.probabilities()[row], expected, atol=1e-12)
        assert together.labels[row] == labels[index]


def test_models_of_other_classes_are_not_combined() -> None:
    logits, labels = overconfident(10)
    first = predictions(logits, labels)
    second = predictions(logits, labels, classes=("a", "b", "c", "d", "e"))
    with pytest.raises(ConfigError, match="another"):
        combine([first, second], [1, 1])


def test_predictions_survive_their_file(tmp_path: Path) -> None:
    logits, labels = overconfident(30)
    before = predictions(logits, labels, names=tuple(f"花 {n}\udce4.png" for n in range(30)))
    path = tmp_path / "predictions" / "val.npz"
    before.save(path)
    after = read_predictions(path)
    assert (after.names, after.classes, after.data) == (before.names, before.classes, "made up")
    np.testing.assert_array_equal(after.logits, logits.astype(np.float32))
    first = path.read_bytes()
    before.save(path)
    assert path.read_bytes() == first
    for damaged in (first[:1000], b"", first.replace(b"names", b"nomes")):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="holds no predictions"):
            read_predictions(path)
    with pytest.raises(ModelFileError, match="No such file"):
        read_predictions(tmp_path / "none.npz")


def test_log_of_a_vanishing_probability_stays_a_number() -> None:
    sure = predictions(np.array([[2000.0, 0.0]]), np.array([1]))
    assert math.isfinite(combine([sure, sure], [1, 1]).logits.min())
