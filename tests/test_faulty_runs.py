"""A kill or a refusing disk anywhere in a whole `resnets train`: the same command ends it.

strace counts the calls of one run that touch its folder; the fault is injected into each kind of
them, at its last occurrence, when most can be lost.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnets.checking import check
from runs import rows_of, same_state, save_folder, without_times
from soaking import cases, record

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

BY_PATH = ("openat", "write", "mkdir")
"""Calls that are made outside the folder too. They are injected by path, so that of these those
of a state's file are not among them, for its name has its hash: ``test_faulty_saves`` has those."""
BY_NUMBER = ("fsync", "rename")
ERRORS = {
    "openat": "EACCES",
    "write": "ENOSPC",
    "fsync": "EIO",
    "rename": "EROFS",
    "mkdir": "EDQUOT",
}


def train(photos: Path, out: Path, *strace: str) -> subprocess.CompletedProcess[str]:
    settings = ["--set", "steps=4", "--set", "save_every=0.001", "-b", "4", "--model", "resnet20"]
    command = [*strace, sys.executable, "-m", "resnets", "train", str(photos), *settings]
    command += ["--threads", "1", "-j", "0", "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def may_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0


class Event:
    """A call of the run, and how strace finds it again."""

    def __init__(self, call: str, number: int, paths: list[str], log: Path) -> None:
        self.call, self.log = call, log
        only = [part for path in paths for part in ("-P", path)] if call in BY_PATH else []
        self.trace = ["strace", "-f", "-o", str(log), *only, "-e", f"trace={call}"]
        self.number = number

    def strace(self, fault: str) -> list[str]:
        return [*self.trace, "-e", f"inject={self.call}:{fault}:when={self.number}"]


class Bench:
    """A whole run, and one event of each kind in it."""

    def __init__(self, place: Path) -> None:
        self.photos = save_folder(place / "photos", 12, 16)
        self.whole, self.out, log = place / "whole", place / "run", place / "calls.txt"
        assert train(self.photos, self.whole).returncode == 0  # what is read is known after it
        trace = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(ERRORS)}"]
        assert train(self.photos, self.out, *trace).returncode == 0
        counts: Counter[str] = Counter()
        last: dict[tuple[str, str], int] = {}
        names: set[str] = set()
        for line in log.read_text().splitlines():
            call = line.split()[1].partition("(")[0]
            found = re.search(rf'["<]({re.escape(str(self.out))}[^">]*)', line)
            named = found[1] if found else ""
            stable = "step-" not in named
            if call in BY_NUMBER or (named and stable and call in BY_PATH):
                counts[call] += 1
                if named:
                    last[call, re.sub("step-[^.]*", "step", named)] = counts[call]
                    names |= {named} if stable else set()
        self.events = [
            Event(call, number, sorted(names), log) for (call, _), number in last.items()
        ]

    def ends_the_same(self) -> bool:
        """Whether the same command ends what is there, with the bits of an undisturbed run."""
        again = train(self.photos, self.out)
        assert again.returncode == 0, again
        assert not list(self.out.rglob("*.tmp")) and all(part.whole for part in check(self.out))
        model = "model/model.safetensors"
        return (
            same_state(self.whole, self.out)
            and (self.whole / model).read_bytes() == (self.out / model).read_bytes()
            and without_times(rows_of(self.whole)) == without_times(rows_of(self.out))
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("runs"))


def some(events: list[Any], few: int) -> list[Any]:
    count = cases(few, len(events))
    return [events[(2 * place + 1) * len(events) // (2 * count)] for place in range(count)]


def hold(
    bench: Bench, what: str, fault: Callable[[Event], str], check: Callable[..., None]
) -> None:
    """Inject a fault at some calls, check how each run ends, and end it by the same command."""
    began, good, events = time.monotonic(), 0, some(bench.events, 1)
    for event in events:
        shutil.rmtree(bench.out, ignore_errors=True)
        check(event, train(bench.photos, bench.out, *event.strace(fault(event))))
        good += bench.ends_the_same()
    record(what, good, len(events), time.monotonic() - began)
    assert good == len(events)


@needs_strace
def test_a_run_killed_at_any_call_is_ended_by_the_same_command(bench: Bench) -> None:
    def killed(event: Event, done: Any) -> None:
        assert done.returncode == -9, (event.trace, event.number, done)

    what = "runs killed at a system call under their folder that ended with the same bits"
    hold(bench, what, lambda _: "signal=KILL", killed)


@pytest.mark.slow
@needs_strace
def test_a_run_refused_at_any_call_tells_it_and_can_be_ended(bench: Bench) -> None:
    def told(event: Event, done: Any) -> None:
        where = (event.call, event.number, done)
        assert "(INJECTED)" in event.log.read_text(), where
        assert done.returncode in (0, 2, 3) and "Traceback" not in done.stderr, where
        if done.returncode:
            assert str(bench.out) in done.stderr and "fix:" in done.stderr, where

    what = "runs refused at a system call under their folder: told, ended with the same bits"
    hold(bench, what, lambda event: f"error={ERRORS[event.call]}", told)


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="this user may not mount anything")
def test_a_disk_that_is_truly_full_is_told_and_with_more_room_the_run_ends(tmp_path: Path) -> None:
    """A file system in memory, 3 MB large: a training state has 4."""
    photos, disk = save_folder(tmp_path / "photos", 12, 16), tmp_path / "disk"
    disk.mkdir()
    python = "import sys; from test_faulty_runs import train; from pathlib import Path\n"
    python += f"done = train(Path({str(photos)!r}), Path({str(disk / 'run')!r}))\n"
    python += "print(done.stderr); sys.exit(done.returncode)"
    script = """
    mount -t tmpfs -o size=3m tmpfs "$1" || exit 99
    "$2" -c "$3"; first=$?
    mount -o remount,size=64m "$1"
    "$2" -c "$3" || exit 98
    "$2" -m resnets check "$1/run" || exit 97
    exit $first"""
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(disk), sys.executable, python]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 3, done
    assert "No space left on device" in done.stdout and "bytes needed" in done.stdout
    assert f"{disk}/run/state/step-" in done.stdout and "all is whole" in done.stdout
