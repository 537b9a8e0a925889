"""Images per second over HTTP, beside those of ``classifier.predict`` in one process.

    python benchmarks/serving.py --run RUN --data DIR
    python benchmarks/serving.py --run RUN --data DIR --engine auto

The same photos, decoding included, in turns: as paths to ``classifier.predict``, and as bodies to
``resnets serve`` by wrk (https://github.com/wg/wrk; Debian's package wrk), which shares the
machine's cores. What wrk's own processor time, spread over the cores, leaves of the time is what
the service had; the row tells it and both rates, with it and without.

Then the latencies: of one client that sends one image after another, and at half of what the
service can answer, sent at even and at random moments. At random ones the images queue: where each
takes the same time and one is answered at a time, the queue alone (M/D/1) makes the 99th percentile
3.8 times that of an idle service. Prints a row and appends it to results/serving.csv. About three
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
MANY = 32
"""Clients at half load: enough that one is always free."""
SCRIPT = """
local requests, at = {}, 0
local rate, even = tonumber(os.getenv("RATE")), os.getenv("EVEN") == "1"
local ffi = require("ffi")
ffi.cdef[[typedef struct { long seconds, nanoseconds; } instant;
          int clock_gettime(int clock, instant *told);]]
local function now()  -- in milliseconds
  local told = ffi.new("instant")
  ffi.C.clock_gettime(1, told)
  return tonumber(told.seconds) * 1e3 + tonumber(told.nanoseconds) / 1e6
end
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
if rate > 0 then  -- whichever client is free takes the next moment
  local moment = nil
  function delay()
    local time = now()
    local gap = even and 1 or -math.log(1 - math.random())
    moment = (moment or time) + gap * 1e3 / rate
    return math.max(0, math.floor(moment - time + 0.5))
  end
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

    def run(
        self, clients: int, seconds: int, rate: float = 0, *, even: bool = False
    ) -> dict[str, Any]:
        """What wrk saw, and its own processor time.

        Args:
            rate: requests per second, at even or at random moments; 0: as soon as a client can.
        """
        process = subprocess.Popen(
            [*self.command, "-c", str(clients), "-d", str(seconds), self.url],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"FILES": str(self.files), "RATE": str(rate), "EVEN": str(int(even))},
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
            even, chance = (
                load.run(MANY, 2 * SECONDS, raw / 2, even=even) for even in (True, False)
            )
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
        "even_per_second": round(even["answered"] / even["seconds"], 2),
        "even_p99_ms": round(even["p99"], 1),
        "even_times_single": round(even["p99"] / single["median"], 2),
        "random_per_second": round(chance["answered"] / chance["seconds"], 2),
        "random_p99_ms": round(chance["p99"], 1),
        "random_times_single": round(chance["p99"] / single["median"], 2),
        "wrk": version,
    }
    append("serving", row, force=given.force)


if __name__ == "__main__":
    main()
