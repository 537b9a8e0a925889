"""Errors say what happened and what to do, and survive a process border."""

import pickle

import pytest

from resnets.errors import (
    DataError,
    Interrupted,
    MissingExtra,
    ResnetsError,
    UnknownName,
    require,
)

KINDS = [
    DataError("photos/a.jpg is cut off", fix="copy it again"),
    UnknownName("model", "resnet-50", ["resnet50"], listing="see `resnets models`"),
    Interrupted("stopped", fix="the same command continues", exit_code=143),
]


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_border_whole(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
    assert (copy.problem, copy.fix, copy.exit_code) == (error.problem, error.fix, error.exit_code)


def test_two_lines_problem_and_fix():
    error = ResnetsError("no folder photos", fix="make it")
    assert str(error).splitlines() == ["no folder photos", "  fix: make it"]


def test_a_missing_extra_says_what_to_install():
    with pytest.raises(MissingExtra, match=r"pip install 'resnets\[plot\]'"):
        require("no_such_package_anywhere", extra="plot")
