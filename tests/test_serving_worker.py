"""The worker's parts by themselves: what it prepares, in which order, and what it takes."""

import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corpus import encoded
from resnets.errors import CannotGoOn
from resnets.serving import worker
from resnets.serving.scans import has_many_scans
from resnets.serving.watching import fingerprint


class Told:
    """A channel that notes what the worker says."""

    def __init__(self) -> None:
        self.answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()

    def send(self, head: dict[str, Any]) -> None:
        with self._changed:
            self.answers[head["number"]] = head
            self._changed.notify_all()

    def of(self, number: int) -> dict[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: number in self.answers, 60)
            return self.answers[number]


class Answer:
    def to_dict(self) -> str:
        return "answered"


class Network:
    """Prepares what it may, and answers all but rows of zeros."""

    class preprocess:
        background = (255, 255, 255)

    def __init__(self) -> None:
        self.large_began = threading.Event()
        self.large_goes_on = threading.Event()

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        if len(pixels) > 50:
            self.large_began.set()
            self.large_goes_on.wait(60)
        if pixels.shape[1] == 49:
            raise CannotGoOn("no memory for it", fix="wait")
        if pixels.shape[1] == 48:
            raise MemoryError
        return pixels

    def logits(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        if not all(row.any() for row in rows):
            raise CannotGoOn("not finite", fix="train it again")
        return rows

    def answer(self, file: str, row: np.ndarray, top: int) -> Answer:
        return Answer()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def working(told: Told) -> worker.Worker:
    limits = {"batch": 8, "pixels": 10_000, "side": 1_000}
    return worker.Worker(Network(), told, **limits)  # type: ignore[arg-type]


def sent(working: worker.Worker, number: int, width: int, height: int, *, grey: int = 9) -> None:
    """As ``listen`` takes an image that the front sends."""
    body = encoded(Image.new("L", (width, height), grey), "PNG")
    working._waiting.add(number)
    head = {"kind": "predict", "number": number, "file": "", "top": 1}
    working._readers.submit(worker._guarded, working._predict, head, body)


def test_one_bad_row_refuses_no_others(working: worker.Worker, told: Told) -> None:
    for number in range(4):
        sent(working, number, 8, 8, grey=0 if number == 2 else 9)
    working._run([working._prepared.get(timeout=60) for _ in range(4)])
    assert [told.of(number).get("result") for number in range(4)] == [
        *("answered", "answered"),
        *(None, "answered"),
    ]
    assert told.of(2)["refused"][:2] == [500, "not finite"]


def test_large_images_are_prepared_beside_the_others_and_dropped_unread(
    working: worker.Worker, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LARGE", 3_000)
    network: Any = working.classifier
    sent(working, 0, 40, 90)
    assert network.large_began.wait(60)
    for number in range(1, 10):  # more than there are readers
        sent(working, number, 40, 90)
    sent(working, 10, 40, 40)
    assert working._prepared.get(timeout=60).head["number"] == 10
    working._waiting -= set(range(1, 10))
    network.large_goes_on.set()
    assert all("dropped" in told.of(number) for number in range(1, 10))
    assert working._prepared.get(timeout=60).head["number"] == 0 and working._prepared.empty()


def test_what_cannot_be_prepared_is_refused(working: worker.Worker, told: Told) -> None:
    sent(working, 0, 49, 10)
    sent(working, 1, 48, 10)
    assert told.of(0)["refused"] == [500, "no memory for it", "wait"]
    assert told.of(1)["refused"][0] == 500 and "memory" in told.of(1)["refused"][1]


def test_an_unforeseen_error_ends_the_worker_whatever_else_runs() -> None:
    program = (
        "import concurrent.futures, time; from resnets.serving.worker import _guarded\n"
        "concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 600)\n"
        "_guarded(lambda: 1 / 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert done.returncode == 1 and b"ZeroDivisionError" in done.stderr


# Files ------------------------------------------------------------------------------------------


def jpeg(*, progressive: bool = False, exif: bytes = b"") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG", progressive=progressive, exif=exif)
    return file.getvalue()


def test_scans_are_counted_where_a_decoder_meets_them() -> None:
    plain, several = jpeg(), jpeg(progressive=True)
    assert 6 <= several.count(b"\xff\xda") <= 12 and not has_many_scans(several)
    scan, end = several[several.rindex(b"\xff\xda") : -2], several[-2:]
    many = several[:-2] + 100 * scan + end
    assert has_many_scans(many)
    assert Image.open(io.BytesIO(many)).convert("RGB").size == (40, 40), "which decodes"
    assert has_many_scans(several[:-2] + 100 * (b"\xff\x01" + scan) + end), "after a TEM"
    assert has_many_scans(several[:-2] + 100 * (b"\xff\xff" + scan) + end), "after filling"
    assert not has_many_scans(plain + 200 * b"\xff\xda"), "after the picture"
    assert not has_many_scans(jpeg(exif=b"Exif\0\0" + 200 * b"\xff\xda")), "in a segment"


def test_a_model_of_one_file_is_watched_by_time_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"one")
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it reads the file"))
    first = fingerprint(file)
    file.write_bytes(b"another")
    second = fingerprint(file)
    assert list(first) == list(second) == [str(file)] and first != second
    (tmp_path / "model.onnx.export").mkdir()
    (tmp_path / "model.onnx.export" / "notes.txt").write_text("no model")
    assert fingerprint(file) == second
    file.unlink()
    assert fingerprint(file) == {}
