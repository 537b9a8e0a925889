"""Odd pictures, made on the spot: what a folder of images from everywhere holds.

Each ``Picture`` says what it must decode to, worked out here with numpy from the pixels it was
made of; where a format loses something, within how many levels. The PNG and TIFF writers are for
the kinds that Pillow reads and does not write.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

ORIENTATIONS = range(1, 9)
PAPER = (250, 240, 10)
"""The background under transparent pixels in all expectations."""


@dataclass(frozen=True)
class Picture:
    name: str
    data: bytes
    pixels: Pixels
    """(H, W, 3) over ``PAPER``."""
    within: float = 0.5
    """Largest difference in levels; half a level is rounding only."""


def scene(height: int = 32, width: int = 48) -> Pixels:
    """(H, W, 3): 8 x 8 patches, no two sides alike, which JPEG keeps almost as they are."""
    rows, columns = np.mgrid[: height // 8, : width // 8]
    patches = np.stack([rows * 60, columns * 40, 255 - rows * 20 - columns * 30], axis=-1)
    return patches.astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def turned(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels as stored under an EXIF orientation (EXIF 2.32, tag 0x0112, and its drawing).

    Orientation 6, say, means "row 0 is the right side, column 0 is the top".
    """
    mirrored = upright[:, ::-1] if orientation in (2, 3, 6, 7) else upright
    flipped = mirrored[::-1] if orientation in (3, 4, 7, 8) else mirrored
    return np.ascontiguousarray(flipped.swapaxes(0, 1) if orientation >= 5 else flipped)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block with the orientation behind another tag, in either byte order."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHII", 0x0100, 4, 1, 99)
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4)


def png(header: tuple[int, int, int, int], rows: bytes, *, before=b"", after=b"") -> bytes:
    """A PNG from (width, height, bits, colour type), its unfiltered rows and other chunks."""
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return start + before + png_chunk(b"IDAT", zlib.compress(rows)) + after + png_chunk(b"IEND")


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(values: NDArray[Any]) -> bytes:
    """(H, ...) values as PNG rows, big-endian, each behind its filter type 0."""
    wide = values.astype(values.dtype.newbyteorder(">"))
    return b"".join(b"\0" + row.tobytes() for row in wide)


def tiff(width: int, height: int, data: bytes, *, extra: dict[int, Any] | None = None) -> bytes:
    """A little-endian TIFF in one strip; 16-bit grey unless ``extra`` tags say otherwise."""
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags |= {279: len(data)} | (extra or {})
    directory, far = b"", b""
    place = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, tuple):  # three shorts and more do not fit in the entry
            directory += struct.pack("<HHII", tag, 3, len(value), place + len(far))
            far += struct.pack(f"<{len(value)}H", *value)
        else:
            directory += struct.pack("<HHII", tag, 4, 1, value)
    start = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return start + struct.pack("<H", len(tags)) + directory + bytes(4) + far


def bmp_with_alpha(colour: Pixels, alpha: Pixels) -> bytes:
    """A BMP whose header has an alpha mask (BITMAPV4HEADER); its rows run from the bottom up."""
    height, width = alpha.shape
    data = np.dstack([colour[..., ::-1], alpha])[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    size = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(data), 0, 0, 0, 0)
    start = size + masks + b"BGRs" + bytes(48)
    return struct.pack("<2sIII", b"BM", 14 + len(start) + len(data), 0, 122) + start + data


def over(colour: NDArray[Any], alpha: NDArray[Any], paper: tuple[int, int, int]) -> Pixels:
    """(H, W, 3) colour with (H, W) alpha in 0..255 over a paper of one colour, rounded."""
    share = alpha[..., None] / 255.0
    return np.rint(colour * share + np.array(paper) * (1 - share)).astype(np.uint8)


def three(grey: NDArray[Any]) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def good_pictures() -> list[Picture]:
    """Every kind that must be read."""
    return [*jpegs(), *pngs(), *webps(), *bmps_and_gifs(), *tiffs()]


