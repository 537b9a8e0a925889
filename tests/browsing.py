"""A headless Chromium that notes whatever a page does wrong, and files served on this machine."""

import base64
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class QuietHandler(SimpleHTTPRequestHandler):
    """The files of a folder, without a line on the terminal for each."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def listening(handler: Any) -> Iterator[str]:
    """A server on this machine, and its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def serving(folder: Path) -> Any:
    """The files of a folder on this machine, and their address."""
    return listening(partial(QuietHandler, directory=str(folder)))


@contextmanager
def chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: "Browser", **how: Any) -> Iterator["Page"]:
    """A fresh page. What it throws, logs as an error or asks of other hosts fails the test.

    Failed requests are no fault of the page, and Chromium logs them by itself.
    """
    trouble: list[str] = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            trouble.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:", "file:", "http://127.0.0.1:")):
            trouble.append(f"asks for {request.url}")

    def opened(dialog: Any) -> None:
        trouble.append(f"opens a dialog: {dialog.message}")
        dialog.dismiss()

    with_context = browser.new_context(**{"locale": "en-GB", **how})
    page = with_context.new_page()
    page.set_default_timeout(20_000)
    page.on("console", heard)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", asked)
    page.on("dialog", opened)
    try:
        yield page
        assert not trouble
    finally:
        with_context.close()


def hand_over(page: "Page", kind: str, files: dict[str, bytes], media: str = "image/png") -> None:
    """Let files be dropped on or pasted into a page; ``kind``: drop or paste."""
    page.evaluate(
        """([kind, files, media]) => {
            const data = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], name, {type: media}));
            }
            const how = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
            if (kind === "paste") document.body.dispatchEvent(new ClipboardEvent(kind, how));
            else for (const each of ["dragenter", "dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(each, how));
            }
        }""",
        [kind, [(name, base64.b64encode(data).decode()) for name, data in files.items()], media],
    )


def answers(page: "Page", count: int) -> list[dict[str, float]]:
    """Label -> percent, as the page shows them, of each picture once so many are answered."""
    page.locator(".bars").nth(count - 1).wait_for()
    return [
        {
            row.locator("bdi").inner_text(): float(row.locator(".figure").inner_text().rstrip("%"))
            for row in bars.locator("li").all()
        }
        for bars in page.locator(".bars").all()
    ]
