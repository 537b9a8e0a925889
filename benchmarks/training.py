"""Train one of the published cases from scratch and record what it gave.

    python benchmarks/training.py sample --seed 0
    python benchmarks/training.py cifar10 --data DIR --seed 0    # DIR has train/ and test/
    python benchmarks/training.py flowers --data DIR --seed 0

A run is one row of results/training.csv: the accuracy on validation, where the epoch was chosen,
and on test, which was scored once; wall seconds of the whole command, and the largest process's
peak memory. Nothing else should run on the machine.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from recording import append

CASES = {
    "sample": ["--budget", "85s"],
    "tutorial": ["--recipe", "tutorial-cifar96", "--set", "steps=300"],
    "cifar10": ["--model", "resnet20", "--budget", "10m"],
    "flowers": ["--budget", "20m"],
}
FOLDERS = {"cifar10": "CIFAR10_DIR", "tutorial": "CIFAR10_DIR", "flowers": "FLOWERS_DIR"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("case", choices=CASES)
    arguments.add_argument("--data", help="folder with train/ and test/; not for sample")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--runs", type=Path, default=Path("runs/figures"))
    given = arguments.parse_args()
    if os.getloadavg()[0] > 0.7:
        print(f"the machine is busy (load {os.getloadavg()[0]:.2f}): not a figure", file=sys.stderr)
    data = "sample" if given.case == "sample" else given.data
    out = given.runs / f"{given.case}-{given.seed}"
    if data is None or out.exists():
        arguments.error("--data is needed" if data is None else f"{out} exists already")
    options = [*CASES[given.case], "--seed", str(given.seed)]
    load, began = os.getloadavg()[0], time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "resnets", "train", data, *options, "--out", str(out)],
        check=True,
    )
    seconds = time.monotonic() - began
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    record(given.case, options, out, seconds=seconds, peak_mb=peak_mb, load=load)


def record(
    case: str, options: list[str], out: Path, *, seconds: float, peak_mb: int, load: float
) -> None:
    """One row of results/training.csv from a finished run."""
    card = json.loads((out / "model" / "model.json").read_text())
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    speeds = sorted(float(row["images_per_second"]) for row in rows)
    scores = card["scores"]
    accuracy = scores["accuracy"]
    append(
        "training",
        {
            "case": case,
            "command": " ".join(["resnets train", FOLDERS.get(case, case), *options]),
            "model": card["architecture"],
            "recipe": card["training"]["recipe"],
            "seed": card["training"]["seed"],
            "epochs": rows[-1]["epoch"],
            "val_accuracy": round(card["training"]["val_accuracy"], 4),
            "test_accuracy": round(accuracy["value"], 4),
            "test_low": round(accuracy["low"], 4),
            "test_high": round(accuracy["high"], 4),
            "test_images": accuracy["n"],
            "seconds": round(seconds, 1),
            "images_per_second": speeds[len(speeds) // 2],
            "peak_mb": peak_mb,
            "load_before": round(load, 2),
        },
    )


if __name__ == "__main__":
    main()