RGB = scene()
GREY = RGB[..., 1]
BLACK_OR_WHITE = np.where(GREY > 100, 255, 0).astype(np.uint8)
ALPHA = np.tile(np.linspace(0, 255, RGB.shape[1]).astype(np.uint8), (RGB.shape[0], 1))
DEEP = np.linspace(0, 65535, GREY.size).astype(np.uint16).reshape(GREY.shape)
SHRUNK = np.rint(DEEP / 257)
INK = np.dstack([255 - RGB, ALPHA // 4])
HEIGHT, WIDTH = GREY.shape

FINE: dict[str, Any] = {"quality": 100, "subsampling": 0}


def jpegs() -> Iterator[Picture]:
    colour, grey, ink = Image.fromarray(RGB), Image.fromarray(GREY), Image.fromarray(INK, "CMYK")
    yield Picture("colour.jpg", encoded(colour, "JPEG", **FINE), RGB, within=3)
    yield Picture("progressive.jpg", encoded(colour, "JPEG", progressive=True, **FINE), RGB, 3)
    yield Picture("grey.jpg", encoded(grey, "JPEG", quality=100), three(GREY), 3)
    plain = encoded(colour, "JPEG", **FINE)
    yield Picture("more_after_the_end.jpg", plain + b"and more", RGB, 3)
    yield Picture("wrong_suffix.png", plain, RGB, 3)
    broken = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01"  # nine entries, of which half of one is there
    yield Picture("damaged_exif.jpg", encoded(colour, "JPEG", exif=broken, **FINE), RGB, 3)
    phone = encoded(
        colour, "MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)], **FINE
    )
    yield Picture("two_in_one.mpo.jpg", phone, RGB, 3)
    # Pillow writes an Adobe marker, inverted ink and no transform.
    adobe = encoded(ink, "JPEG", **FINE)
    yield Picture("ink.jpg", adobe, by_pillow(adobe), 0)
    marker = adobe.index(b"\xff\xee")
    ycck = bytearray(adobe)
    ycck[marker + 15] = 2  # the marker's transform: the first three channels are YCC
    yield Picture("ycck.jpg", bytes(ycck), by_pillow(bytes(ycck)), 0)
    unmarked = adobe[:marker] + adobe[marker + 16 :]
    yield Picture("ink_unmarked.jpg", unmarked, by_pillow(unmarked), 0)


def by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def pngs() -> Iterator[Picture]:
    colour, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    veiled = Image.fromarray(np.dstack([RGB, ALPHA]))
    palette = colour.quantize(64)
    table = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    index = np.asarray(palette)
    indexed = table[index]
    yield Picture("colour.png", encoded(colour, "PNG"), RGB, 0)
    yield Picture("grey.png", encoded(grey, "PNG"), three(GREY), 0)
    yield Picture("bits.png", encoded(grey.point(lambda v: 255 * (v > 100), "1"), "PNG"),
                  three(BLACK_OR_WHITE), 0)  # fmt: skip
    yield Picture("alpha.png", encoded(veiled, "PNG"), over(RGB, ALPHA, PAPER))
    grey_alpha = Image.fromarray(np.dstack([GREY, ALPHA]))
    yield Picture("grey_alpha.png", encoded(grey_alpha, "PNG"), over(three(GREY), ALPHA, PAPER))
    yield Picture("palette.png", encoded(palette, "PNG"), indexed, 0)
    clear = np.where(index == 3, 0, 255)
    yield Picture("palette_clear.png", encoded(palette, "PNG", transparency=3),
                  over(indexed, clear, PAPER))  # fmt: skip
    alphas = np.arange(64) * 4
    yield Picture("palette_alpha.png", encoded(palette, "PNG", transparency=bytes(alphas.tolist())),
                  over(indexed, alphas[index], PAPER))  # fmt: skip
    clear = np.where(GREY == GREY[0, 20], 0, 255)
    yield Picture("grey_clear.png", encoded(grey, "PNG", transparency=int(GREY[0, 20])),
                  over(three(GREY), clear, PAPER))  # fmt: skip
    for bits in (1, 2, 4):
        steps = (GREY >> (8 - bits)).astype(np.uint8)
        digits = np.unpackbits(steps[..., None], axis=-1)[..., -bits:]
        packed = np.packbits(digits.reshape(HEIGHT, -1), axis=1)
        key = png_chunk(b"tRNS", struct.pack(">H", int(steps[9, 20])))
        data = png((WIDTH, HEIGHT, bits, 0), png_rows(packed), before=key)
        shades = three(steps.astype(int) * 255 // (2**bits - 1))
        clear = np.where(steps == steps[9, 20], 0, 255)
        yield Picture(f"grey_{bits}_clear.png", data, over(shades, clear, PAPER))
    clear = np.where((RGB == RGB[9, 20]).all(-1), 0, 255)
    key8 = tuple(RGB[9, 20].tolist())
    yield Picture("colour_clear.png", encoded(colour, "PNG", transparency=key8),
                  over(RGB, clear, PAPER))  # fmt: skip
    deep = (WIDTH, HEIGHT, 16, 0)
    yield Picture("deep.png", png(deep, png_rows(DEEP)), three(SHRUNK), 0)
    key16 = png_chunk(b"tRNS", struct.pack(">H", int(DEEP[3, 3])))
    yield Picture("deep_clear.png", png(deep, png_rows(DEEP), before=key16),
                  over(three(SHRUNK), np.where(DEEP == DEEP[3, 3], 0, 255), PAPER))  # fmt: skip
    rgb16 = RGB.astype(np.uint16) * 257 - np.where(RGB > 0, 100, 0).astype(np.uint16)
    deep_rgb = (WIDTH, HEIGHT, 16, 2)
    yield Picture("deep_colour.png", png(deep_rgb, png_rows(rgb16)), RGB, 1)
    key48 = png_chunk(b"tRNS", struct.pack(">HHH", *rgb16[9, 20].tolist()))
    yield Picture("deep_colour_clear.png", png(deep_rgb, png_rows(rgb16), before=key48),
                  over(RGB, clear, PAPER), 1)  # fmt: skip
    moving = [colour, Image.fromarray(255 - RGB)]
    yield Picture("moving.png", encoded(moving[0], "PNG", save_all=True, append_images=moving[1:]),
                  RGB, 0)  # fmt: skip
    flat = (WIDTH, HEIGHT, 8, 2)
    yield Picture("no_frames.png", png(flat, png_rows(RGB), before=png_chunk(b"acTL", bytes(8))),
                  RGB, 0)  # fmt: skip
    late = png_chunk(b"eXIf", exif(6, ">")[6:])
    yield Picture("late_exif.png", png((HEIGHT, WIDTH, 8, 2), png_rows(turned(RGB, 6)), after=late),
                  RGB, 0)  # fmt: skip


def webps() -> Iterator[Picture]:
    colour = Image.fromarray(RGB)
    veiled = Image.fromarray(np.dstack([RGB, ALPHA]))
    lossy = encoded(colour, "WEBP", quality=95)
    yield Picture("lossy.webp", lossy, by_pillow(lossy), 0)
    yield Picture("lossless.webp", encoded(colour, "WEBP", lossless=True), RGB, 0)
    yield Picture("alpha.webp", encoded(veiled, "WEBP", lossless=True, exact=True),
                  over(RGB, ALPHA, PAPER))  # fmt: skip
    moving = [Image.fromarray(255 - RGB)]
    yield Picture("moving.webp",
                  encoded(colour, "WEBP", lossless=True, save_all=True, append_images=moving),
                  RGB, 0)  # fmt: skip


def bmps_and_gifs() -> Iterator[Picture]:
    colour, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    palette = colour.quantize(64)
    table = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    index = np.asarray(palette)
    indexed = table[index]
    yield Picture("colour.bmp", encoded(colour, "BMP"), RGB, 0)
    yield Picture("grey.bmp", encoded(grey, "BMP"), three(GREY), 0)
    yield Picture("palette.bmp", encoded(palette, "BMP"), indexed, 0)
    yield Picture("alpha.bmp", bmp_with_alpha(RGB, ALPHA), over(RGB, ALPHA, PAPER))
    yield Picture("palette.gif", encoded(palette, "GIF"), indexed, 0)
    yield Picture("grey.gif", encoded(grey, "GIF"), three(GREY), 0)
    clear = np.where(index == 3, 0, 255)
    yield Picture("clear.gif", encoded(palette, "GIF", transparency=3),
                  over(indexed, clear, PAPER))  # fmt: skip
    moving = [Image.fromarray(255 - RGB).quantize(64)]
    yield Picture("moving.gif", encoded(palette, "GIF", save_all=True, append_images=moving),
                  indexed, 0)  # fmt: skip


def tiffs() -> Iterator[Picture]:
    colour, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Picture(f"{packing}.tif", encoded(colour, "TIFF", compression=packing), RGB, 0)
    yield Picture("jpeg.tif", encoded(colour, "TIFF", compression="jpeg", quality=100), RGB, 3)
    veiled = Image.fromarray(np.dstack([RGB, ALPHA]))
    yield Picture("alpha.tif", encoded(veiled, "TIFF"), over(RGB, ALPHA, PAPER))
    fax = grey.point(lambda v: 255 * (v > 100), "1")
    yield Picture("fax.tiff", encoded(fax, "TIFF", compression="group4"), three(BLACK_OR_WHITE), 0)
    ink = encoded(Image.fromarray(INK, "CMYK"), "TIFF")
    yield Picture("ink.tif", ink, by_pillow(ink), 0)
    pages = [Image.fromarray(255 - RGB)]
    yield Picture("pages.tif", encoded(colour, "TIFF", save_all=True, append_images=pages), RGB, 0)
    deep = Image.fromarray(DEEP)
    yield Picture("deep.tif", encoded(deep, "TIFF", compression="tiff_lzw"), three(SHRUNK), 0)
    big_endian = Image.fromarray(DEEP.astype(">u2"))
    yield Picture("deep_big_endian.tif", encoded(big_endian, "TIFF"), three(SHRUNK), 0)
    size, values = (WIDTH, HEIGHT), DEEP.astype("<u2").tobytes()
    yield Picture("deep_negative.tif", tiff(*size, values, extra={262: 0}), 255 - three(SHRUNK), 0)
    rgb16 = (RGB.astype(np.uint16) * 257).astype("<u2").tobytes()
    colours = {258: (16, 16, 16), 262: 2, 277: 3}
    yield Picture("deep_colour.tif", tiff(*size, rgb16, extra=colours), RGB, 0)
    twelve = (DEEP >> 4).reshape(-1, 2).astype(np.uint32)
    packed = (twelve[:, 0] << 12 | twelve[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    yield Picture("twelve_bits.tif", tiff(*size, packed.tobytes(), extra={258: 12}),
                  three(np.rint((DEEP >> 4) * (255 / 4095))), 0)  # fmt: skip
    # A tag with two values where one belongs, about which Pillow warns.
    yield Picture("odd_tag.tif", tiff(*size, values, extra={296: (2, 2, 2)}), three(SHRUNK), 0)


def foreign_files() -> dict[str, tuple[bytes, str]]:
    """What is no picture we read: file name -> its bytes and what the refusal says."""
    icon = encoded(Image.fromarray(RGB), "ICO")
    return {
        "empty.jpg": (b"", "empty"),
        "zeros.png": (bytes(5000), "zero bytes"),
        "page.jpg": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "HTML"),
        "drawing.png": (b"<?xml version='1.0'?><svg xmlns='x'></svg>", "SVG"),
        "note.jpg": ("naïve text, no picture\n".encode(), "text"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        "photo.heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        "photo.avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
        "film.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        "paper.jpg": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        "print.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        "layers.jpg": (b"8BPS\0\1" + bytes(20), "Photoshop"),
        "icon.png": (icon, "ICO"),
        "plain.jpg": (encoded(Image.fromarray(RGB), "PPM"), "PPM"),
        "archive.jpg": (b"PK\3\4" + bytes(30), "ZIP"),
        "._photo.jpg": (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "macOS"),
        "noise.jpg": (bytes(range(128, 256)) * 4, "no picture"),
        "start_only.jpg": (b"\xff\xd8\xff\xe0", "damaged|cut short"),
        "start_only.png": (b"\x89PNG\r\n\x1a\n", "damaged|cut short"),
        "floats.tif": (
            encoded(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
            "floating-point",
        ),
        "counts.tif": (encoded(Image.fromarray(DEEP.astype(np.int32) * 9), "TIFF"), "white"),
        "bomb.png": (png((14_000, 14_000, 8, 2), b""), "14000 x 14000"),
    }
