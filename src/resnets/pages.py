"""What every HTML page of ours is made of: escaped text, thumbnails, a head that loads nothing."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from resnets.console import printable

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a page may do: show what lies in its one file, and run nothing."""


def text(words: str) -> str:
    """Text that shows names so that they can be read back.

    What is no printable UTF-8 is escaped as in Python, and so is the backslash.
    """
    return escape(printable(words.replace("\\", "\\\\")))


def thumbnail(pixels: np.ndarray, side: int, *, alt: str = "") -> str:
    """An (H, W, C) uint8 image as an ``img`` no larger than (side, side), within the page."""
    shown = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGB")
    file = io.BytesIO()
    kind = "png" if max(shown.size) <= 64 else "jpeg"  # small pictures stay exact
    if kind == "jpeg":
        shown.thumbnail((side, side))
    shown.save(file, kind, quality=80)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{text(alt)}" src="data:image/{kind};base64,{data}">'


def page(title: str, style: str, body: str) -> str:
    """The whole file; a policy keeps it from loading or running anything."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{text(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"
    )
