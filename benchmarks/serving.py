"""Images per second over HTTP, beside those of ``classifier.predict`` in one process.

    python benchmarks/serving.py --run RUN --data DIR
    python benchmarks/serving.py --run RUN --data DIR --engine auto

The same photos, decoding included, in turns: as paths to ``classifier.predict``, and as bodies to
``resnets serve`` by wrk (https://github.com/wg/wrk; Debian's package wrk), which shares the
machine's cores. What wrk's own processor time, spread over the cores, leaves of the time is what
the service had; the row tells it and both rates, with it and without. Then the latencies: of one
client that sends one image after another, and of 16 clients that together, at random times, send
half of what the service can answer. Prints a row and appends it to results/serving.csv. About three
minutes for a ResNet-50.

    --wrk PATH  where wrk is, if it is not on the path
    --force     prints only, busy or not
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from recording import append, refuse_if_busy

from resnets.machine import available_cores
from resnets.prediction import find_images, load

IMAGES = 128
ROUNDS = 5
SECONDS = 15
"""Of load in each round."""
CLIENTS = 16
MANY = 16
"""Clients at half load: enough that their times are nearly independent."""
SCRIPT = """
local requests, at = {}, 0
local wait = tonumber(os.getenv("WAIT") or "0")
math.randomseed(1)
function init()
  for name in io.lines(os.getenv("FILES")) do
    local file = assert(io.open(name, "rb"))
    table.insert(requests, wrk.format("POST", "/v1/predict", {}, file:read("*a")))
    file:close()
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
if wait > 0 then
  function delay() return math.floor(math.min(20000, -math.log(1 - math.random()) * wait)) end
end
function done(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    'told {"seconds": %f, "answered": %d, "failed": %d, "median": %f, "p99": %f}\\n',
    summary.duration / 1e6, summary.requests,
    bad.connect + bad.read + bad.write + bad.status + bad.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Load:
    """wrk with a list of photos against one address."""

    def __init__(self, wrk: str, port: int, folder: Path, photos: list[Path]) -> None:
        self.command = [wrk, "-s", str(folder / "script.lua"), "-t", "1", "--timeout", "30"]
        self.url = f"http://127.0.0.1:{port}"
        (folder / "script.lua").write_text(SCRIPT)
        (folder / "files").write_text("".join(f"{photo}\n" for photo in photos))
        self.files = folder / "files"

    def run(self, clients: int, seconds: int, wait: float = 0) -> dict[str, Any]:
        """What wrk saw, and its own processor time; ``wait``: milliseconds between requests."""
        process = subprocess.Popen(
            [*self.command, "-c", str(clients), "-d", str(seconds), self.url],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"FILES": str(self.files), "WAIT": str(wait)},
        )
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        found = re.search(r"told (\{.*\})", printed)
        assert status == 0 and found is not None, printed
        told: dict[str, Any] = json.loads(found[1])
        assert told["failed"] == 0, printed
        told["own_seconds"] = usage.ru_utime + usage.ru_stime
        return told


def rates(load: Load, path: Path, engine: str | None, photos: list[Path]) -> list[list[float]]:
    """Images per second of each round: in Python, over HTTP, over HTTP without wrk's share."""
    classifier = load_model(path, engine)
    rounds = []
    load.run(CLIENTS, 3)
    classifier.predict(list(photos[:16]))
    for _ in range(ROUNDS):
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            classifier.predict(list(photos))
            count += len(photos)
        alone = count / (time.perf_counter() - began)
        told = load.run(CLIENTS, SECONDS)
        left = told["seconds"] - told["own_seconds"] / available_cores()
        rounds.append([alone, told["answered"] / told["seconds"], told["answered"] / left])
    return rounds


def load_model(path: Path, engine: str | None) -> Any:
    return load(path, engine=engine)  # type: ignore[arg-type]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--run", type=Path, required=True, help="a run or a model")
    arguments.add_argument("--data", type=Path, required=True, help="a folder of photos")
    arguments.add_argument("--engine", help="as `resnets serve` takes it")
    arguments.add_argument("--wrk", default="wrk", help="where wrk is")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    if shutil.which(given.wrk) is None:
        sys.exit("this needs wrk: apt install wrk, or --wrk PATH")
    refuse_if_busy(force=given.force)
    torch.set_num_threads(available_cores())
    every = find_images([given.data])
    photos = every[:: max(1, len(every) // IMAGES)][:IMAGES]
    command = [sys.executable, "-m", "resnets", "serve", str(given.run), "--port", "0"]
    command += ["--engine", given.engine] if given.engine else []
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert service.stderr is not None
            port = next(
                int(found[1])
                for line in service.stderr
                if (found := re.search(r"at http://127.0.0.1:(\d+)/", line))
            )
            load = Load(given.wrk, port, Path(folder), photos)
            rounds = rates(load, given.run, given.engine, photos)
            alone, raw, served = (statistics.median(column) for column in zip(*rounds, strict=True))
            single = load.run(1, SECONDS)
            half = load.run(MANY, 2 * SECONDS, wait=1000 * MANY / (raw / 2))
        finally:
            service.terminate()
            service.wait()
    version = subprocess.run([given.wrk, "-v"], capture_output=True, text=True).stdout.split()[1]
    row = {
        "model": load_model(given.run, given.engine).card["architecture"],
        "engine": given.engine or "",
        "command": "python benchmarks/serving.py --run RUN --data DIR"
        + (f" --engine {given.engine}" if given.engine else ""),
        "images": len(photos),
        "rounds": ROUNDS,
        "predict_images_per_second": round(alone, 2),
        "served_images_per_second": round(raw, 2),
        "served_less_wrk": round(served, 2),
        "min_share": round(min(each[2] / each[0] for each in rounds), 3),
        "share": round(statistics.median(each[2] / each[0] for each in rounds), 3),
        "single_median_ms": round(single["median"], 1),
        "single_p99_ms": round(single["p99"], 1),
        "half_load_per_second": round(half["answered"] / half["seconds"], 2),
        "half_load_p99_ms": round(half["p99"], 1),
        "times_single": round(half["p99"] / single["median"], 2),
        "wrk": version,
    }
    append("serving", row, force=given.force)


if __name__ == "__main__":
    main()
