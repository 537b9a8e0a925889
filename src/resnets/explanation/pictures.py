"""Explanations as pictures to look at: panels side by side, each with its caption below."""

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from resnets.console import percent, printable
from resnets.explanation.colours import Picture, overlay
from resnets.explanation.explaining import Explanation
from resnets.explanation.faithfulness import blurred
from resnets.explanation.maps import Method
from resnets.sealing import make_folder, write_durably

LEAST = 224
"""A panel has at least so many pixels a side; smaller images are enlarged by a whole factor."""
MARGIN = 10
LINE = 17
TEXT = 13
PAPER, INK, FADED = (255, 255, 255), (20, 20, 20), (110, 110, 110)
SMOOTHED: tuple[Method, ...] = ("integrated-gradients",)
FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "msyh.ttc", "PingFang.ttc")
"""Looked for where a name has letters that the font in Pillow lacks."""

Caption = Sequence[str]
"""Lines of text; the first is the title."""


def picture(explanation: Explanation) -> Image.Image:
    """The image, and laid over it the map of each class, each scaled to its own largest value."""
    image = explanation.image
    where = f" at {explanation.at}" if explanation.at else ""
    where += ", smoothed" if explanation.method in SMOOTHED else ""
    panels: list[tuple[Picture, Caption]] = [
        (image, ("as the network saw it", f"{explanation.method}{where}"))
    ]
    for index, each in enumerate(explanation.evidence):
        lines = [
            f"{each.label}  {percent(each.probability)}",
            f"deletion {each.scores.deletion:.2f}, insertion {each.scores.insertion:.2f}",
        ]
        if each.correlation is not None:
            verdict = "changed" if each.passed else "NOT changed"
            lines.append(f"{verdict} by random weights ({each.correlation:+.2f})")
        panels.append((overlay(image, shown(explanation, index)), lines))
    return side_by_side(panels)


def shown(explanation: Explanation, index: int) -> NDArray[np.float32]:
    """What speaks for a class, (H, W); single pixels, of which no eye makes a shape, smoothed."""
    values = np.maximum(explanation.enlarged(index), 0)
    if explanation.method not in SMOOTHED:
        return values
    return blurred(torch.from_numpy(values)[None, None])[0, 0].numpy()


def side_by_side(panels: Sequence[tuple[Picture, Caption]]) -> Image.Image:
    """Pictures of one size in a row, above their captions."""
    height, width = panels[0][0].shape[:2]
    factor = max(1, -(-LEAST // min(height, width)))
    wide, high = width * factor, height * factor
    lines = max(len(caption) for _, caption in panels)
    sheet = Image.new(
        "RGB",
        (MARGIN + len(panels) * (wide + MARGIN), high + 2 * MARGIN + lines * LINE + MARGIN),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for place, (pixels, caption) in enumerate(panels):
        left = MARGIN + place * (wide + MARGIN)
        panel = Image.fromarray(pixels).resize((wide, high), Image.Resampling.NEAREST)
        sheet.paste(panel, (left, MARGIN))
        for number, text in enumerate(caption):
            top = high + 2 * MARGIN + number * LINE
            _write(draw, (left, top), text, wide, INK if number == 0 else FADED)
    return sheet


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, ink: tuple[int, ...]
) -> None:
    """A line of text, shortened to the width."""
    text = printable(text)
    font = font_for(text)
    while draw.textlength(text, font=font) > width and len(text) > 1:
        text = text.rstrip("…")[:-1] + "…"
    draw.text(place, text, fill=ink, font=font)


def font_for(text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font in Pillow, or for letters that it lacks the first of ``FONTS`` that is here."""
    if not text.isascii():
        for name in FONTS:
            try:
                return ImageFont.truetype(name, TEXT)
            except OSError:
                continue
    return ImageFont.load_default(TEXT)


class PictureNames:
    """Names for the pictures of files, safe on any system; no two alike."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self._stems: dict[Path, str] = {}

    def of(self, file: Path, kind: str = "") -> Path:
        """A picture of a file: its name without what some system forbids, and the kind."""
        if file not in self._stems:
            taken = {stem.casefold() for stem in self._stems.values()}
            stem = _safe(file.stem) or "image"
            numbered = (f"{stem}-{n}" for n in itertools.count(2))
            candidates = itertools.chain([stem], numbered)
            self._stems[file] = next(each for each in candidates if each.casefold() not in taken)
        return self.folder / f"{self._stems[file]}-{_safe(kind or self.kind)}.png"


def write_picture(path: Path, drawn: Image.Image) -> None:
    """Write a PNG, in place of one of that name. Raises ``CannotGoOn`` where the disk refuses."""
    file = io.BytesIO()
    drawn.save(file, "PNG")
    make_folder(path.absolute().parent)
    write_durably(path, file.getvalue())


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._")[:80]
