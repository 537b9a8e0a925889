"""What torch.compile costs and gains in training: `resnets train --compile` says the same of a run.

    python benchmarks/compiling.py                # all three cases, about five minutes
    python benchmarks/compiling.py resnet20@32

For each case a line, and a row of results/compiling.csv: the seconds that compiling takes with
nothing left on disk from earlier, the milliseconds of a forward and backward pass as it is and
compiled, and after how many steps compiling has paid (empty: never). Each is a fresh process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
from recording import append, refuse_if_busy
from throughput import CASES

from resnets.benchmarking import training_of
from resnets.machine import available_cores, bf16_gains, keep_memory, usable_device
from resnets.models import create_model
from resnets.training.compiling import compile_network


def measured(case: str, threads: int) -> dict[str, object]:
    """Compile and time a case in this process."""
    torch.set_num_threads(threads)
    keep_memory()
    device = usable_device("auto")
    model, side, batch_size, classes = CASES[case]
    network = create_model(model, num_classes=classes, seed=0)
    precision = "bf16" if bf16_gains(device) else "fp32"
    task, state = training_of(network, classes, (batch_size, 3, side, side), precision, device)
    found = compile_network(task, state)
    return {
        "case": case,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": threads,
        "precision": precision,
        "compiling_seconds": round(found.compiling, 1),
        "plain_ms": round(1000 * found.plain, 1),
        "compiled_ms": round(1000 * found.compiled, 1),
        "pays_after_steps": found.pays_after,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("case", nargs="?", choices=CASES)
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    arguments.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.here:
        print(json.dumps(measured(given.case, given.threads)))
        return
    for case in [given.case] if given.case else CASES:
        refuse_if_busy(force=given.force)
        command = [sys.executable, __file__, case, "--threads", str(given.threads), "--here"]
        with tempfile.TemporaryDirectory() as empty:
            environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": empty}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
        if done.returncode:
            sys.exit(f"{case}:\n{done.stderr}")
        row = json.loads(done.stdout.splitlines()[-1])
        row["command"] = f"python benchmarks/compiling.py {case} --threads {given.threads}"
        append("compiling", row, force=given.force)


if __name__ == "__main__":
    main()
