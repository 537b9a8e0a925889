"""How long experiments take, and the tables of errors beside the papers'."""

import csv
import math

import numpy as np
import pytest

from resnets.errors import ConfigError, UnknownName
from resnets.experiments import degradation, shortcuts, table6
from resnets.experiments import running as engine
from resnets.experiments.pace import Pace, Sizes, seconds_of, steps_within
from resnets.experiments.running import Length
from runs import save_folder
from test_experiments import NETS, TINY


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("tables") / "photos", 48, 16)


def read(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


# How long it takes --------------------------------------------------------------------------

SIZES = Sizes(train=45_000, val=5_000, test=10_000, batch=128, reading=5.0)
PACES = [Pace(step=0.1, validated=1e-3, scored=2e-3), Pace(step=0.3, validated=3e-3, scored=6e-3)]


def test_a_budget_holds_as_many_steps_as_fit():
    for budget in (300.0, 1_000.0, 3_600.0, 90_000.0):
        steps = steps_within(PACES, SIZES, budget)
        assert seconds_of(PACES, SIZES, steps) <= budget < seconds_of(PACES, SIZES, steps + 400)
    assert steps_within(PACES, SIZES, 200.0) == 0


def test_the_time_is_the_sum_of_its_parts():
    steps = round(10 * 45_000 / 128)  # ten epochs: ten validations
    training = steps * (0.1 + 0.3)
    validating = 10 * 5_000 * (1e-3 + 3e-3)
    scoring = (10_000 + 2_000) * (2e-3 + 6e-3)  # of the 5,000, 2,000 calibrate
    expected = training + validating + scoring + 2 * (5.0 + 2.5)
    assert seconds_of(PACES, SIZES, steps) == pytest.approx(expected)


def test_a_budget_in_which_nothing_fits_says_what_would(monkeypatch, photos, tmp_path):
    slow = Pace(step=1.0, validated=0.0, scored=10.0)
    monkeypatch.setattr(engine, "measure_pace", lambda *_: slow)
    with pytest.raises(ConfigError, match="take longer than 60 s") as raised:
        degradation(photos, nets=NETS, budget="1m", out=tmp_path / "out", **TINY)
    assert "--budget" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_length_is_given_once_and_above_zero():
    assert Length.of("1h", None) == Length(budget=3_600.0)
    with pytest.raises(ConfigError, match="both say how long"):
        Length.of("1h", 3)
    with pytest.raises(ConfigError, match="above zero"):
        Length.of(None, -1.0)


# Tables -------------------------------------------------------------------------------------

PRINTED = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # arXiv:1512.03385, Table 6


def test_table_6_has_mean_and_spread_beside_the_paper(photos, tmp_path):
    rows = table6(photos, nets=(20,), seeds=2, epochs=1, out=tmp_path, **TINY)
    wrong = []
    for seed in (0, 1):
        with np.load(tmp_path / f"resnet20-seed{seed}/predictions/test.npz") as answers:
            wrong.append((answers["logits"].argmax(1) != answers["labels"]).mean())
    (row,) = rows
    assert (row.net, row.runs, row.steps) == ("resnet20", 2, 4)
    assert row.paper_error == pytest.approx(PRINTED[20] / 100)
    assert row.error_mean == pytest.approx(np.mean(wrong))
    assert row.error_std == pytest.approx(np.std(wrong, ddof=1))
    assert row.error_best == pytest.approx(min(wrong))
    (kept,) = read(tmp_path / "table6.csv")
    assert float(kept["error_mean"]) == pytest.approx(row.error_mean)
    assert table6(photos, nets=(20,), seeds=2, epochs=1, out=tmp_path, **TINY) == rows


def test_the_papers_errors_are_those_it_prints():
    from resnets.experiments.table6 import TABLE_6

    errors = {depth: row.error for depth, row in TABLE_6.items()}
    assert errors == pytest.approx({depth: error / 100 for depth, error in PRINTED.items()})
    assert (TABLE_6[110].mean, TABLE_6[110].std) == pytest.approx((0.0661, 0.0016))


def test_a_depth_that_there_is_not(photos, tmp_path):
    with pytest.raises(UnknownName, match="resnet21"):
        table6(photos, nets=(21,), epochs=1, out=tmp_path, **TINY)


def test_shortcuts_differ_in_their_parameters_only_by_the_shortcuts(photos, tmp_path):
    rows = shortcuts(photos, seeds=1, epochs=0.5, out=tmp_path, **TINY)
    parameters = {row.told[0]: row.parameters for row in rows}
    a = 269_722 - 8 * 65  # two classes in place of ten
    growing = [(16, 32), (32, 64)]
    same = [(16, 16)] * 3 + [(32, 32)] * 2 + [(64, 64)] * 2
    with_norm = {pair: math.prod(pair) + 2 * pair[1] for pair in (*growing, *same)}
    b = a + sum(with_norm[pair] for pair in growing)
    c = b + sum(with_norm[pair] for pair in same)
    v2 = a + sum(math.prod(pair) for pair in growing)  # no norm in them; the others only move
    assert parameters == {"A": a, "B": b, "C": c, "v": v2}
    assert [row.paper_error for row in rows] == [0.0875, None, None, None]
    assert {row["net"] for row in read(tmp_path / "shortcuts.csv")} == {row.net for row in rows}
