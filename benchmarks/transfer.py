"""What trained weights are worth on few images: 500 of five CIFAR-10 classes, three ways.

    python benchmarks/transfer.py --data DIR    # DIR has CIFAR-10 as train/CLASS/ and test/CLASS/

ResNet-20 is trained on five classes first. Then, for each seed, 100 training images of each of the
other five are trained on: from scratch, from those weights, and from those weights with everything
but the head frozen. Each is scored once on the 5,000 test images of the five classes. A run is one
row of results/transfer.csv; all take the same number of steps, so a busy machine changes the
seconds but no accuracy.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from recording import append

FIRST = ("airplane", "automobile", "bird", "cat", "deer")
OTHERS = ("dog", "frog", "horse", "ship", "truck")
PER_CLASS = 100
STEPS = 1_000
SOURCE_EPOCHS = 15


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--work", type=Path, default=Path("runs/transfer"))
    given = arguments.parse_args()
    data, work = given.data.absolute(), given.work.absolute()
    first = link(data, work / "first", FIRST)
    source = work / "source"
    learn("source", first, source, ["--epochs", str(SOURCE_EPOCHS)], seed=0)
    ways = {
        "from scratch": [],
        "from trained weights": ["--from", str(source)],
        "head only, the rest frozen": ["--from", str(source), "--freeze", "all"],
    }
    for seed in range(given.seeds):
        few = link(data, work / f"few-{seed}", OTHERS, per_class=PER_CLASS, seed=seed)
        for number, (way, options) in enumerate(ways.items()):
            out = work / f"run-{seed}-{number}"
            learn(way, few, out, [*options, "--set", f"steps={STEPS}"], seed=seed)


def link(
    data: Path,
    folder: Path,
    classes: tuple[str, ...],
    *,
    per_class: int | None = None,
    seed: int = 0,
) -> Path:
    """A folder of links to some classes, and in training to some images of each."""
    for split in ("train", "test"):
        for name in classes:
            files = sorted((data / split / name).iterdir())
            if split == "train" and per_class:
                files = random.Random(f"{seed} {name}").sample(files, per_class)
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for file in files:
                if not (place / file.name).exists():
                    (place / file.name).symlink_to(file)
    return folder


def learn(way: str, data: Path, out: Path, options: list[str], *, seed: int) -> None:
    """Train and record, unless that has been done."""
    if out.exists():
        return
    command = ["--model", "resnet20", *options, "--seed", str(seed)]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "resnets", "train", str(data), *command, "--out", str(out)],
        check=True,
    )
    seconds = time.monotonic() - began
    card = json.loads((out / "model" / "model.json").read_text())
    accuracy = card["scores"]["accuracy"]
    counts = json.loads((out / "data.json").read_text())["splits"]
    shown = " ".join(command).replace(str(out.parent) + "/", "")
    append(
        "transfer",
        {
            "way": way,
            "command": f"resnets train {data.name} {shown}",
            "seed": seed,
            "train_images": counts["train"]["count"],
            "val_images": counts["val"]["count"],
            "steps": card["training"]["steps"],
            "val_accuracy": round(card["training"]["val_accuracy"], 4),
            "test_accuracy": round(accuracy["value"], 4),
            "test_low": round(accuracy["low"], 4),
            "test_high": round(accuracy["high"], 4),
            "test_images": accuracy["n"],
            "seconds": round(seconds, 1),
        },
    )


if __name__ == "__main__":
    main()
