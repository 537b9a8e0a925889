"""What front and worker send each other over a pipe: a JSON object, and bytes.

No pickle: a worker that an image has taken over cannot run code in the front.
"""

import asyncio
import json
import struct
import threading
from typing import Any, BinaryIO

Head = dict[str, Any]
_SIZES = struct.Struct(">II")
"""Bytes of JSON, bytes after it."""
LONGEST = 64 * 2**20
"""Bytes of JSON that the front takes from a worker; an explanation has a few million."""


def packed(head: Head, size: int = 0) -> bytes:
    """What goes before the ``size`` bytes of a message."""
    text = json.dumps(head).encode()
    return _SIZES.pack(len(text), size) + text


async def receive(stream: asyncio.StreamReader) -> Head | None:
    """The next message, in the front; ``None`` where the worker has ended.

    Raises ``ValueError`` for what no worker of ours sends.
    """
    try:
        length, _ = _SIZES.unpack(await stream.readexactly(_SIZES.size))
        if length > LONGEST:
            raise ValueError(f"a message of {length:,} bytes")
        return json.loads(await stream.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class Channel:
    """The worker's end; any thread may send."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._sending = threading.Lock()

    def receive(self) -> tuple[Head, bytes] | None:
        """The next message; ``None`` where the front has ended."""
        sizes = self._incoming.read(_SIZES.size)
        if len(sizes) < _SIZES.size:
            return None
        length, size = _SIZES.unpack(sizes)
        head, body = self._incoming.read(length), self._incoming.read(size)
        return (json.loads(head), body) if len(head) + len(body) == length + size else None

    def send(self, head: Head) -> None:
        """Write one message; to a front that has ended there is nothing to say."""
        with self._sending:
            self._outgoing.write(packed(head))
            self._outgoing.flush()
