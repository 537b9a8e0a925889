"""From a file or bytes to upright RGB pixels: the one way pictures come in.

The same picture gives the same pixels as a path, as bytes and as a Pillow image. Its kind is told
by its first bytes, not by its name, and its size by its header before anything is decoded.
Pillow and numpy only; safe in threads.
"""

import io
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from resnets.decoding.reasons import MAX_PIXELS, Refused, explanation, recognised
from resnets.errors import UnreadableImage

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Box",
    "Header",
    "decode",
    "decode_part",
    "read_header",
    "whole_pixels",
]

Box = tuple[float, float, float, float]
"""A part of an image: left, top, right and bottom, in pixels."""


class _Jpeg(JpegImageFile):
    """A JPEG that does not search its EXIF for a resolution when opened.

    That costs time on every photo, and warns where the EXIF is damaged.
    """

    def getexif(self) -> Image.Exif:
        return Image.Exif()


# The classes, not Image.open: it warns about large images, and a warning can be hidden only by
# changing the filters of the whole process.
_OPENERS: dict[str, type[ImageFile]] = {
    "JPEG": _Jpeg,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
}
FORMATS = (*_OPENERS, "MPO")
"""What is read, by Pillow's names; of an MPO, a phone's file of several JPEGs, the first one."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
"""Endings of file names, lower case, under which pictures are looked for."""

_TURNS = {  # EXIF 2.32, tag 0x0112
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_EIGHT_BITS = frozenset("1 L LA P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV LAB".split())


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about its picture before it is decoded."""

    width: int
    """Upright: after the EXIF orientation."""
    height: int
    format: str
    """One of ``FORMATS``."""
    mode: str
    """Pillow's mode, such as RGB, L or CMYK."""
    grey: bool
    orientation: int = 1
    """EXIF's, 1 to 8, after which width and height are told."""


def decode(
    source: str | Path | bytes | Image.Image, *, background: tuple[int, int, int] = (255, 255, 255)
) -> NDArray[np.uint8]:
    """Upright RGB pixels, (H, W, 3) uint8, of a file, of its bytes or of a Pillow image.

    The first frame or page. EXIF orientation is applied, transparency lies over ``background``,
    CMYK is converted as Pillow does, 16-bit grey is scaled by 1/257. Raises ``UnreadableImage``.
    """
    with _opened(source) as image:
        return np.array(_upright(image, background))


