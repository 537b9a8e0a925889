"""Rows of figures for ``results/*.csv``, each with the machine and the versions it is from."""

import csv
import datetime
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"


def processor() -> str:
    """The processor's name and the cores this process may use, as in ``AMD EPYC, 2 cores``."""
    from resnets.machine import available_cores

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {available_cores()} cores"


def append(table: str, row: dict[str, Any]) -> None:
    """Append a row to ``results/TABLE.csv``, after date, machine and versions."""
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
    print(row)
