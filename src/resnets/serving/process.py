"""The front's end of a worker process."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from resnets.console import warn
from resnets.errors import CannotGoOn, ConfigError, ResnetsError
from resnets.serving import messages
from resnets.serving.messages import Head
from resnets.serving.settings import TOKEN_VARIABLE, Settings

ENDING = 5.0
"""Seconds that a worker has between its last word and its end."""
Told = Callable[[Head], None]
"""Called with the answer of one image."""


class Process:
    """A worker: alive, maybe silent, at last ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self.hello: Head = {}
        """What it serves: model, engine, card, notes, and whether it explains."""
        self.ended = asyncio.Event()
        self.waiting: dict[int, Told] = {}
        """The images that it has not answered, by their numbers."""
        self.explaining: set[int] = set()
        """Those of them that it explains."""
        self.answered = self._loop.time()
        """When the last prediction came."""
        self._asked: float | None = None
        """When the oldest ping that was not answered was sent."""
        self._tasks = [asyncio.create_task(self._log())]

    @classmethod
    async def start(cls, settings: Settings) -> "Process":
        """A worker that has loaded its model and tested it.

        Raises the ``ResnetsError`` that the model led to, ``CannotGoOn`` for one that just ended.
        """
        told = {
            "run": str(settings.run),
            "engine": settings.engine,
            "precision": settings.precision,
            "batch": settings.limits.batch,
            "pixels": settings.limits.pixels,
            "side": settings.limits.side,
        }
        pipe = asyncio.subprocess.PIPE
        process = cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "resnets.serving.worker", json.dumps(told)),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env={name: each for name, each in os.environ.items() if name != TOKEN_VARIABLE},
                start_new_session=os.name == "posix",  # no signal of the terminal
            )
        )
        try:
            hello = await process._first()
            if hello is None or hello["kind"] == "failed":
                raise await process._failure(hello)
        except BaseException:
            await process.end(at_once=True)
            raise
        process.hello = hello
        process._tasks.append(asyncio.create_task(process._listen()))
        return process

    @property
    def model(self) -> str:
        """SHA-256 of its model's sums."""
        return self.hello["model"]

    @property
    def silence(self) -> float:
        """Seconds since a ping was sent that is not answered yet."""
        return 0.0 if self._asked is None else self._loop.time() - self._asked

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._asked is None:
            self._asked = self._loop.time()
        self._write({"kind": "ping"})

    def send(self, number: int, head: Head, body: bytearray, told: Told) -> None:
        """Give it an image; ``told`` is called with its answer, unless it ends before."""
        self.waiting[number] = told
        if head["kind"] == "explain":
            self.explaining.add(number)
        self._write({**head, "number": number}, body)

    def cancel(self, number: int) -> None:
        """Nobody waits for that image any more."""
        self._write({"kind": "cancel", "number": number})

    def kill(self) -> None:
        """End it at once, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, *, at_once: bool = False) -> None:
        """Let it end, or make it."""
        if at_once:
            self.kill()
        elif self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), ENDING)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks)

    @property
    def _stdout(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdout

    def _write(self, head: Head, body: bytes | bytearray = b"") -> None:
        pipe = self._process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(messages.packed(head, len(body)))
            if body:
                pipe.write(body)

    async def _first(self) -> Head | None:
        try:
            return await messages.receive(self._stdout)
        except ValueError as error:
            raise CannotGoOn(
                f"the worker process says what it should not: {error}",
                fix="let nothing that Python runs at its start print to standard output",
            ) from error

    async def _listen(self) -> None:
        try:
            while (message := await messages.receive(self._stdout)) is not None:
                self._take(message)
        except (KeyError, TypeError, ValueError) as error:  # an image may have taken it over
            warn(f"serve: the worker process says what it should not and is ended: {error!r}")
            self.kill()
        finally:
            self.ended.set()
        try:  # killed when it has ended by itself, it would lose its exit code
            await asyncio.wait_for(self._process.wait(), ENDING)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def _take(self, message: Head) -> None:
        if message["kind"] == "pong":
            self._asked = None
        elif (told := self.waiting.pop(message["number"], None)) is not None:
            if message["number"] in self.explaining:
                self.explaining.remove(message["number"])
            else:
                self.answered = self._loop.time()
            told(message)

    async def _log(self) -> None:
        """Pass on what it prints; whatever an image made it print moves no cursor."""
        assert self._process.stderr is not None  # noqa: S101
        while line := await self._process.stderr.read(8192):
            warn(line.decode(errors="backslashreplace").rstrip("\n"))

    async def _failure(self, message: Head | None) -> ResnetsError:
        if message is None:
            await self.end()
            return CannotGoOn(
                f"the worker process ended with {self._process.returncode} while it loaded the "
                "model",
                fix="see the lines above; if there is none, there may be too little memory",
            )
        kind: Any = CannotGoOn if message["exit_code"] == 3 else ConfigError
        return kind(message["problem"], fix=message["fix"])
