"""Ctrl-C and SIGTERM: give up the running step, save the state before it, exit in time.

The training loop asks ``requested`` between steps. A step can take longer than a user will wait
(one backward pass of a deep network is a single call that Python cannot interrupt), so a thread
watches: if the loop has not answered within ``grace`` seconds, it saves the state itself, under
the lock that keeps the loop from changing the weights, and ends the process.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequested(Exception):
    """Raised by the loop, between steps, once a stop signal came."""


class StopWatch:
    """A context in which the stop signals become a request; outside the main thread, nothing.

    Args:
        save: writes the state before the running step; called with ``lock`` held.
        grace: seconds the loop has to answer by itself.
    """

    def __init__(self, save: Callable[[], None], *, grace: float = 3.0) -> None:
        self.requested: int | None = None
        """The signal's number, once one came."""
        self.lock = threading.Lock()
        """Held by the loop while it changes the weights, and by whoever saves."""
        self._save, self._grace = save, grace
        self._finished = threading.Event()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        # The wake-up socket is written by the C-level handler, also in the middle of one long
        # call into torch, when no Python handler can run.
        self._old_wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, _leave_it_to_the_thread)
        self._thread = threading.Thread(target=self._watch, name="stop signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finished.set()
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        self._writer.send(b"\0")  # no signal's number: the thread ends
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def check(self) -> None:
        """Raise ``StopRequested`` once a stop signal came."""
        if self.requested:
            raise StopRequested

    def _watch(self) -> None:
        number = self._next_signal()
        if number is None:
            return
        self.requested = number
        self._reader.settimeout(self._grace)
        try:
            again = self._next_signal()
        except TimeoutError:
            self._save_and_exit(number)
            return
        if again is not None:  # a second signal: at once, without saving
            os._exit(128 + number)

    def _next_signal(self) -> int | None:
        while True:
            number = self._reader.recv(1)[0]
            if number == 0:
                return None
            if number in SIGNALS:
                return number

    def _save_and_exit(self, number: int) -> None:
        with self.lock:
            if self._finished.is_set():
                return
            self._save()
            print(
                "stopped within a step; the state before it is saved: "
                "the same command continues there",
                file=sys.stderr,
                flush=True,
            )
            os._exit(128 + number)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """The Python-level handler; the thread was already told through the wake-up socket."""
