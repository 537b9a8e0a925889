"""A kill or a refusing disk at every system call of a save: nothing that was saved is lost.

strace counts the calls that touch the run folder and injects the fault into each in turn.
"""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from resnets.checkpoint import newest_state, read_sealed
from soaking import cases, record

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

CALLS = ("openat", "write", "fsync", "rename", "mkdir", "unlink", "unlinkat", "rmdir")
ERRORS = {"openat": "EROFS", "write": "ENOSPC", "fsync": "EIO", "rename": "EIO", "mkdir": "EDQUOT"}
SAVE = """
import sys
from pathlib import Path
import torch
from resnets.checkpoint import save_state, seal
from resnets.errors import CannotGoOn

folder, step = Path(sys.argv[1]), int(sys.argv[2])
weights = {"w": torch.full((1000,), float(step))}
try:
    save_state(folder / "state", step, weights, {"rows": []})
    seal(folder / "model", weights, {"step": step})
except CannotGoOn as problem:
    print(problem)
    sys.exit(problem.exit_code)
"""


class Event(NamedTuple):
    """The n-th call of that name which touches the folder."""

    call: str
    number: int


def save(folder: Path, step: int, *strace: str) -> subprocess.CompletedProcess[str]:
    run = [*strace, sys.executable, "-c", SAVE, str(folder), str(step)]
    return subprocess.run(run, capture_output=True, text=True, check=False)


class Bench:
    """A run folder with two saves in it, and the calls of a third."""

    def __init__(self, place: Path) -> None:
        self.base, self.folder, self.log = place / "base", place / "run", place / "trace.txt"
        for step in (1, 2):
            assert save(self.base, step).returncode == 0
        self.renew()
        trace = ["strace", "-f", "-y", "-o", str(self.log), "-e", f"trace={','.join(CALLS)}"]
        assert save(self.folder, 3, *trace).returncode == 0
        self.lines = [line for line in self.log.read_text().splitlines() if str(place) in line]
        paths = {found for line in self.lines for found in re.findall(r'["<]([^">]*)', line)}
        self.paths = sorted(path for path in paths if path.startswith(str(self.folder)))

    def renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.base, self.folder)

    @property
    def events(self) -> list[Event]:
        counts: Counter[str] = Counter()
        found = []
        for line in self.lines:
            call = line.split()[1].partition("(")[0]
            counts[call] += 1
            found.append(Event(call, counts[call]))
        return found

    def save_with(self, event: Event, fault: str) -> subprocess.CompletedProcess[str]:
        only = [part for path in self.paths for part in ("-P", path)]
        inject = f"inject={event.call}:{fault}:when={event.number}"
        trace = ["strace", "-f", "-o", str(self.log), *only, "-e", f"trace={event.call}"]
        return save(self.folder, 3, *trace, "-e", inject)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("saves"))


def some(events: list[Event], few: int) -> list[Event]:
    count = cases(few, len(events))
    return [events[place * len(events) // count] for place in range(count)]


def what_is_there(folder: Path) -> tuple[int, int]:
    """The step of the newest state and that of the sealed model."""
    state = newest_state(folder / "state")
    assert state is not None
    assert (state.tensors["w"] == state.step).all()
    sealed = read_sealed(folder)
    assert (sealed.weights["w"] == sealed.card["step"]).all()
    return state.step, sealed.card["step"]


def test_a_kill_at_any_call_leaves_the_state_before_or_after(bench: Bench) -> None:
    began, good, events = time.monotonic(), 0, some(bench.events, 6)
    for event in events:
        bench.renew()
        done = bench.save_with(event, "signal=KILL")
        assert done.returncode == -9, (event, done)
        state, model = what_is_there(bench.folder)
        assert {state, model} <= {2, 3} and state >= model, event
        assert save(bench.folder, 4).returncode == 0  # the next save puts everything in order
        assert what_is_there(bench.folder) == (4, 4), event
        assert not list(bench.folder.rglob("*.tmp"))
        good += 1
    record(
        "killed at a system call of a save: state and model loadable",
        good,
        len(events),
        time.monotonic() - began,
    )


def test_a_refusal_at_any_call_is_told_and_leaves_the_old_bytes(bench: Bench) -> None:
    began, good = time.monotonic(), 0
    events = some([event for event in bench.events if event.call in ERRORS], 6)
    for event in events:
        bench.renew()
        before = {path: path.read_bytes() for path in bench.folder.rglob("*.safetensors")}
        done = bench.save_with(event, f"error={ERRORS[event.call]}")
        if done.returncode:  # tidying up after a save may fail without harm
            assert done.returncode == 3 and str(bench.folder) in done.stdout, (event, done)
            assert "fix:" in done.stdout
        state, model = what_is_there(bench.folder)
        assert {state, model} <= {2, 3}, event
        if state == 2:
            kept = [path for path in before if path.parent.name == "state"]
            assert all(path.read_bytes() == before[path] for path in kept), event
        good += 1
    record(
        "refused at a system call of a save: told, old state untouched",
        good,
        len(events),
        time.monotonic() - began,
    )


def test_every_file_is_synced_before_its_rename_and_its_folder_after(bench: Bench) -> None:
    synced: set[str] = set()
    waiting: set[str] = set()
    for line in bench.lines:
        call = line.split()[1].partition("(")[0]
        named = [path for path in re.findall(r'["<]([^">]*)', line) if path.startswith("/")]
        if call == "fsync":
            synced.add(named[0])
            waiting.discard(named[0])
        elif call == "rename" and named[0].endswith(".tmp"):
            assert named[0] in synced, line
            waiting.add(str(Path(named[1]).parent))
        elif call == "rename":  # of the folder of a model: everything in it is on the disk
            assert named[0] not in waiting, line
            waiting.add(str(Path(named[1]).parent))
    assert not waiting


def test_a_disk_that_became_read_only_is_one_sentence(bench: Bench) -> None:
    """Every call from some one on is refused, those that tidy up too."""
    for event in (Event("openat", 2), Event("rename", 1), Event("unlink", 1)):
        bench.renew()
        only = [part for path in bench.paths for part in ("-P", path)]
        faults = f"inject={','.join(CALLS[:1] + CALLS[3:])}:error=EROFS:when={event.number}+"
        trace = ["strace", "-f", "-o", str(bench.log), *only, "-e", f"trace={','.join(CALLS)}"]
        done = save(bench.folder, 3, *trace, "-e", faults)
        assert done.returncode == 3 and "Read-only file system" in done.stdout, done
        assert what_is_there(bench.folder)[1] == 2
