"""Tables of a paper's experiment that was run again."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resnets.console.text import console_for, print_table

HEADS = ["net", "", ">parameters", ">paper", ">test error", ">best", ">runs", ">last validation"]


def show_errors(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print each network's errors in percent beside the paper's.

    Args:
        rows: with the fields of ``resnets.experiments.NetErrors``.
    """
    told = [
        [
            row["net"],
            row["told"],
            f"{row['parameters']:,}",
            _paper(row),
            _spread(row["error_mean"], row["error_std"]),
            _percent(row["error_best"]),
            str(row["runs"]),
            _percent(row["last_val_error"]),
        ]
        for row in rows
    ]
    print_table(console_for(sys.stdout), title, HEADS, told)


def _paper(row: Mapping[str, Any]) -> str:
    if row["paper_error"] is None:
        return ""
    mean = _spread(row["paper_mean"], row["paper_std"])
    return _percent(row["paper_error"]) + (f" ({mean})" if mean else "")


def _spread(mean: float | None, std: float | None) -> str:
    return _percent(mean) + (f" ± {100 * std:.2f}" if std is not None else "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
