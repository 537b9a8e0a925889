"""An explanation as a client shows it: maps to lay over the upright image."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from resnets.data.transforms import seen_part
from resnets.explanation.colours import Picture, veil
from resnets.explanation.pictures import shown
from resnets.prediction import Classifier

LONGEST = 512
"""Pixels of a map's longer side."""


def explained(classifier: Classifier, image: Picture, **options: Any) -> dict[str, Any]:
    """The answer, or the class that was asked for, and the likeliest other, each with its map.

    A map has the shape of the upright image and is clear where the network does not look. Options
    and errors are those of ``Explainer.explain``.
    """
    found = classifier.explainer().explain(image, **options)
    height, width = image.shape[:2]
    scale = min(1, LONGEST / max(height, width))
    box = [side * scale for side in seen_part(height, width, classifier.preprocess)]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    maps = []
    for index, each in enumerate(found.evidence):
        png = _placed(shown(found, index), box, size)
        maps.append({**each.to_dict(), "png": base64.b64encode(png).decode()})
    first = found.evidence[0]
    return {
        "label": first.label,
        "probability": first.probability,
        "method": found.method,
        "at": found.at,
        "maps": maps,
    }


def _placed(values: np.ndarray, box: list[float], size: tuple[int, int]) -> bytes:
    """A map (h, w) as a PNG of ``size`` (width, height), drawn into the box, clear around it."""
    left, top, right, bottom = map(round, box)
    part = (max(1, right - left), max(1, bottom - top))
    large = Image.fromarray(values).resize(part, Image.Resampling.BILINEAR)
    sheet = Image.new("RGBA", size)
    sheet.paste(Image.fromarray(veil(np.asarray(large))), (left, top))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
