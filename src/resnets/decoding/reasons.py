"""What a file is that is no picture, and what is wrong with one that is: reasons and fixes."""

import codecs
import re
import struct

from PIL import Image

MAX_PIXELS = 178_956_970
"""The largest image read, in pixels: where Pillow too refuses (1 GiB at 6 bytes a pixel)."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"RIFF", "WEBP"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
)

_CONVERT = "save it as JPEG or PNG"
_REPLACE = "replace it with a sound copy, or remove it"

_FOREIGN = (  # what else is found under a picture's name: offset, first bytes, in words, fix
    (4, b"ftypavi", "an AVIF image", _CONVERT),
    (4, b"ftyphe", "a HEIC photo", _CONVERT),
    (4, b"ftypmif1", "a HEIC photo", _CONVERT),
    (4, b"ftyp", "a video", _REPLACE),
    (4, b"jP  ", "a JPEG 2000 image", _CONVERT),
    (4, b"JXL ", "a JPEG XL image", _CONVERT),
    (0, b"\xff\x0a", "a JPEG XL image", _CONVERT),
    (0, b"8BPS", "a Photoshop file", _CONVERT),
    (0, b"\0\0\1\0", "an icon (ICO)", _CONVERT),
    (0, b"P5\n", "a PGM image", _CONVERT),
    (0, b"P6\n", "a PPM image", _CONVERT),
    (0, b"%PDF", "a PDF document", _CONVERT),
    (0, b"%!PS", "a PostScript file", _CONVERT),
    (0, b"PK\3\4", "a ZIP archive", "unpack it and remove it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it and remove it"),
    (0, b"\0\5\x16\7", "a macOS companion file without a picture", "remove it"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch the picture: git lfs pull"),
)


class Refused(Exception):
    """A reason in plain words and one fix; becomes ``UnreadableImage`` where the name is known."""

    def __init__(self, reason: str, fix: str) -> None:
        self.reason, self.fix = reason, fix


def recognised(head: bytes) -> str:
    """The format's name by the first bytes, or ``Refused`` saying what the file is instead."""
    for magic, kind in _MAGIC:
        if head.startswith(magic) and (kind != "WEBP" or head[8:12] == b"WEBP"):
            return kind
    if not head:
        raise Refused("is empty (0 bytes)", _REPLACE)
    if not any(head):
        raise Refused("holds only zero bytes", _REPLACE)
    for offset, magic, words, fix in _FOREIGN:
        if head.startswith(magic, offset):
            raise Refused(f"is {words}, which is not read", fix)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        raise Refused("is a web page (HTML), no picture", "download the picture itself")
    if text.startswith(b"<") and b"<svg" in text:
        raise Refused("is an SVG drawing, which is not read", _CONVERT)
    if _is_text(head):
        raise Refused("is a text file, no picture", "remove it")
    raise Refused("is no picture of a known format", f"{_CONVERT}, or remove it")


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # may end amid a character
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def explanation(error: Exception, head: bytes, size: int) -> tuple[str, str]:
    """What went wrong with a picture, in plain words, and one fix."""
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case Refused():
            return error.reason, error.fix
        case FileNotFoundError() | NotADirectoryError():
            return "does not exist", "check the path"
        case PermissionError():
            return "may not be read by this user", "change its permissions"
        case OSError(errno=int()):
            return f"could not be read ({error.strerror})", "try again, or copy it to another disk"
        case Image.DecompressionBombError():
            return f"has more than {MAX_PIXELS} pixels", "make it smaller"
        case MemoryError():
            return "does not fit into memory", "make it smaller"
    ended = (struct.error, EOFError, IndexError)  # a parser asked for more than there was
    if (
        re.search("truncated|cannot load this image", text, re.IGNORECASE)
        or isinstance(error, ended)
        or isinstance(error.__cause__, ended)
        or _declared_size(head) > size
    ):
        place = f"it ends after {size} bytes, " if size else ""
        return f"is cut short: {place}amid the picture", _REPLACE
    if re.search("unknown pixel|unknown data org|supported|cannot handle", text):
        return f"is damaged or of a kind that is not read ({text})", f"{_CONVERT}, or remove it"
    return f"is damaged ({text})", _REPLACE


def _declared_size(head: bytes) -> int:
    """Bytes that a WebP says it has, or that a TIFF needs to reach its directory; else 0."""
    if head.startswith((b"RIFF", b"II*\0")):
        return 8 + int.from_bytes(head[4:8], "little")
    return 8 + int.from_bytes(head[4:8], "big") if head.startswith(b"MM\0*") else 0
