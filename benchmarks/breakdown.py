"""Where the time of a training step goes: convolutions, batch norm, and the rest.

    python benchmarks/breakdown.py                # all three cases, a minute
    python benchmarks/breakdown.py resnet20@32 --threads 1

For each case a row of results/breakdown.csv: the milliseconds of a step of `resnets train`, and the
share of them that torch.profiler sees in each kind of operation, forward and backward, over ten
steps after three. ``outside`` is what it does not see: Python, and waiting.
"""

import argparse
import statistics
import time
from collections import defaultdict

import torch
from recording import append, refuse_if_busy
from throughput import CASES, ours

from resnets.benchmarking import noise, timed
from resnets.machine import available_cores, usable_device

KINDS = {
    "convolution": ("conv", "aten::mm", "aten::unfold", "aten::flip"),
    "batch_norm": ("batch_norm",),
    "relu": ("relu", "clamp_min", "threshold"),
    "addition": ("aten::add",),
    "pooling": ("pool",),
    "optimizer": ("sgd", "foreach", "Optimizer"),
    "copies": ("aten::copy_", "aten::fill_", "aten::clone", "aten::cat", "aten::stack"),
}
STEPS = 10


def kind_of(operation: str) -> str:
    """The first kind whose mark is in an operation's name."""
    for kind, marks in KINDS.items():
        if any(mark.lower() in operation.lower() for mark in marks):
            return kind
    return "other operations"


def shares(case: str, threads: int) -> dict[str, object]:
    """The milliseconds of a step and the share of each kind."""
    torch.set_num_threads(threads)
    found, device = CASES[case], usable_device("auto")
    pixels = noise(found.batch_size, (3, found.side, found.side))
    step = ours(found, pixels, device, averaged=True)
    for _ in range(3):
        step()
    plain = statistics.median(timed(step, device) for _ in range(STEPS))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        took = (time.perf_counter() - began) / STEPS
    seconds: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6 / STEPS
    parts = {kind: round(seconds[kind] / took, 3) for kind in [*KINDS, "other operations"]}
    outside = {"outside": round(max(0.0, 1 - sum(seconds.values()) / took), 3)}
    return {"milliseconds": round(1000 * plain, 1)} | parts | outside


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("case", nargs="?", choices=CASES)
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    for case in [given.case] if given.case else CASES:
        refuse_if_busy(force=given.force)
        row = {
            "case": case,
            "command": f"python benchmarks/breakdown.py {case} --threads {given.threads}",
            "threads": given.threads,
            **shares(case, given.threads),
        }
        append("breakdown", row, force=given.force)


if __name__ == "__main__":
    main()
