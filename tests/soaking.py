"""Counts of the long tests: few in `make test`, all in `make soak`, which writes results down."""

import importlib
import os
import sys
from pathlib import Path

SOAK = bool(os.environ.get("RESNETS_SOAK"))


def cases(few: int, all_of_them: int) -> int:
    """How many to try."""
    return all_of_them if SOAK else few


def record(what: str, passed: int, of: int, seconds: float) -> None:
    """In a soak, a row of results/reliability.csv."""
    if SOAK:
        sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
        append = importlib.import_module("recording").append
        row = {"what": what, "passed": passed, "of": of, "seconds": round(seconds)}
        append("reliability", row | {"command": "make soak"})
