"""How long the command line takes to answer, in a warm file cache: medians of whole processes.

    python benchmarks/startup.py
    python benchmarks/startup.py --force      # prints only, busy or not

``resnets predict`` classifies one photo with a sealed ResNet-18; it and ``import torch`` take
turns, and the rows after them say what it does in its time. The last row is what ``resnets
verify`` takes to hold every network to its claims. About two minutes; rows go to
results/startup.csv.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from recording import append, refuse_if_busy

TORCH = ["-c", "import torch"]
HELP = ["-m", "resnets", "--help"]
VERSION = ["-m", "resnets", "--version"]
VERIFY = ["-m", "resnets", "verify"]

PARTS = """
import json, sys, time
parts, before = {}, time.perf_counter()
def done(part):
    global before
    now = time.perf_counter()
    parts[part], before = now - before, now
import torch
done("import torch")
import resnets.cli
done("the command line (typer)")
import resnets.prediction, resnets.console
done("the rest of resnets, Pillow, safetensors")
classifier = resnets.prediction.load(sys.argv[1])
done("reading and checking the model")
network = classifier.engine._network(torch.zeros(1, *classifier.preprocess.input_size))
done("folding batch norms")
list(classifier.predict_files([sys.argv[2]]))
done("reading the image and answering")
print(json.dumps(parts))
"""
"""``resnets predict RUN IMAGE`` step by step."""

Record = Callable[[str, dict[str, object]], None]


def run(arguments: list[str]) -> tuple[float, str]:
    """The seconds a whole process takes, and what it prints."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return time.monotonic() - began, done.stdout


def tell(record: Record, command: str, seconds: list[float]) -> None:
    row = {
        "command": command,
        "runs": len(seconds),
        "median_seconds": round(statistics.median(seconds), 3),
        "min_seconds": round(min(seconds), 3),
        "max_seconds": round(max(seconds), 3),
    }
    record("startup", row)


def take_turns(record: Record, commands: dict[str, list[str]], runs: int) -> None:
    """Each command so many times, one after the other; the first turn fills the file cache."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, arguments in commands.items():
            took, _ = run(arguments)
            if turn:
                seconds[name].append(took)
    for name, found in seconds.items():
        tell(record, name, found)


def parts_of_predict(record: Record, model: str, image: str, runs: int) -> None:
    found = [json.loads(run(["-c", PARTS, model, image])[1]) for _ in range(runs)]
    for part in found[0]:
        tell(record, f"resnets predict, of that: {part}", [each[part] for each in found])


def write_model(folder: Path) -> tuple[str, str]:
    """A sealed ResNet-18 with drawn weights, and a photo's worth of noise."""
    import numpy as np
    import PIL.Image

    from resnets.checkpoint import seal
    from resnets.config import Preprocess
    from resnets.models import create_model

    card = {
        "architecture": "resnet18",
        "options": {},
        "num_classes": 10,
        "label_names": list("abcdefghij"),
        "preprocess": Preprocess(input_size=(3, 224, 224)).to_dict(),
    }
    seal(folder / "model", create_model("resnet18", num_classes=10, seed=0).state_dict(), card)
    pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(folder / "photo.jpg")
    return str(folder / "model"), str(folder / "photo.jpg")


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    refuse_if_busy(force=given.force)
    record: Record = partial(append, force=given.force)
    take_turns(record, {"resnets --help": HELP, "resnets --version": VERSION}, 11)
    with tempfile.TemporaryDirectory() as folder:
        model, image = write_model(Path(folder))
        predict = ["-m", "resnets", "predict", model, image]
        commands = {"python -c 'import torch'": TORCH, "resnets predict": predict}
        take_turns(record, commands, 5)
        parts_of_predict(record, model, image, 5)
    take_turns(record, {"resnets verify": VERIFY}, 3)


if __name__ == "__main__":
    main()
