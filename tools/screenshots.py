"""Pictures of the page for the documents, taken from a page that runs.

    resnets serve runs/photos &
    python tools/screenshots.py http://127.0.0.1:8000/ rose.jpg tulip.jpg --out docs/images

Writes page-wide.png (light, 1000 pixels) with all of the photos and, where the model can be looked
into, the heatmap over the first; and page-narrow.png (dark, 360 pixels, down to the answers) with
the first. A site of ``resnets export --format web`` will do, too. --language zh-CN: in Chinese.
"""

import argparse
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COLOURS = 160
"""A palette halves the file, and flowers still look like flowers."""
WAIT = 120_000
"""Milliseconds for the model to load, and for an explanation."""


def take(
    browser: "Browser",
    given: argparse.Namespace,
    *,
    width: int,
    scheme: str,
    photos: list[Path],
    last: str,
) -> Image.Image:
    """The page at that width down to its last part, once the photos are answered and explained."""
    page = browser.new_page(
        viewport={"width": width, "height": 600},
        color_scheme=scheme,  # type: ignore[arg-type]
        locale=given.language,
    )
    page.set_default_timeout(WAIT)
    page.goto(given.address)
    page.locator("#card dl").wait_for()
    page.set_input_files("#files", photos)
    page.locator(".bars").nth(len(photos) - 1).wait_for()
    evidence = page.locator(".evidence button")
    if evidence.count():
        evidence.first.click()
        page.locator(".map").wait_for()
    page.mouse.click(1, 1)  # no ring around what was clicked last
    below = "part => part.getBoundingClientRect().bottom + scrollY"
    height = page.locator(last).evaluate(below) + 16
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    page.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def main() -> None:
    """Take both and write them."""
    from playwright.sync_api import sync_playwright

    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("address")
    arguments.add_argument("photos", nargs="+", type=Path)
    arguments.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments.add_argument("--language", default="en-GB")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        shots = {
            "page-wide": take(
                browser, given, width=1000, scheme="light", photos=given.photos, last="#model"
            ),
            "page-narrow": take(
                browser, given, width=360, scheme="dark", photos=given.photos[:1], last="#answers"
            ),
        }
        for name, shot in shots.items():
            path = given.out / f"{name}.png"
            few = shot.quantize(COLOURS, dither=Image.Dither.NONE)
            few.save(path, optimize=True)
            print(f"{path}: {few.width} x {few.height}, {path.stat().st_size / 1e3:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
