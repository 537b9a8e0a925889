"""What is the matter with single files: unreadable, odd, named oddly, or not used at all."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from resnets.console import printable
from resnets.data.doctor.copies import Entry
from resnets.data.doctor.findings import Finding, Item, counted, finding
from resnets.data.doctor.kinds import REASONS
from resnets.data.sources import LeftOut

ENDINGS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
}
"""Format -> what names of such files end in."""
USUAL_MODES = frozenset({"RGB", "L", "1", "P", ""})
"""Modes that lose nothing in becoming RGB."""
SMALL, OF_MEDIAN = 32, 0.25
"""An image is small whose shorter side is below both: so many pixels, and that share of the
median."""
LONG = 4.0
"""An image is of an extreme shape with a longer side of more than so many times the shorter."""


def unreadable(left_out: Sequence[LeftOut], source: str, *, stops: bool) -> list[Finding]:
    """The files that cannot be read, by what is the matter with them.

    Args:
        stops: whether they are too many to train without them.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in left_out:
        kind = next(kind for pattern, kind in REASONS if re.search(pattern, item.reason))
        groups[kind].append(Item((item.path,), item.reason))
    told = {
        "no-permission": ("file may not be read", "files may not be read"),
        "empty-file": ("file is empty", "files are empty"),
        "truncated": ("file is cut short", "files are cut short"),
        "too-large": ("picture is far too large", "pictures are far too large"),
        "no-picture": ("file is no picture that is read", "files are no pictures that are read"),
        "damaged": ("file is damaged", "files are damaged"),
    }
    return [
        finding(kind, counted(len(items), *told[kind]), items, source=source, stops=stops)
        for kind, items in groups.items()
    ]


def odd(entries: Sequence[Entry], source: str) -> list[Finding]:
    """Files that are read and used, and are yet not like others."""
    groups: dict[str, list[Item]] = defaultdict(list)
    files = [entry for entry in entries if entry.facts.format]
    median = float(np.median([min(entry.facts.shape) for entry in files])) if files else 0.0
    for name, facts in ((entry.name, entry.facts) for entry in files):
        short, long = sorted(facts.shape)
        if short < min(SMALL, OF_MEDIAN * median) or long > LONG * short:
            groups["odd-sizes"].append(Item((name,), f"{facts.shape[1]} x {facts.shape[0]}"))
        if facts.orientation != 1:
            groups["rotated"].append(Item((name,), f"EXIF orientation {facts.orientation}"))
        if facts.mode not in USUAL_MODES:
            groups["converted"].append(Item((name,), f"{facts.format}, {facts.mode}"))
        ending = os.path.splitext(name)[1].lower()
        if ending not in ENDINGS.get(facts.format, {ending}):
            groups["wrong-ending"].append(Item((name,), f"is {facts.format}"))
    told = {
        "odd-sizes": ("image is very small or long", "images are very small or long"),
        "rotated": ("image lies turned, by its EXIF", "images lie turned, by their EXIF"),
        "converted": ("image has unusual colours", "images have unusual colours"),
        "wrong-ending": ("file is not what it is called", "files are not what they are called"),
    }
    return [
        finding(kind, counted(len(items), *told[kind]), items, source=source)
        for kind, items in groups.items()
    ]


def names(entries: Sequence[Entry], source: str) -> list[Finding]:
    """Names that are not UTF-8, or hold characters that no terminal shows."""
    odd = [
        Item((entry.name,), _oddity(entry.name))
        for entry in entries
        if printable(entry.name) != entry.name
    ]
    what = counted(len(odd), "name cannot be printed", "names cannot be printed")
    return [finding("odd-names", what, odd, source=source)] if odd else []


def _oddity(name: str) -> str:
    return "not UTF-8" if any("\ud800" <= letter <= "\udfff" for letter in name) else "unprintable"


def passed_over(met: dict[str, tuple[str, ...]], source: str) -> list[Finding]:
    """What lies in a folder and is not used."""
    items = [Item((path,), what) for what, paths in met.items() for path in paths]
    told = ", ".join(f"{len(paths):,} {what.partition(', ')[0]}" for what, paths in met.items())
    return [finding("passed-over", told, items, source=source)] if items else []


def rotten(changed: Sequence[str], compared: int, source: str) -> list[Finding]:
    """Files whose bytes changed under their old size and date."""
    items = [Item((name,)) for name in sorted(changed)]
    what = f"{len(items):,} of {compared:,} files read again are not what they were"
    return [finding("bit-rot", what, items, source=source)] if items else []
