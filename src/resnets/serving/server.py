"""The front's life: bind, load, serve, reload, stop."""

import asyncio
import dataclasses
import functools
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from resnets.console import warn
from resnets.errors import ConfigError
from resnets.machine import return_memory
from resnets.serving.app import create_app
from resnets.serving.dispatch import Dispatch
from resnets.serving.guard import Guard
from resnets.serving.metrics import Metrics
from resnets.serving.protocol import BoundedProtocol
from resnets.serving.settings import Settings

BACKLOG = 1024
SPARE_FILES = 100
"""Open files beside those of the connections."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, after which it returns, or Ctrl-C, after which it raises it again.

    Raises ``ConfigError`` for an address that cannot be had, and what the model leads to.
    """
    return_memory()  # bodies come and go; the command line has told it to keep what it frees
    most = max(1, _open_files(settings.limits.connections + SPARE_FILES) - SPARE_FILES)
    if most < settings.limits.connections:
        limits = dataclasses.replace(settings.limits, connections=most)
        settings = dataclasses.replace(settings, limits=limits)
    with _bound(settings) as listening:
        stopped_by = asyncio.run(_Service(settings, listening).run())
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt


class _Service(uvicorn.Server):
    """uvicorn's server, with signals of our own."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self.settings = settings
        self.listening = listening
        self.metrics = Metrics()
        self.dispatch = Dispatch(settings, self.metrics)
        self.guard: Guard = create_app(settings, self.dispatch, self.metrics)
        limits = settings.limits
        protocol = functools.partial(BoundedProtocol, limits=limits, addresses=Counter[str]())
        longest = max(limits.answer_seconds, limits.explain_seconds)
        super().__init__(
            uvicorn.Config(
                self.guard,
                http=protocol,  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=round(limits.idle_seconds),
                timeout_graceful_shutdown=round(longest + limits.stop_seconds),
                backlog=BACKLOG,
            )
        )
        self._starting: asyncio.Task[None] | None = None
        self.stopped_by: int | None = None
        self.bug: BaseException | None = None
        self.dispatch.failed = self._fail

    async def run(self) -> int | None:  # type: ignore[override]
        """Load the model, say where it is, and serve; returns the signal that ended it."""
        with self.capture_signals():
            self._starting = asyncio.create_task(self.dispatch.start())
            try:
                await self._starting
            except asyncio.CancelledError:
                return self.stopped_by
            await self._serve_on()
        if self.bug is not None:
            raise self.bug
        return self.stopped_by

    async def _serve_on(self) -> None:
        for note in self.dispatch.served["notes"]:
            warn(f"note: {note}")
        host, port = self.listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        model = self.dispatch.served["model"][:12]
        warn(f"serve: model {model} at http://{shown}:{port}/ (Ctrl-C ends it)")
        await self.serve(sockets=[self.listening])
        await self.dispatch.stop()

    def _fail(self, bug: BaseException) -> None:
        """Go down with an error of ours, rather than serve without a watch over the worker."""
        self.bug = bug
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop and reload by signals; what was there before is put back."""
        wanted = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if hasattr(signal, "SIGHUP"):
            wanted[signal.SIGHUP] = lambda *_: self.dispatch.reload()
        if threading.current_thread() is not threading.main_thread():
            wanted = {}
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Not ready from now on; the second signal ends everything at once."""
        if self.should_exit:
            self.force_exit = True
            self.dispatch.kill()
            return
        self.stopped_by = sig
        if self._starting is not None:  # nothing was accepted yet
            self._starting.get_loop().call_soon_threadsafe(self._starting.cancel)
        self.dispatch.stopping = True
        self.guard.stop()
        self.should_exit = True


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family)
    except OSError as cause:
        raise ConfigError(
            f"cannot serve at {settings.host}, port {settings.port}: {cause.strerror}",
            fix="choose another one: --port 0 takes any that is free",
        ) from cause
    with listening:
        yield listening


def _open_files(wanted: int) -> int:
    """How many files this process may hold open, after asking for so many."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)
