"""Peak memory of training, and what recomputed activations cost: each case in a fresh process.

    python benchmarks/memory.py             # all cases, about four minutes on two cores
    python benchmarks/memory.py resnet1202  # with and without --checkpoint-activations, in turns

A case is a few steps of `resnets train` on random pixels, in the precision and layout that a run
would choose. A line says the peak resident memory of its process, with the libraries, and the
seconds of a step; that of a case with recomputed activations also its ratio to the one without.
Each is one row of results/memory.csv.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from recording import append, refuse_if_busy


@dataclass(frozen=True)
class Case:
    """A network and the batch it is trained with."""

    model: str
    side: int
    batch: int
    steps: int = 5
    checkpoint: bool = False


CASES = [
    Case("resnet20", 32, 256),
    Case("resnet18", 96, 64),
    Case("resnet50", 224, 16),
    Case("resnet1202", 32, 128, steps=2),
    Case("resnet1202", 32, 128, steps=2, checkpoint=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", choices=sorted({case.model for case in CASES}))
    parser.add_argument("--threads", type=int, help="by default those of a run")
    parser.add_argument("--force", action="store_true", help="beside others; nothing is recorded")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measured(CASES[given.one], given.threads)))
        return
    plain: dict[str, float] = {}
    for place, case in enumerate(CASES):
        if given.model not in (None, case.model):
            continue
        refuse_if_busy(force=given.force)
        command = [sys.executable, __file__, "--one", str(place)]
        command += ["--threads", str(given.threads)] if given.threads else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        plain.setdefault(case.model, row["median_seconds"])
        row["times_as_long"] = round(row["median_seconds"] / plain[case.model], 3)
        row = {"command": f"benchmarks/memory.py {case.model}", **row}
        append("memory", row, force=given.force)


def measured(case: Case, threads: int | None) -> dict[str, object]:
    """Train a few steps in this process; the first, which makes buffers, is not timed."""
    import torch

    from resnets.config import TrainConfig
    from resnets.data.augmentation import Augmentation
    from resnets.data.loader import Batch
    from resnets.machine import bf16_gains, default_threads, keep_memory, peak_memory
    from resnets.training.loop import Task, take_step
    from resnets.training.preparing import state_of
    from resnets.training.scoring import build_network
    from resnets.training.setup import preprocess_of
    from resnets.training.stopping import StopWatch

    config = TrainConfig(
        model=case.model,
        image_size=case.side,
        batch_size=case.batch,
        epochs=1,
        learning_rate=0.01,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        precision="bf16" if bf16_gains("cpu") else "fp32",
        channels_last=True,
        checkpoint_activations=case.checkpoint,
        device="cpu",
        threads=threads or default_threads(),
    )
    keep_memory()  # as `resnets train` does
    torch.set_num_threads(config.threads or 1)
    libraries = peak_memory() or 0
    task = Task(config, preprocess_of(config), Augmentation(), classes=10)
    state = state_of(task, build_network(task), steps_per_epoch=1.0)
    stop = StopWatch(lambda: None)
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, 3, case.side, case.side)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    batch = Batch(pixels, torch.randint(10, (case.batch,), generator=generator))
    seconds = []
    for _ in range(case.steps + 1):
        began = time.monotonic()
        take_step(task, state, batch, config.learning_rate, stop)
        seconds.append(time.monotonic() - began)
    timed = seconds[1:]
    return {
        "model": case.model,
        "side": case.side,
        "batch_size": case.batch,
        "precision": config.precision,
        "layout": "channels_last",
        "threads": config.threads,
        "checkpoint_activations": case.checkpoint,
        "steps": len(timed),
        "peak_mb": (peak_memory() or 0) // 2**20,
        "libraries_mb": libraries // 2**20,
        "median_seconds": round(statistics.median(timed), 3),
        "min_seconds": round(min(timed), 3),
        "max_seconds": round(max(timed), 3),
    }


if __name__ == "__main__":
    main()
