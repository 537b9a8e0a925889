"""Rows of figures for ``results/*.csv``, each with the machine and the versions it is from."""

import csv
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from resnets.machine import processor

RESULTS = Path(__file__).parent.parent / "results"
QUIET = 0.25
"""The most of one core that others may take while something is measured."""


def cores_in_use(seconds: float = 1.0) -> float:
    """How many cores other processes kept busy over that time; the load where nobody counts."""
    counters = Path("/proc/stat")
    if not counters.exists():
        return os.getloadavg()[0]

    def busy() -> float:
        user, nice, system, _, _, *interrupts = map(int, counters.read_text().split()[1:9])
        return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")

    before = busy() - time.process_time()
    time.sleep(seconds)
    return (busy() - time.process_time() - before) / seconds


def refuse_if_busy(*, force: bool = False) -> None:
    """End the program beside a busy process: what it would measure is no figure."""
    others = cores_in_use()
    if others > QUIET and not force:
        sys.exit(
            f"other processes keep {others:.2f} cores busy: nothing is measured or recorded\n"
            "  fix: wait for them, or --force to print figures that are not recorded"
        )


def append(table: str, row: dict[str, Any], *, force: bool = False) -> None:
    """Print a row and, unless forced beside others, append it to ``results/TABLE.csv``.

    There it stands after date, machine and versions.
    """
    print(row)
    if force:
        return
    versions = {name: importlib.metadata.version(name) for name in ("torch", "resnets")}
    full = {
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
        "python": platform.python_version(),
        **versions,
        **row,
    }
    path = RESULTS / f"{table}.csv"
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, full, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(full)
