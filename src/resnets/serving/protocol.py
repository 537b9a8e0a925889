"""HTTP/1.1 on one connection, with deadlines that nothing extends and a cap on connections.

uvicorn waits for ever for the headers of a request and for a client that does not read its answer.
"""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from resnets.serving.refusals import Refusal, busy
from resnets.serving.settings import Limits

BEYOND = 2.0
"""Seconds after which a connection is cut, beyond those after which its request is refused."""
LINGER = 1.0
"""Seconds between a refusal amid a body and the end of the connection, for the client to read it:
were the connection ended at once, what was not read would reset it, and the refusal be lost."""


class BoundedProtocol(H11Protocol):
    """One connection: the head of a request, its body, its answer, each with its deadline."""

    def __init__(self, *, limits: Limits, addresses: Counter[str], **how: Any) -> None:
        super().__init__(**how)
        self.limits = limits
        self.addresses = addresses
        """Connections of each address, shared by all."""
        self._phase: object = None
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        lingering = _Lingering(transport, self._amid_body, self._keep_time)
        super().connection_made(lingering)  # type: ignore[arg-type]
        # asyncio leaves this to us for a socket that it did not make; head and body of an answer
        # are two writes, and the second would wait 40 ms for the first to be acknowledged.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = self._address = self.client[0] if self.client else ""
        self.addresses[address] += 1
        if len(self.connections) > self.limits.connections:
            self._refuse(busy("too many connections"))
        elif self.addresses[address] > self.limits.connections_per_address:
            self._refuse(
                Refusal(429, "too many connections from one address", "use fewer", retry_after=1)
            )
        self._keep_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.addresses[self._address] -= 1
        if not self.addresses[self._address]:
            del self.addresses[self._address]
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._keep_time()

    def on_response_complete(self) -> None:
        """The answer is written, if not read."""
        super().on_response_complete()
        self._keep_time()

    def shutdown(self) -> None:
        """The service ends: finish what was asked, wait no longer for what is not."""
        self._stopping = True
        if self.cycle is not None:  # else its first request may be on the way
            super().shutdown()
        asking = self.cycle is None or self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if asking or self.cycle.response_started:
            self._cut_after(self.limits.stop_seconds + BEYOND)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer like all others."""
        self._refuse(Refusal(400, msg.rstrip("."), "speak HTTP/1.1"))

    def _keep_time(self) -> None:
        """Set the deadline of the phase that the connection is in, once."""
        state, limits = self.conn.their_state, self.limits
        if state is h11.IDLE and self.transport.get_write_buffer_size():
            return  # the answer is still being read
        begun = self.cycle is None
        if state is h11.IDLE:
            begun |= self.conn.trailing_data[0] != b""
        elif state is not h11.SEND_BODY and not begun:
            begun = self.cycle.response_started
        phase = (state, id(self.cycle), begun)
        if phase == self._phase or (self.transport.is_closing() and self._phase is not None):
            return
        self._phase = phase
        if state is h11.IDLE:
            self._cut_after(limits.head_seconds if begun else limits.idle_seconds + BEYOND)
        elif state is h11.SEND_BODY:
            self._cut_after(limits.body_seconds + BEYOND)
        elif begun:
            self._cut_after(
                limits.stop_seconds + BEYOND if self._stopping else limits.reading_seconds
            )
        else:
            longest = max(limits.answer_seconds, limits.explain_seconds)
            self._cut_after(longest + limits.reading_seconds)

    def _cut_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _amid_body(self) -> bool:
        """Whether the client is still sending; what came of it is no longer needed."""
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        self.cycle.body.clear()
        return True

    def _refuse(self, refusal: Refusal) -> None:
        body = json.dumps(refusal.body()).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **refusal.headers(),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {refusal.status} Refused\r\n{head}\r\n".encode() + body)
        self.transport.close()


class _Lingering:
    """A transport that ends amid a body only when the client can have read why."""

    def __init__(
        self,
        transport: asyncio.Transport,
        amid_body: Callable[[], bool],
        written: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._amid_body = amid_body
        self._written = written
        self._ending = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it, when the client reads."""
        self._transport.write(data)
        self._written()

    def is_closing(self) -> bool:
        """Whether nothing more is to be read or written."""
        return self._ending or self._transport.is_closing()

    def close(self) -> None:
        """End it, now or a little later; in between nothing is read."""
        if self._ending:
            return
        self._ending = True
        if self._amid_body():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(LINGER, self._transport.close)
        else:
            self._transport.close()
