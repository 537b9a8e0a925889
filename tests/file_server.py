"""A server on this machine that has files, and can misbehave in the ways that networks do."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOBODY = "http://127.0.0.1:9/"
"""A port of this machine where nobody listens."""


class FileServer:
    """Files by path, and how they are to be served."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.asked: list[str] = []
        """Method, path and range of each request."""
        self.breaks: list[int] = []
        """For each coming answer, after how many bytes the connection is dropped."""
        self.failures: list[int] = []
        """For each coming request, the status it fails with."""
        self.lie = 0
        """Added to every Content-Length."""
        self.knows_ranges = True

    def add(self, path: str, content: bytes) -> str:
        """Have a file served; returns its URL."""
        self.files[path] = content
        return self.url + path

    def add_repository(self, name: str, files: dict[str, bytes]) -> None:
        """Have a repository served as the Hugging Face hub does it."""
        for file, content in files.items():
            self.add(f"{name}/resolve/main/{file}", content)


@contextmanager
def serving() -> Iterator[FileServer]:
    """A running server."""
    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
            server.asked.append(f"{self.command} {path} {wanted}".strip())
            if server.failures:
                return self.send_error(server.failures.pop(0))
            if path not in server.files:
                repository = path.partition("/resolve/")[0]
                known = any(name.startswith(f"{repository}/resolve/") for name in server.files)
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            content = server.files[path]
            match = re.fullmatch(r"bytes=(\d+)-", wanted) if server.knows_ranges else None
            start = int(match[1]) if match else 0
            if match and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if match else 200)
            if match:
                last = len(content) - 1 + server.lie
                whole = len(content) + server.lie
                self.send_header("Content-Range", f"bytes {start}-{last}/{whole}")
            digest = hashlib.sha256(content).hexdigest()  # as the hub's LFS files have it
            self.send_header("ETag", f'"{digest}"')
            self.send_header("X-Repo-Commit", "0123456789" * 4)
            self.send_header("Content-Length", str(len(content) - start + server.lie))
            self.end_headers()
            if self.command == "GET":
                until = start + server.breaks.pop(0) if server.breaks else len(content)
                self.wfile.write(content[start:until])
            return None

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
