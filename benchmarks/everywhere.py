"""One model, five ways: does every photo of a test split get the same label in each of them?

    python benchmarks/everywhere.py --run runs/flowers --data FOLDER

Asks PyTorch, ONNX Runtime, OpenVINO, the service over HTTP and a site in headless Chromium for all
images of the test split, all in fp32. The browser is asked twice: with PNG files of the pixels that
the others decode, and with the JPEG files that they are, which it decodes in its own way. Prints,
and appends to results/everywhere.csv, a row for each way: how many images have PyTorch's label, the
accuracy, the largest difference of a probability from PyTorch's, and the images whose label
differs, each with the difference of PyTorch's two best probabilities. Speed is not measured, so
nothing else has to stand still. Two minutes for a ResNet-18 at 128 pixels and 736 photos.
"""

import argparse
import base64
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recording import append

from resnets.data.sources import FileImages
from resnets.decoding import decode
from resnets.exporting import export_model
from resnets.prediction import Classifier, load
from web import ASK, CONNECT, READY, Row, as_png, largest, ranked, served, top


def test_split(classifier: Classifier, data: str) -> tuple[list[Path], list[str]]:
    """Every file of the test split, and its class."""
    split = classifier.labelled(data, "test").splits["test"]
    assert isinstance(split.images, FileImages), "the test split is no folder of files"
    paths = [Path(split.images.root) / path for path in split.images.paths]
    return paths, [classifier.classes[label] for label in split.labels]


def over_http(run: Path, paths: list[Path]) -> list[Row]:
    """What `resnets serve` answers to each file as the body of a request."""
    command = [sys.executable, "-m", "resnets", "serve", str(run), "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert service.stderr is not None
        address = next(
            found[0]
            for line in service.stderr
            if (found := re.search(r"http://127.0.0.1:\d+/", line))
        )
        rows = []
        for path in paths:
            request = urllib.request.Request(f"{address}v1/predict?top=1000", path.read_bytes())
            with urllib.request.urlopen(request) as answer:
                (result,) = json.load(answer)["results"]
            rows.append({each["label"]: each["probability"] for each in result["predictions"]})
        return rows
    finally:
        service.terminate()
        service.wait()


@contextmanager
def page_of(site: Path) -> Iterator[Any]:
    """The exported site, its model loaded, in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, served(site) as address:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(address)
        page.locator("#model").wait_for(timeout=READY)
        page.evaluate(CONNECT)
        yield page
        browser.close()


def in_browser(page: Any, files: list[bytes]) -> list[Row]:
    rows = []
    for data in files:
        ((_, shown),) = page.evaluate(ASK, [base64.b64encode(data).decode()])
        rows.append({each["label"]: each["probability"] for each in shown})
    return rows


def different(rows: list[Row], wanted: list[Row], paths: list[Path]) -> str:
    """The files whose label is not PyTorch's, and how sure PyTorch was of it."""
    told = []
    for row, other, path in zip(rows, wanted, paths, strict=True):
        if top(row) != top(other):
            first, second, *_ = sorted(other.values(), reverse=True)
            told.append(f"{path.name} ({first - second:.2g})")
    return "; ".join(told)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--run", type=Path, required=True)
    arguments.add_argument("--data", required=True, help="a data set with a test split")
    given = arguments.parse_args()
    classifier = load(given.run)
    paths, labels = test_split(classifier, given.data)
    ways = {"PyTorch": ranked(classifier, paths)}
    with tempfile.TemporaryDirectory() as folder:
        for way, form in (("ONNX Runtime", "onnx"), ("OpenVINO", "openvino")):
            place = export_model(given.run, form, "fp32", out=Path(folder) / form).path  # type: ignore[arg-type]
            ways[way] = ranked(load(place), paths)
        ways["HTTP"] = over_http(given.run, paths)
        site = export_model(given.run, "web", "fp32", out=Path(folder) / "site").path
        background = classifier.preprocess.background
        with page_of(site) as page:
            pixels = [as_png(decode(path, background=background)) for path in paths]
            ways["browser, equal pixels"] = in_browser(page, pixels)
            ways["browser, JPEG files"] = in_browser(page, [path.read_bytes() for path in paths])
    wanted = ways["PyTorch"]
    for way, rows in ways.items():
        pairs = list(zip(rows, wanted, labels, strict=True))
        row = {
            "command": "python benchmarks/everywhere.py --run RUN --data DIR",
            "architecture": classifier.card["architecture"],
            "input_side": classifier.preprocess.input_size[1],
            "way": way,
            "images": len(paths),
            "same_label": sum(top(mine) == top(theirs) for mine, theirs, _ in pairs),
            "accuracy": round(statistics.mean(top(mine) == label for mine, _, label in pairs), 4),
            "largest_difference": f"{largest(rows, wanted):.2g}",
            "different": different(rows, wanted, paths),
        }
        append("everywhere", row)


if __name__ == "__main__":
    main()
