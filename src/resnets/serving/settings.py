"""What a service is told at its start, and how much it takes on."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from resnets.errors import ConfigError

MEGABYTE = 2**20
TOKEN_VARIABLE = "RESNETS_TOKEN"
SHORTEST_TOKEN = 16
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""What clients on the same machine call it in their Host header."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much, how many, how long. Times are in seconds and absolute: nothing extends them."""

    body: int = 16 * MEGABYTE
    """Bytes of one request."""
    held: int = 32 * MEGABYTE
    """Bytes of all requests together that wait for an answer."""
    images: int = 64
    """In one request."""
    pixels: int = 50_000_000
    """Of one image, known before it is decoded."""
    side: int = 20_000
    """Pixels of its longer side: what resizes a side is kept for the next image of that shape."""
    queue: int = 256
    """Images that wait."""
    explanations: int = 4
    """Explanations that wait: each takes about as long as a hundred answers."""
    batch: int = 8
    """Images that the network answers together."""
    connections: int = 2_000
    connections_per_address: int = 100
    head_seconds: float = 10.0
    """From a connection, or the first byte of its next request, to the end of the headers."""
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    """From a whole request to its answer; what could not be answered by then is refused."""
    explain_seconds: float = 120.0
    reading_seconds: float = 30.0
    """That a client takes to read its answer."""
    idle_seconds: float = 30.0
    """Between an answer and the next request on the same connection."""
    stop_seconds: float = 3.0
    """That slow clients are waited for once the service was told to stop."""
    silence_seconds: float = 1.0
    """Without a sign of life from the worker, after which the service calls itself not ready."""
    stall_seconds: float = 10.0
    """Without a sign of life, or with an answer overdue, after which the worker is replaced."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One service. Raises ``ConfigError`` where it would be open to anyone."""

    run: Path
    host: str = "127.0.0.1"
    port: int = 8000
    """0: one that is free."""
    engine: str | None = None
    precision: str = "fp32"
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header beside the loopback names and ``host``."""
    log_requests: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is not None and (
            len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or " " in self.token
        ):
            raise ConfigError(
                f"the token has to be {SHORTEST_TOKEN} or more ASCII characters without spaces",
                fix='make one: python -c "import secrets; print(secrets.token_urlsafe())"',
            )
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} is open to other machines, and no token is set",
                fix=f"give --token-file FILE or set {TOKEN_VARIABLE}, or leave out --host",
            )


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(file: Path | None) -> str | None:
    """The token in the file, else in the environment, else none. Raises ``ConfigError``."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(
            f"cannot read the token in {file}: {cause}", fix="write it there, readable to you alone"
        ) from cause
