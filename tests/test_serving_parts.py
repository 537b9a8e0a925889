"""The front's parts by themselves, where what happens first can be chosen."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from resnets.errors import CannotGoOn
from resnets.serving import Limits, Settings
from resnets.serving.dispatch import Dispatch, Job
from resnets.serving.guard import Guard
from resnets.serving.messages import packed
from resnets.serving.metrics import Metrics
from resnets.serving.process import Process
from resnets.serving.refusals import Refusal
from resnets.serving.settings import TOKEN_VARIABLE

MEGABYTE = 2**20


def settings(**limits: float) -> Settings:
    return Settings(run=Path("nowhere"), limits=Limits(**limits))  # type: ignore[arg-type]


async def soon() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


# Bodies -----------------------------------------------------------------------------------------


class Client:
    """A request of some megabytes, of which the last never comes unless it is whole."""

    def __init__(self, guard: Guard, megabytes: int, *, whole: bool) -> None:
        self.status = 0
        self._pieces = [bytes(MEGABYTE)] * megabytes
        self._whole = whole
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/predict",
            "headers": [(b"host", b"localhost")],
        }
        self.task = asyncio.create_task(guard(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._pieces:
            await asyncio.Event().wait()
        piece = self._pieces.pop()
        more = not self._whole or bool(self._pieces)
        return {"type": "http.request", "body": piece, "more_body": more}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)


async def answer_all(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_bodies_that_never_end_keep_nobody_out() -> None:
    async def check() -> None:
        guard = Guard(answer_all, settings(), Metrics(), public=set())
        stalled = [Client(guard, 12, whole=False) for _ in range(2)]
        await soon()
        assert guard.held == guard.limits.held
        photo = Client(guard, 5, whole=True)
        await photo.task
        await asyncio.wait([each.task for each in stalled], return_when=asyncio.FIRST_COMPLETED)
        assert photo.status == 200
        assert sorted(each.status for each in stalled) == [0, 503], "one is still being read"
        assert guard.held == 12 * MEGABYTE
        larger = Client(guard, 14, whole=True)
        await larger.task
        assert larger.status == 503, "it is the largest itself"
        async with asyncio.timeout(9) as over:
            pass
        guard._reading[over] = bytearray()  # one that ends at the moment of the signal
        guard.stop()

    asyncio.run(check())


# The queue --------------------------------------------------------------------------------------


class Child:
    """A worker as asyncio shows one, which answers when the test says so."""

    def __init__(self) -> None:
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self.stdin = self
        self.returncode = 0
        self.ended = asyncio.Event()
        self.ended_at = 0.0

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.ended.is_set()

    def kill(self) -> None:
        if not self.ended.is_set():
            self.ended_at = asyncio.get_running_loop().time()
            self.ended.set()
            self.stdout.feed_eof()
            self.stderr.feed_eof()

    close = kill

    async def wait(self) -> int:
        await self.ended.wait()
        return 0

    async def drops(self, job: Job) -> None:
        for number in job.numbers:
            told = {"kind": "answer", "number": number, "dropped": True}
            self.stdout.feed_data(packed(told))
        await soon()


@pytest.fixture
def no_other_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(_: Settings) -> Process:
        raise CannotGoOn("no other worker", fix="wait")

    monkeypatch.setattr(Process, "start", start)


def dispatching(**limits: float) -> tuple[Dispatch, Process, Child]:
    dispatch, child = Dispatch(settings(**limits), Metrics()), Child()
    process = Process(child)  # type: ignore[arg-type]
    process.hello = {"model": "1f"}
    process._tasks.append(asyncio.create_task(process._listen()))
    dispatch._serve(process)
    return dispatch, process, child


def predict(dispatch: Dispatch) -> Job:
    return dispatch.submit([({"kind": "predict", "file": "", "top": 1}, bytearray(b"image"))])


def explain(dispatch: Dispatch) -> Job:
    part = ({"kind": "explain", "options": {}}, bytearray(b"image"))
    return dispatch.submit([part], explains=True)


def run(check: Coroutine[Any, Any, None]) -> None:
    async def checked() -> None:
        await asyncio.wait_for(check, 60)
        await soon()  # a task cancelled just as what it waits for comes goes on, in Python 3.11

    asyncio.run(checked())


def test_explanations_take_no_place_of_predictions_and_go_one_at_a_time() -> None:
    async def check() -> None:
        dispatch, process, child = dispatching(batch=1)
        first, second = explain(dispatch), explain(dispatch)
        assert first.numbers and not second.numbers
        assert all(predict(dispatch).numbers for _ in range(2)), "a window of two batches"
        assert not predict(dispatch).numbers
        await child.drops(first)
        assert second.numbers and len(process.explaining) == 1

    run(check())


def test_explanations_whose_clients_left_count_only_while_they_run() -> None:
    async def check() -> None:
        dispatch, process, child = dispatching(explanations=4)
        begun = explain(dispatch)
        dispatch.withdraw(begun)
        for _ in range(16):
            dispatch.withdraw(explain(dispatch))
        assert predict(dispatch).numbers and process.explaining == set(begun.numbers)
        waiting = [explain(dispatch) for _ in range(3)]
        with pytest.raises(Refusal, match="4 explanations"):
            explain(dispatch)
        await child.drops(begun)
        assert waiting[0].numbers
        explain(dispatch)

    run(check())


def test_an_explanation_has_its_time_from_its_beginning(no_other_worker: None) -> None:
    """One that waited and expired is no sign that the worker hangs; the same time again is."""

    async def check() -> None:
        dispatch, _, child = dispatching(explain_seconds=1.0, stall_seconds=0.3)
        first, second, third = explain(dispatch), explain(dispatch), explain(dispatch)
        await asyncio.sleep(0.2)
        await child.drops(first)
        assert second.numbers
        for job in (second, third):
            with pytest.raises(Refusal, match="in time"):
                await job.done
        assert not third.numbers
        await child.ended.wait()
        assert child.ended_at - second.given >= 1.0 + 0.3

    run(check())


def test_a_worker_that_keeps_what_was_withdrawn_is_ended_unless_it_answers_others(
    no_other_worker: None,
) -> None:
    async def check() -> None:
        dispatch, process, child = dispatching(stall_seconds=1.0)
        kept, answered = predict(dispatch), predict(dispatch)
        dispatch.withdraw(kept)
        await asyncio.sleep(0.1)
        await child.drops(answered)
        await child.ended.wait()
        assert child.ended_at - process.answered >= 1.0

    run(check())


# The worker's messages --------------------------------------------------------------------------

FAKE = """#!{python}
import json, os, struct, sys
def say(text):
    sys.stdout.buffer.write(struct.pack(">II", len(text), 0) + text)
    sys.stdout.buffer.flush()
say(json.dumps({{"kind": "hello", "model": "1f", "token": os.environ.get("{token}")}}).encode())
{then}
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "then",
    [
        "say(b'no JSON')",
        "say(b'[]')",
        "say(b'{}')",
        """say(b'{"kind": "answer"}')""",
        r"sys.stdout.buffer.write(b'\xff' * 8); sys.stdout.flush()",
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="starts a script")
def test_a_worker_that_cannot_be_understood_is_ended(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(FAKE.format(python=sys.executable, token=TOKEN_VARIABLE, then=then))
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    monkeypatch.setenv(TOKEN_VARIABLE, "a-token-for-the-tests")

    async def check() -> None:
        process = await Process.start(settings())
        assert process.hello["token"] is None, "it has no use for it"
        await process.ended.wait()
        await process.end(at_once=True)

    run(check())
