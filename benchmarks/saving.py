"""What training states cost a run: the share of its time, and the longest stall.

    python benchmarks/saving.py            # two cases, about three minutes

`resnets train` with its default interval on images in memory, for 70 seconds, of which the time in
which states are written is added up. A row of results/saving.csv for each case.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from recording import append, refuse_if_busy

from resnets.data import from_arrays
from resnets.training.run import train
from resnets.training.session import Session

CASES = {"resnet20@32": ("resnet20", 32, 128), "resnet18@96": ("resnet18", 96, 32)}
IMAGES = 2_000
SECONDS = 70


def measured(case: str) -> dict[str, object]:
    model, side, batch_size = CASES[case]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
    data = from_arrays((images, np.arange(IMAGES) % 10))
    stalls: list[float] = []
    save = Session.save

    def timed(session: Session) -> None:
        began = time.perf_counter()
        save(session)
        stalls.append(time.perf_counter() - began)

    Session.save = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            train(
                data,
                out=Path(folder) / "run",
                model=model,
                batch_size=batch_size,
                budget=SECONDS,
                quiet=True,
            )
            took = time.perf_counter() - began
            states = sorted((Path(folder) / "run" / "state").iterdir())
            size = states[-1].stat().st_size
    finally:
        Session.save = save  # type: ignore[method-assign]
    return {
        "case": case,
        "command": "python benchmarks/saving.py",
        "run_seconds": round(took, 1),
        "states": len(stalls),
        "state_megabytes": round(size / 1e6, 1),
        "longest_stall_seconds": round(max(stalls), 3),
        "share_of_run": round(sum(stalls) / took, 4),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    for case in CASES:
        refuse_if_busy(force=given.force)
        row = measured(case)
        append("saving", row, force=given.force)


if __name__ == "__main__":
    main()
