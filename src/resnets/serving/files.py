"""The page's own files, and the run's report: fixed names, read here and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from resnets.pages import POLICY
from resnets.serving.refusals import Refusal

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PIECE = 2**16
"""Bytes given out at a time: a client that reads slowly holds no more."""


def page_files() -> dict[str, tuple[bytes, str]]:
    """What is served at each path: the bytes and their type; index.html at ``/``."""
    files = (file for file in sorted(PAGE.iterdir()) if file.suffix in TYPES)
    return {
        "/" if file.name == "index.html" else f"/{file.name}": (
            file.read_bytes(),
            TYPES[file.suffix],
        )
        for file in files
    }


def page_response(data: bytes, kind: str) -> Response:
    """One file of the page."""
    headers = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}
    return Response(data, media_type=kind, headers=headers)


class Report:
    """The run's report.html, kept in memory and read again when it was written anew."""

    def __init__(self, run: Path) -> None:
        self.file = run / "report.html"
        self._data = b""
        self._stamp: tuple[int, int] | None = None

    async def response(self) -> Response:
        """The report. Raises ``Refusal`` where there is none."""
        try:
            data = await asyncio.to_thread(self._read)
        except OSError as cause:
            raise Refusal(
                404, "this run has no report", "make one with `resnets report RUN`"
            ) from cause
        headers = {"content-security-policy": REPORT_POLICY, "content-length": str(len(data))}
        return StreamingResponse(_pieces(data), media_type=TYPES[".html"], headers=headers)

    def _read(self) -> bytes:
        stat = self.file.stat()
        if self._stamp != (stat.st_mtime_ns, stat.st_size):
            self._data = self.file.read_bytes()
            self._stamp = stat.st_mtime_ns, stat.st_size
        return self._data


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]
