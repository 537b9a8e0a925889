"""A service in processes of its own, as `resnets serve` starts it, and clients for it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

STARTS = 60.0
"""Seconds that a service may take to start, or a worker to come back, on a busy machine."""
WITH_LIMITS = """
import json, pathlib, sys
from resnets.serving import Limits, Settings
from resnets.serving.server import serve
told = json.loads(sys.argv[1])
told["limits"] = Limits(**told["limits"])
serve(Settings(run=pathlib.Path(told.pop("run")), port=0, **told))
"""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Service:
    """Started as a command, or with limits that no command has; ended with ``close``."""

    def __init__(self, run: Path, log: Path, *arguments: object, token="", limits=None, **told):
        self.log = log
        if limits is None:
            command = ["-m", "resnets", "serve", run, "--port", 0, *arguments]
        else:
            command = ["-c", WITH_LIMITS, json.dumps({"run": str(run), "limits": limits, **told})]
        self.token = token
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                stdout=file,
                stderr=file,
                env=os.environ | ({"RESNETS_TOKEN": token} if token else {}),
                start_new_session=True,
            )
        until(lambda: "at http://" in self.text or self.process.poll() is not None)
        assert self.process.poll() is None, self.text
        found = re.search(r"at http://[\d.]+:(\d+)/", self.text)
        assert found is not None
        self.port = int(found[1])

    @property
    def text(self) -> str:
        return self.log.read_text(errors="backslashreplace")

    @property
    def worker(self) -> int:
        """The process id of the worker that was the last to be started; 0 while there is none."""
        found: list[str] = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
                found += (task / "children").read_text().split()
        return max(map(int, found), default=0)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        source: str | None = None,
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=STARTS, source_address=address_of(source)
        )
        try:
            token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request(method, path, body, token | (headers or {}))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, told, answer.read())
        finally:
            connection.close()

    def predict(self, image: bytes, top: int = 1) -> Reply:
        return self.ask("POST", f"/v1/predict?top={top}", image)

    def ready(self) -> bool:
        return self.ask("GET", "/health/ready").status == 200

    def metric(self, line: str) -> float:
        """A value of /metrics, by the name and labels before it."""
        for found in self.ask("GET", "/metrics").data.decode().splitlines():
            if found.startswith(line + " "):
                return float(found.rsplit(" ", 1)[1])
        return 0.0

    def socket(self, source: str | None = None) -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=STARTS, source_address=address_of(source)
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STARTS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def address_of(source: str | None) -> tuple[str, int] | None:
    """Where a connection comes from, or nothing: a port that is not bound before is free sooner."""
    return (source, 0) if source else None


class Load:
    """Clients that send an image again and again, each on connections of its own."""

    def __init__(self, service: Service, image: bytes, clients: int = 4) -> None:
        self.replies: list[Reply | Exception] = []
        self._service = service
        self._image = image
        self._ends = threading.Event()
        self._clients = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for client in self._clients:
            client.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                self.replies.append(self._service.predict(self._image))
            except (OSError, http.client.HTTPException) as error:
                self.replies.append(error)
                time.sleep(0.01)


def multipart(images: dict[str, bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """A body of one part for each name and image, and its header, written by the book: RFC 7578."""
    parts = b"".join(
        f"--{boundary}\r\n".encode()
        + f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in images.items()
    )
    return parts + f"--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


def until(true: Callable[[], object], seconds: float = STARTS) -> float:
    """Wait until it is so, and give the seconds that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it never came to that"
        time.sleep(0.02)
    return time.monotonic() - began


def memory(pid: int, kind: str = "VmRSS") -> int:
    """Bytes of a process in memory; VmHWM: the most since its start or ``forget_peak``."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{kind}:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) * 1024


def forget_peak(pid: int) -> None:
    """Let VmHWM begin anew: proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
