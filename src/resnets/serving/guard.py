"""What stands before every route: who may ask, and how much a request may bring.

It reads the raw stream itself, so that a length that lies, or none, changes nothing.
"""

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from resnets.console import printable, warn
from resnets.serving.metrics import Metrics
from resnets.serving.refusals import Refusal, busy
from resnets.serving.settings import LOOPBACK, Settings

Scope = dict[str, Any]
BODY = "resnets.body"
"""Where in a request's scope its whole body lies, a bytearray."""
OPEN_TO_ALL = ("/health/live", "/health/ready")
"""Besides the page's own files, what needs no token: it tells nothing."""
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""What every answer carries unless its route says otherwise."""


class Gone(Exception):
    """The client left."""


class Guard:
    """An ASGI application around the one with the routes."""

    def __init__(
        self, app: Callable[..., Any], settings: Settings, metrics: Metrics, *, public: set[str]
    ) -> None:
        self.app = app
        self.settings = settings
        self.limits = settings.limits
        self.metrics = metrics
        self.public = public | set(OPEN_TO_ALL)
        """The paths that need no token."""
        self.routes: set[str] = set()
        """The paths that are counted by their names; all others are one."""
        self.held = 0
        """Bytes of bodies in memory."""
        self.stopping = False
        self._reading: dict[asyncio.Timeout, bytearray] = {}
        """The bodies that are not whole yet, by what ends them."""
        self._hosts = {*LOOPBACK, *settings.allowed_hosts, settings.host, f"[{settings.host}]"}

    def stop(self) -> None:
        """Wait no longer for bodies that come slowly."""
        self.stopping = True
        end = asyncio.get_running_loop().time() + self.limits.stop_seconds
        for timeout in self._reading:
            _end_by(timeout, end)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Refuse the request, or pass it on with its whole body."""
        began = time.monotonic()
        takes_body = scope["method"] not in ("GET", "HEAD")
        useless = not takes_body and _has_body(scope)  # nobody reads it: the connection ends
        answer = _Answer(send, close=lambda: self.stopping or useless)
        size, status = 0, 500
        try:
            try:
                self._admit(scope)
                if takes_body:
                    body = scope[BODY] = await self._body(scope, receive)
                    size = len(body)
                    began = time.monotonic()
                await self.app(scope, receive, answer)
            except Refusal as refusal:
                await answer.refuse(refusal, unread=takes_body and BODY not in scope)
            status = answer.status
        except Gone:
            status = 499  # as others call it
        finally:
            self.held -= size
            scope.pop(BODY, bytearray()).clear()  # connections and errors live in cycles
            path = scope["path"]
            seconds = time.monotonic() - began
            self.metrics.finished(path if path in self.routes else "other", status, seconds)
            if self.settings.log_requests:
                line = f"{scope['method']} {path[:200]} {status} {1000 * seconds:.0f} ms"
                warn(printable(line))

    def _admit(self, scope: Scope) -> None:
        headers = _headers(scope)
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        address = (scope.get("server") or ("",))[0]
        if name.lower() not in self._hosts and name.strip("[]") != address:
            raise Refusal(
                421,
                f"this service is not called {name[:100]!r}",
                "use its own address, or start it with --allowed-host",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refusal(403, "a page of another site asks", "open this service's own page")
        token = self.settings.token
        if token is not None and scope["path"] not in self.public:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                raise Refusal(
                    401, "no token, or another one", "send the header Authorization: Bearer TOKEN"
                )

    async def _body(self, scope: Scope, receive: Any) -> bytearray:
        """All bytes of the body; what is held is counted until the answer is out."""
        most = self.limits.body
        headers = _headers(scope)
        if int(headers.get("content-length", 0)) > most:
            raise _too_large(most)
        if headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "the body is compressed", "send the image as it is")
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds()) as timeout:
                self._reading[timeout] = body
                while True:
                    message = await receive()
                    if timeout not in self._reading:
                        raise _full()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    piece = message.get("body", b"")
                    if len(body) + len(piece) > most:
                        raise _too_large(most)
                    while self.held + len(piece) > self.limits.held:
                        self._cut_largest(than=len(body) + len(piece))
                    self.held += len(piece)
                    body += piece
                    if not message.get("more_body", False):
                        return body
        except BaseException as error:
            self.held -= len(body)
            body.clear()  # which the error, while it is told, would keep
            if not isinstance(error, TimeoutError):
                raise
            if timeout not in self._reading:
                raise _full() from error
            raise Refusal(
                408, "the body came too slowly", "send it again on a faster connection"
            ) from error
        finally:
            self._reading.pop(timeout, None)

    def _cut_largest(self, *, than: int) -> None:
        """Give up the largest body that is still coming, so that none can keep others out.

        Raises ``Refusal`` where none has more bytes than that.
        """
        timeout = max(self._reading, key=lambda each: len(self._reading[each]))
        if len(self._reading[timeout]) <= than:
            raise _full()
        body = self._reading.pop(timeout)
        self.held -= len(body)
        body.clear()
        _end_by(timeout, 0)

    def _body_seconds(self) -> float:
        return self.limits.stop_seconds if self.stopping else self.limits.body_seconds


class _Answer:
    """The way back: what is sent, with the headers that every answer has."""

    def __init__(self, send: Any, *, close: Callable[[], bool]) -> None:
        self._send = send
        self._close = close
        self.status = 500

    async def __call__(self, message: Scope) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message["headers"])
            names = {name.lower() for name, _ in headers}
            more = HEADERS | ({"connection": "close"} if self._close() else {})
            headers += [
                (name.encode(), value.encode())
                for name, value in more.items()
                if name.encode() not in names
            ]
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, refusal: Refusal, *, unread: bool) -> None:
        """The refusal as JSON; a connection whose body is not read is of no more use."""
        body = json.dumps(refusal.body()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        headers |= refusal.headers()
        if unread:
            headers["connection"] = "close"
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def _end_by(timeout: asyncio.Timeout, when: float) -> None:
    with contextlib.suppress(RuntimeError):  # it ends at this moment
        timeout.reschedule(min(when, timeout.when() or when))


def _full() -> Refusal:
    return busy("the requests of others fill the memory", after=2)


def _has_body(scope: Scope) -> bool:
    headers = _headers(scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body has more than {most:,} bytes", "send a smaller image, or fewer")


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
