"""A file from the web: continued after a break, and kept only once it is the one wanted."""

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from resnets.console import Progress
from resnets.errors import CannotGoOn, ModelFileError

MEGABYTE = 1 << 20
TRIES = 5
PAUSE = 1.0
"""Seconds to wait after the first break; one more after each that follows."""
TIMEOUT = 30.0
"""Seconds without a byte after which the connection counts as broken."""


def download(
    url: str, target: Path, *, check: Callable[[Path], str], progress: Progress, fix: str
) -> Path:
    """Fetch a file; it appears at ``target`` once whole and checked, never before.

    What arrived before a break stays in ``target`` + ``.part``, and the next try or the next call
    asks for the rest.

    Args:
        check: what is wrong with the bytes of a file, or nothing. Where they are wrong they are
            removed, and fetched once more if they came in parts, which may be two files' halves.
        fix: how the file can be had by hand.

    Raises ``ModelFileError`` where the file cannot be had, ``CannotGoOn`` where it cannot be kept.
    """
    part = target.with_name(target.name + ".part")
    progress.line(f"downloading {url}")
    reason = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for tries in range(TRIES):
            time.sleep(PAUSE * tries)
            in_one = not part.exists()
            try:
                _continue(url, part, progress)
            except urllib.error.HTTPError as cause:
                reason = f"HTTP {cause.code} {cause.reason}"
                if cause.code < 500 and cause.code not in (408, 416, 429):
                    break  # asking again gets the same answer
                continue
            except (OSError, http.client.HTTPException) as cause:
                reason = _words(cause)
                continue
            if not (reason := check(part)):
                return part.replace(target)
            part.unlink()
            if in_one:
                break
    except _Unwritable as cause:
        raise CannotGoOn(
            f"cannot write {target}: {cause}",
            fix="make room there, or name another folder: RESNETS_WEIGHTS_DIR=/some/folder",
        ) from cause
    except OSError as cause:
        raise CannotGoOn(
            f"cannot write {target}: {cause.strerror or cause}",
            fix="name a folder that can be written: RESNETS_WEIGHTS_DIR=/some/folder",
        ) from cause
    finally:
        progress.end()
    raise ModelFileError(f"{url} could not be downloaded: {reason}", fix=fix)


class _Unwritable(Exception):
    """The disk refused: no reason to ask the server again."""


def _continue(url: str, part: Path, progress: Progress) -> None:
    """Fetch what a partial file lacks. Raises ``OSError`` where the connection breaks off."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "resnets"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as cause:
        if cause.code != 416:
            raise
        if cause.headers.get("Content-Range") == f"bytes */{done}":
            return  # nothing is lacking
        part.unlink(missing_ok=True)  # longer than the file: not a part of it
        raise
    with answer:
        done, total = _where(answer, done)
        progress.begin(part.stem, total and -(-total // MEGABYTE), unit="MB")
        progress.advance(done // MEGABYTE)
        with open(part, "r+b" if done else "wb") as file:
            file.seek(done)
            while block := answer.read(MEGABYTE):
                _write(file.write, block)
                done += len(block)
                progress.advance(1)
            _write(file.flush)
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise ConnectionError(f"broke off after {done:,} of {total:,} bytes")


def _where(answer: http.client.HTTPResponse, done: int) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and the whole file's size where the server says it."""
    if answer.status != 206:  # all of it: the server does not know ranges
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not match or int(match[1]) != done:
        raise ConnectionError("the server sent another part than the one asked for")
    return done, None if match[2] == "*" else int(match[2])


def _write(write: Callable[..., object], *data: bytes) -> None:
    try:
        write(*data)
    except OSError as cause:
        raise _Unwritable(cause.strerror or str(cause)) from cause


def _words(cause: Exception) -> str:
    return str(cause).removeprefix("<urlopen error ").removesuffix(">") or type(cause).__name__
