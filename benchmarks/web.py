"""A site in a browser against PyTorch: the same answers, how close, and how fast.

    python benchmarks/web.py --run runs/flowers --data FOLDER
    python benchmarks/web.py --run runs/flowers --data FOLDER --precision int8

Exports a site from the run, serves it on this machine, opens it in headless Chromium and gives it
200 images of the test split, evenly spaced: once as PNG with the pixels that PyTorch saw, once as
the JPEG files that they are, which browsers decode in their own way. That is done on the first
visit (one thread) and after a reload (several threads, where the service worker isolates the page).
Prints, and appends to results/web.csv, a row for each of the four: images, how many have PyTorch's
best label, the accuracy of both, the largest difference of a probability from PyTorch's and from
that of the same file under ONNX Runtime outside of the browser, and the median, least and greatest
milliseconds of an image, decoding included. Five minutes for ResNet-50 at 128 pixels.

    --force     prints only, busy or not
"""

import argparse
import base64
import functools
import http.server
import io
import operator
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recording import append, refuse_if_busy

from resnets.data.sources import FileImages
from resnets.decoding import decode
from resnets.exporting import export_model
from resnets.exporting.web import RUNTIME_VERSION
from resnets.prediction import Classifier, load

Row = dict[str, float]
"""Label -> probability."""
IMAGES, AT_ONCE = 200, 10
READY = 120_000
"""Milliseconds that the model may take to load."""
CONNECT = """async () => {
    const {connect} = await import("./backend.js");
    globalThis.backend = await connect({loading() {}, place() {}});
    return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 4) : 1;
}"""
ASK = """async (images) => {
    const answers = [];
    for (const image of images) {
        const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
        const began = performance.now();
        const {predictions} = await globalThis.backend.predict(new Blob([bytes]));
        answers.push([performance.now() - began, predictions]);
    }
    return answers;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def as_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def compare(
    page: Any, files: list[bytes], wanted: list[Row], native: list[Row], labels: list[str]
) -> dict[str, object]:
    """What the page says of the files, beside PyTorch and the same model outside of the browser.

    Probabilities are compared label by label, as the page shows them.
    """
    for image in files[:2]:  # the first answers build what later ones use
        page.evaluate(ASK, [base64.b64encode(image).decode()])
    answers: list[Any] = []
    for first in range(0, len(files), AT_ONCE):
        some = [base64.b64encode(data).decode() for data in files[first : first + AT_ONCE]]
        answers += page.evaluate(ASK, some)
    shown = [{each["label"]: each["probability"] for each in ranked} for _, ranked in answers]
    took = [milliseconds for milliseconds, _ in answers]
    best, their_best = [list(map(top, rows)) for rows in (shown, wanted)]
    return {
        "images": len(files),
        "same_label": sum(map(operator.eq, best, their_best)),
        "accuracy": round(statistics.mean(map(operator.eq, best, labels)), 4),
        "pytorch_accuracy": round(statistics.mean(map(operator.eq, their_best, labels)), 4),
        "largest_difference": f"{largest(shown, wanted):.2g}",
        "from_native": f"{largest(shown, native):.2g}",
        "median_ms": round(statistics.median(took), 1),
        "min_ms": round(min(took), 1),
        "max_ms": round(max(took), 1),
    }


def top(row: Row) -> str:
    return max(row, key=row.__getitem__)


def largest(shown: list[Row], others: list[Row]) -> float:
    """Difference of a probability."""
    pairs = zip(shown, others, strict=True)
    return max(abs(row[label] - other[label]) for row, other in pairs for label in row)


def ranked(classifier: Classifier, paths: list[Path]) -> list[Row]:
    rows = classifier.predict([str(path) for path in paths], top=len(classifier.classes))
    return [{each.label: each.probability for each in row} for row in rows]


def chosen(classifier: Classifier, data: str | None) -> tuple[list[Path], list[str]]:
    """Files of the test split, evenly spaced, and their classes."""
    split = classifier.labelled(data, "test").splits["test"]
    images = split.images
    assert isinstance(images, FileImages), "the test split is no folder of files"
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    paths = [Path(images.root) / images.paths[place] for place in places]
    return paths, [classifier.classes[split.labels[place]] for place in places]


def main() -> None:
    from playwright.sync_api import sync_playwright

    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--run", type=Path, required=True)
    arguments.add_argument("--data", help="labelled images  [default: the run's own]")
    arguments.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    given = arguments.parse_args()
    refuse_if_busy(force=given.force)
    classifier = load(given.run)
    paths, labels = chosen(classifier, given.data)
    wanted = ranked(classifier, paths)
    background = classifier.preprocess.background
    ways = {
        "equal pixels": [as_png(decode(path, background=background)) for path in paths],
        "files": [path.read_bytes() for path in paths],
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = export_model(given.run, "web", given.precision, out=Path(folder) / "site").path
        native = ranked(load(site), paths)
        size = sum(file.stat().st_size for file in site.iterdir())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        with served(site) as address:
            page = browser.new_page()
            for visit in ("first", "later"):
                page.goto(address)
                page.locator("#model").wait_for(timeout=READY)
                threads = page.evaluate(CONNECT)
                for way, files in ways.items():
                    row = {
                        "run": given.run.name,
                        "architecture": classifier.card["architecture"],
                        "input_side": classifier.preprocess.input_size[1],
                        "precision": given.precision,
                        "site_bytes": size,
                        "browser": f"Chromium {browser.version}",
                        "runtime": f"onnxruntime-web {RUNTIME_VERSION}",
                        "visit": visit,
                        "threads": threads,
                        "given": way,
                        **compare(page, files, wanted, native, labels),
                    }
                    append("web", row, force=given.force)
        browser.close()


if __name__ == "__main__":
    main()
