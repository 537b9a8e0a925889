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
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_REQUEST = 1.0
"""Seconds within which a second signal is still the first one."""


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
        self._answered = threading.Event()
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
        """Raise ``StopRequested`` once a stop signal came: the loop answers it by itself."""
        if self.requested:
            self._answered.set()
            raise StopRequested

    def _watch(self) -> None:
        number = self._next_signal(None)
        if number is None:
            return
        self.requested = number
        came = time.monotonic()
        while (left := came + self._grace - time.monotonic()) > 0:
            again = self._next_signal(left)
            if self._finished.is_set():
                return
            # Shells and `timeout` signal a process and then its group: that is one request.
            if again and time.monotonic() - came > ONE_REQUEST:
                self._exit(number)
        self._save_and_exit(number)

    def _next_signal(self, seconds: float | None) -> int | None:
        """The next signal's number; ``None`` when the time is over or the context ends."""
        self._reader.settimeout(seconds)
        try:
            while (number := self._reader.recv(1)[0]) not in (0, *SIGNALS):
                pass
        except TimeoutError:
            return None
        return number or None

    def _save_and_exit(self, number: int) -> None:
        with self.lock:  # waits for a save that is under way
            if not self._answered.is_set():
                try:
                    self._save()
                except Exception as problem:
                    print(f"resnets: {problem}", file=sys.stderr, flush=True)
                    self._exit(number, code=3)
                print(
                    "resnets: stopped within a step; the state before it is saved: "
                    "the same command continues there",
                    file=sys.stderr,
                    flush=True,
                )
                self._exit(number)
        if not self._finished.wait(self._grace):
            self._exit(number)  # the state is saved; only the sealing took too long

    def _exit(self, number: int, code: int | None = None) -> None:
        if sys.stderr.isatty():
            print("\x1b[?25h", end="", file=sys.stderr, flush=True)  # the bar had hidden the cursor
        os._exit(128 + number if code is None else code)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """The Python-level handler; the thread was already told through the wake-up socket."""
