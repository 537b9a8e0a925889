"""How long the command line takes to answer, in a warm file cache: medians of whole processes.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from recording import append

COMMANDS = {
    "resnets --help": ["-m", "resnets", "--help"],
    "resnets --version": ["-m", "resnets", "--version"],
    "python -c 'import torch'": ["-c", "import torch"],
}
RUNS = 11


def main() -> None:
    for name, command in COMMANDS.items():
        seconds = []
        for _ in range(RUNS + 1):
            began = time.monotonic()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            seconds.append(time.monotonic() - began)
        counted = sorted(seconds[1:])  # the first fills the file cache
        append(
            "startup",
            {
                "command": name,
                "runs": RUNS,
                "median_seconds": round(statistics.median(counted), 3),
                "min_seconds": round(counted[0], 3),
                "max_seconds": round(counted[-1], 3),
            },
        )


if __name__ == "__main__":
    main()