def decode_part(
    source: str | Path | bytes,
    choose: Callable[[int, int], Box],
    at_least: tuple[int, int],
    *,
    background: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """The pixels in one box of a picture that ``decode`` would give, (h, w, 3) uint8.

    A JPEG is decoded at the coarsest of libjpeg's scales (1/8, 1/4, 1/2 or 1) at which the box
    still has ``at_least`` (height, width) pixels: the saving for large photos. Other kinds are
    decoded in full.

    Args:
        choose: gives the box, within the upright picture's (height, width).

    Raises ``UnreadableImage``.
    """
    with _opened(source) as image:
        if not isinstance(image, JpegImageFile):
            upright = _upright(image, background)
            box = whole_pixels(choose(upright.height, upright.width), upright.height, upright.width)
            return np.array(upright.crop(box))
        width, height = _upright_size(image.size, _orientation(image.info.get("exif")))
        chosen = choose(height, width)
        for scale in (8, 4, 2, 1):
            box = whole_pixels(chosen, height, width, scale)
            fine = box[3] - box[1] >= at_least[0] and box[2] - box[0] >= at_least[1]
            if fine and scale <= min(height, width):
                break
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        return np.array(_upright(image, background).crop(box))


def whole_pixels(box: Box, height: int, width: int, scale: int = 1) -> tuple[int, int, int, int]:
    """The nearest box of whole pixels, at least one, to one within a (height, width) image.

    Of the image ``scale`` times smaller, as libjpeg rounds its sides: up.

    >>> whole_pixels((0.4, 1.6, 0.6, 3.0), 3, 5)
    (0, 2, 1, 3)
    """
    left, top, right, bottom = (round(side / scale) for side in box)
    left, top = min(left, -(-width // scale) - 1), min(top, -(-height // scale) - 1)
    return left, top, max(left + 1, right), max(top + 1, bottom)


def read_header(source: str | Path | bytes) -> Header:
    """Size, format and colour of a picture without decoding it; raises ``UnreadableImage``."""
    with _opened(source) as image:
        if isinstance(image, TiffImageFile):
            tags = image.tag_v2
            width, height, orientation = tags[256], tags[257], tags.get(274, 1)
        else:
            width, height = image.size
            orientation = _orientation(image.info.get("exif") or _late_exif(image))
        width, height = _upright_size((width, height), orientation)
        grey = image.mode in ("1", "L", "LA", *_SIXTEEN_BITS)
        return Header(width, height, str(image.format), image.mode, grey, orientation)


@contextmanager
def _opened(source: str | Path | bytes | Image.Image) -> Iterator[Image.Image]:
    """The picture, its size checked and nothing decoded; whatever fails inside is explained."""
    head, size, name = b"", 0, _name(source)
    try:
        if isinstance(source, Image.Image):
            with _quiet(source.format, b""):
                yield _checked(source)
            return
        with _stream(source) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            head = file.read(4096)
            kind = recognised(head)
            file.seek(0)
            with _quiet(kind, head):
                yield _checked(_OPENERS[kind](file))
    except Exception as error:  # Pillow raises whatever its parsers meet, struct.error too
        reason, fix = explanation(error, head, size)
        raise UnreadableImage(f"{name}: {reason}", fix=fix) from error


def _name(source: str | Path | bytes | Image.Image) -> str:
    """What messages call a picture: its file, on one line, what is not printable escaped."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "image"
    path = getattr(source, "filename", "") if isinstance(source, Image.Image) else source
    name = os.fsdecode(path) or "image"
    return name if name.isprintable() else repr(name)[1:-1]


def _stream(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    mode = os.stat(source).st_mode
    if stat.S_ISDIR(mode):
        raise Refused("is a folder", "name a picture inside it")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
        raise Refused("is not a regular file", "copy the picture into a file")
    return open(source, "rb")


def _checked(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Refused(
            f"has {width} x {height} pixels, more than the limit of {MAX_PIXELS}",
            "make it smaller",
        )
    return image


_filters = threading.Lock()


@contextmanager
def _without_warnings() -> Iterator[None]:
    # Warning filters belong to the process: one thread at a time, and Pillow's warnings only.
    with _filters, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _quiet(kind: str | None, head: bytes) -> AbstractContextManager[None]:
    """Hide what Pillow says about odd tags, for the kinds where it can say something."""
    talkative = kind in ("TIFF", "GIF") or (kind == "PNG" and b"acTL" in head)
    return _without_warnings() if talkative else nullcontext()


def _upright(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The decoded picture in RGB, turned as its EXIF says."""
    _load(image)
    flat = _flat(image, background)
    if isinstance(image, TiffImageFile):  # which Pillow turns while it loads
        return flat
    turn = _TURNS.get(_orientation(image.info.get("exif")))
    return flat if turn is None else flat.transpose(turn)


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of the turned picture."""
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _load(image: Image.Image) -> None:
    """Decode, around two faults of Pillow (11.0 to 13.0)."""
    if isinstance(image, PngImageFile) and image.tile:
        # It scales pixels of 2 and 4 bits to 8, but not the transparent grey among them.
        scale = {"L;2": 85, "L;4": 17}.get(str(image.tile[0][3]), 1)
        if scale > 1 and 0 < image.info.get("transparency", 0) * scale <= 255:
            image.info["transparency"] *= scale
    if isinstance(image, TiffImageFile):
        # It maps a raw TIFF with a file name into memory by its turned sides: with orientation
        # 5 to 8 the pixels come out scrambled.
        name, image.filename = image.filename, ""
        try:
            image.load()
        finally:
            image.filename = name
    else:
        image.load()


def _flat(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The loaded image in RGB, with nothing transparent left."""
    if image.mode in _SIXTEEN_BITS:
        image = _scaled(image)
    elif image.mode not in _EIGHT_BITS:
        words = "floating-point numbers" if image.mode == "F" else f"of Pillow's mode {image.mode}"
        raise Refused(f"has pixels that are {words}", "save it with 8 or 16 bits per channel")
    key = image.info.get("transparency")
    if image.mode == "RGB":
        if key is None:
            return image
        if max(key) > 255:  # a 16-bit PNG, of which Pillow cuts the pixels to 8 bits, not the key
            image = image.copy()
            image.info["transparency"] = tuple(value >> 8 for value in key)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(layer, mask=layer)
    return canvas


def _scaled(image: Image.Image) -> Image.Image:
    """16-bit (or a TIFF's 12-bit) grey as 8-bit grey: scaled and rounded, where Pillow clips."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    values = np.asarray(image)
    white = 4095 if tags.get(258) == (12,) else 65535
    if values.min() < 0 or values.max() > white:
        raise Refused(
            f"has values from {values.min()} to {values.max()}, none of them known to be white",
            "save it with 8 or 16 bits per channel",
        )
    grey = (values.astype(np.uint32) * 255 + white // 2) // white
    if tags.get(262) == 0:  # TIFF 6.0, PhotometricInterpretation: white is zero
        grey = 255 - grey
    scaled = Image.fromarray(grey.astype(np.uint8))
    if (key := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return scaled


def _orientation(exif: bytes | None) -> int:
    """The orientation, 1 to 8, in an EXIF block: tag 0x0112 of its first directory; 1 if damaged.

    Read here, because Pillow reads all tags and warns where one of them is damaged.
    """
    if not exif:
        return 1
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _late_exif(image: Image.Image) -> bytes | None:
    """A PNG's EXIF where it follows the pixels, found by stepping from chunk to chunk."""
    if not isinstance(image, PngImageFile) or image.fp is None:
        return None
    image.fp.seek(8)
    while len(start := image.fp.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"eXIf":
            return image.fp.read(length)
        image.fp.seek(length + 4, io.SEEK_CUR)
    return None
