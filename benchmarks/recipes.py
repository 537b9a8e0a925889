"""Train a recipe on all 50,000 training images of CIFAR-10 and record what the test split says.

    python benchmarks/recipes.py speedrun-cifar10 --data CIFAR10_DIR --seed 0

Nothing validates and nothing is chosen: the recipe was settled on a validation part before. A run
is one row of results/recipes.csv: the accuracy of one view, which training ends with, that of the
mean over each image and its mirror image, and wall seconds of the whole commands, from before
Python starts to the exit, the reading of the images among them. Nothing else should run on the
machine.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from recording import append, refuse_if_busy

from resnets.training import RECIPES


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("recipe", choices=RECIPES)
    arguments.add_argument("--data", required=True, help="folder with train/ and test/")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    arguments.add_argument("--force", action="store_true", help="beside others; not recorded")
    given = arguments.parse_args()
    refuse_if_busy(force=given.force)
    out = given.runs / f"{given.recipe}-{given.seed}"
    if out.exists():
        arguments.error(f"{out} exists already")
    options = ["--recipe", given.recipe, "--set", "validation=0", "--seed", str(given.seed)]
    _, seconds = timed(["train", given.data, *options, "--out", str(out)])
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    mirrored, mirrored_seconds = timed(["evaluate", str(out), "--tta", "flip", "--json"])
    card = json.loads((out / "model" / "model.json").read_text())
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    single, flipped = card["scores"]["accuracy"], json.loads(mirrored)["accuracy"]
    append(
        "recipes",
        {
            "recipe": given.recipe,
            "command": " ".join(["resnets train CIFAR10_DIR", *options]),
            "model": card["architecture"],
            "seed": given.seed,
            "epochs": rows[-1]["epoch"],
            "steps": rows[-1]["step"],
            "test_accuracy": round(single["value"], 4),
            "test_low": round(single["low"], 4),
            "test_high": round(single["high"], 4),
            "flip_accuracy": round(flipped["value"], 4),
            "flip_low": round(flipped["low"], 4),
            "flip_high": round(flipped["high"], 4),
            "test_images": single["n"],
            "seconds": round(seconds, 1),
            "steps_seconds": round(sum(float(row["seconds"]) for row in rows), 1),
            "flip_seconds": round(mirrored_seconds, 1),
            "peak_mb": peak_mb,
        },
        force=given.force,
    )


def timed(arguments: list[str]) -> tuple[str, float]:
    """What a command of the package prints, and its wall seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "resnets", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout, time.monotonic() - began


if __name__ == "__main__":
    main()
