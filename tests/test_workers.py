"""Workers that die or hang: the same pixels, and the file that kills them by name."""

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import resnets.data.workers
from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Order
from resnets.data.sources import ListImages, Split
from resnets.data.workers import DEATHS, WorkerBatches
from resnets.errors import CannotGoOn
from runs import command, same_state, save_folder
from soaking import cases, record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL here")

workers: Any = resnets.data.workers
CROPS = Augmentation(crop="resized", auto_augment="trivial")
PREPROCESS = Preprocess(input_size=(3, 16, 16))
COUNT = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Deadly(ListImages):
    """One image does something to the worker that reads it, so many times."""

    folder: Path
    deadly: int
    times: int
    number: signal.Signals

    def __getitem__(self, index: int) -> np.ndarray:
        if index == self.deadly:
            for time_ in range(self.times):
                try:
                    (self.folder / str(time_)).touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


def split_of(folder: Path, times: int, number: signal.Signals = signal.SIGKILL) -> Split:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (20 + n, 24, 3), dtype=np.uint8) for n in range(COUNT)]
    images = Deadly(arrays, folder, 7, times, number)
    names = tuple(f"photos/{n}.jpg" for n in range(COUNT))
    return Split(images, np.arange(COUNT, dtype=np.int64) % 3, names)


def batches_of(split: Split, processes: int) -> WorkerBatches:
    return WorkerBatches(split, PREPROCESS, CROPS, Order(1, split.labels), 5, processes)


def first(batches: WorkerBatches, count: int) -> list[torch.Tensor]:
    stream = batches.starting_at(0)
    found = [next(stream).pixels for _ in range(count)]
    stream.close()
    return found


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK", 1.0)


def test_a_batch_that_was_lost_with_its_worker_is_made_again(tmp_path: Path) -> None:
    expected = first(batches_of(split_of(tmp_path, 0), 0), 8)
    found = first(batches_of(split_of(tmp_path, DEATHS - 1), 2), 8)
    assert all(map(torch.equal, expected, found))
    assert len(list(tmp_path.iterdir())) == DEATHS - 1


def test_a_file_that_kills_three_workers_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotGoOn, match=r"3 worker processes died while they read photos/7\.jpg"):
        first(batches_of(split_of(tmp_path, 99), 2), 8)


def test_a_worker_that_stands_still_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HANGS", 3)
    expected = first(batches_of(split_of(tmp_path, 0), 0), 8)
    began = time.monotonic()
    found = first(batches_of(split_of(tmp_path, 1, signal.SIGSTOP), 2), 8)
    assert all(map(torch.equal, expected, found))
    assert time.monotonic() - began < 60
    # with what is set outside this test a hang is told after a minute
    assert resnets.data.workers.HANGS * 5.0 <= 60


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children")
    return list(map(int, found.read_text().split())) if found.exists() else []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for the workers")
def test_a_run_whose_workers_are_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "photos", 64, 72, odd=True)
    settings = ["--epochs", cases(25, 120), "-b", 8, "--model", "resnet20", "--image-size", 32]
    settings += ["--threads", 1, "--set", "auto_augment=trivial", "-j", 2]
    whole = command("train", folder, *settings, "--out", tmp_path / "whole")
    text, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, text

    began, wanted = time.monotonic(), cases(2, 50)
    kills: list[int] = []
    process = command("train", folder, *settings, "--out", tmp_path / "killed")
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(process.communicate()[0]))
    reader.start()
    while process.poll() is None and len(kills) < wanted:
        new = [child for child in children(process.pid) if child not in kills]
        if len(new) == 2:
            time.sleep(0.2)
            os.kill(new[0], signal.SIGKILL)
            kills.append(new[0])
            kills_seen = time.monotonic()
            while process.poll() is None and time.monotonic() - kills_seen < 20:
                if not set(new) & set(children(process.pid)):
                    break
                time.sleep(0.05)
        time.sleep(0.05)
    reader.join()
    assert process.returncode == 0, output
    equal = same_state(tmp_path / "whole", tmp_path / "killed")
    record(
        "workers killed in a run that ended with the same bits",
        len(kills) * equal,
        wanted,
        time.monotonic() - began,
    )
    assert equal and len(kills) == wanted


def test_a_worker_that_stands_still_with_a_batch_in_its_hand_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent then waits within the fetching of that batch, where no timeout counts."""
    monkeypatch.setattr(workers, "HANGS", 3)
    expected = first(batches_of(split_of(tmp_path, 0), 0), 8)
    stream = batches_of(split_of(tmp_path, 1, signal.SIGSTOP), 2).starting_at(0)
    found = [next(stream).pixels]
    time.sleep(3)  # meanwhile all that may be read ahead is read
    found += [next(stream).pixels for _ in range(7)]
    stream.close()
    assert all(map(torch.equal, expected, found))


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_workers_die_without_a_loss_however_they_are_started(
    tmp_path: Path, start_method: str
) -> None:
    expected = first(batches_of(split_of(tmp_path, 0), 0), 8)
    deadly = dataclasses.replace(batches_of(split_of(tmp_path, 1), 2), start_method=start_method)
    assert all(map(torch.equal, expected, first(deadly, 8)))
