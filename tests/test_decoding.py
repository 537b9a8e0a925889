"""Any picture a user has decodes to defined pixels; what is no picture is refused with a reason."""

import builtins
import io
import os
import re
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

import corpus
from corpus import PAPER, Picture
from resnets import decoding
from resnets.decoding import (
    FORMATS,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    decode_part,
    read_header,
    whole_pixels,
)
from resnets.errors import UnreadableImage

GOOD = {picture.name: picture for picture in corpus.good_pictures()}
FOREIGN = corpus.foreign_files()
each_good = pytest.mark.parametrize("picture", GOOD.values(), ids=GOOD)


def in_folder(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@each_good
def test_a_good_picture_decodes_to_the_pixels_it_was_made_of(picture: Picture):
    pixels = decode(picture.data, background=PAPER)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert pixels.shape == picture.pixels.shape
    assert np.abs(pixels.astype(int) - picture.pixels).max() <= picture.within


@each_good
def test_path_bytes_and_pillow_image_give_the_same_pixels(picture: Picture, tmp_path):
    path = in_folder(tmp_path, picture.name, picture.data)
    expected = decode(picture.data, background=PAPER)
    np.testing.assert_array_equal(decode(path, background=PAPER), expected)
    np.testing.assert_array_equal(decode(str(path), background=PAPER), expected)
    with warnings.catch_warnings(action="ignore"):  # what Image.open says of odd tags
        image = Image.open(path)
    with image:
        np.testing.assert_array_equal(decode(image, background=PAPER), expected)
        np.testing.assert_array_equal(decode(image, background=PAPER), expected)  # now loaded


@each_good
def test_the_header_tells_what_decoding_gives(picture: Picture, tmp_path):
    header = read_header(in_folder(tmp_path, picture.name, picture.data))
    assert header == read_header(picture.data)
    assert (header.height, header.width) == picture.pixels.shape[:2]
    assert header.format in FORMATS
    if header.format != "GIF":  # which has palettes only
        grey = re.match("grey|bits|fax|deep|twelve|odd", picture.name)
        assert header.grey == (bool(grey) and "colour" not in picture.name)


def test_every_suffix_belongs_to_a_format():
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in IMAGE_SUFFIXES} == {*FORMATS} - {"MPO"}


STORED = {
    "RGB.jpg": ("RGB", "JPEG", corpus.FINE),
    "L.jpg": ("L", "JPEG", {"quality": 100}),
    "CMYK.jpg": ("CMYK", "JPEG", corpus.FINE),
    "RGB.png": ("RGB", "PNG", {}),
    "RGBA.png": ("RGBA", "PNG", {}),
    "LA.png": ("LA", "PNG", {}),
    "L.png": ("L", "PNG", {}),
    "P.png": ("P", "PNG", {}),
    "1.png": ("1", "PNG", {}),
    "I;16.png": ("I;16", "PNG", {}),
    "RGB.webp": ("RGB", "WEBP", {"lossless": True}),
    "RGBA.webp": ("RGBA", "WEBP", {"lossless": True, "exact": True}),
    "RGB.tif": ("RGB", "TIFF", {}),
    "RGB packed.tif": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "RGBA.tif": ("RGBA", "TIFF", {}),
    "L.tif": ("L", "TIFF", {}),
    "I;16.tif": ("I;16", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "CMYK.tif": ("CMYK", "TIFF", {}),
}


def in_mode(pixels: corpus.Pixels, mode: str) -> Image.Image:
    """The scene in one of Pillow's modes, the alpha falling with the green."""
    if mode == "I;16":
        return Image.fromarray(pixels[..., 1].astype(np.uint16) * 257)
    image = Image.fromarray(pixels).convert(mode, dither=Image.Dither.NONE)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(pixels[..., 1]))
    return image


@pytest.mark.parametrize("orientation", corpus.ORIENTATIONS)
@pytest.mark.parametrize("name", STORED)
def test_every_orientation_comes_out_upright(name, orientation, tmp_path):
    mode, kind, options = STORED[name]
    upright = decode(corpus.encoded(in_mode(corpus.scene(), mode), kind, **options))
    lying = in_mode(corpus.turned(corpus.scene(), orientation), mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = corpus.encoded(lying, kind, exif=exif, **options)

    levels = 3 if kind == "JPEG" else 0  # its blocks lie elsewhere
    path = in_folder(tmp_path, name, data)
    with Image.open(path) as image:
        for source in (path, data, image):
            pixels = decode(source)
            assert pixels.shape == upright.shape
            assert np.abs(pixels.astype(int) - upright).max() <= levels
    header = read_header(data)
    assert (header.width, header.height) == (48, 32)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", corpus.ORIENTATIONS)
def test_orientation_is_read_in_both_byte_orders(orientation, order):
    lying = Image.fromarray(corpus.turned(corpus.scene(), orientation))
    data = corpus.encoded(lying, "PNG", exif=corpus.exif(orientation, order))
    np.testing.assert_array_equal(decode(data), corpus.scene())
    with Image.open(io.BytesIO(data)) as image:  # Pillow's own way is the second opinion
        np.testing.assert_array_equal(decode(data), ImageOps.exif_transpose(image))


@given(st.binary(max_size=60))
def test_damaged_exif_means_upright(tail):
    exif = b"Exif\0\0" + tail
    orientation = decoding._orientation(exif)
    assert orientation in corpus.ORIENTATIONS


def test_an_image_turned_by_its_owner_is_not_turned_again():
    data = corpus.encoded(
        Image.fromarray(corpus.turned(corpus.scene(), 6)), "PNG", exif=corpus.exif(6)
    )
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(ImageOps.exif_transpose(image)), corpus.scene())


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep_big_endian.tif"])
def test_sixteen_bits_are_scaled_not_clipped(name):
    error = decode(GOOD[name].data)[..., 0] - corpus.DEEP / 257
    assert np.abs(error).max() <= 0.5


def test_transparency_shows_the_stated_colour():
    clear = Image.new("RGBA", (4, 4), (9, 9, 9, 0))
    assert (decode(clear) == 255).all()
    assert (decode(clear, background=(1, 2, 3)) == (1, 2, 3)).all()


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_picture_is_refused_by_name_and_reason(name, tmp_path):
    data, told = FOREIGN[name]
    path = in_folder(tmp_path, name, data)
    for read in (decode, read_header):
        try:
            read(path)
        except UnreadableImage as error:
            assert error.problem.startswith(f"{path}: ")
            assert re.search(told, error.problem.removeprefix(str(path)))
            assert error.fix
        else:
            assert read is read_header and name in ("floats.tif", "counts.tif")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@each_good
def test_a_cut_picture_is_refused_or_whole(picture: Picture, share, tmp_path):
    data = picture.data[: int(len(picture.data) * share)]
    path = in_folder(tmp_path, picture.name, data)
    try:
        pixels = decode(path, background=PAPER)
    except UnreadableImage as error:
        assert error.problem.startswith(f"{path}: ")
        assert re.search("cut short|damaged|no picture", error.problem)
    else:  # the cut was behind the first picture
        np.testing.assert_array_equal(pixels, decode(picture.data, background=PAPER))


@pytest.mark.parametrize(
    "kind", ["colour.jpg", "colour.png", "lossy.webp", "colour.bmp", "raw.tif"]
)
def test_a_picture_cut_in_the_middle_says_where_it_ends(kind):
    data = GOOD[kind].data
    half = data[: len(data) // 2]
    with pytest.raises(UnreadableImage, match=f"image: is cut short: it ends after {len(half)} b"):
        decode(half)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(GOOD)),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_gives_pixels_or_unreadable_image_and_no_warning(name, places, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10**6)
    data = bytearray(GOOD[name].data)
    for share, value in places:
        data[int(share * (len(data) - 1))] = value
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for read in (decode, read_header):
            try:
                read(bytes(data))
            except UnreadableImage as error:
                assert error.problem.startswith("image: ")
    assert not seen


def test_too_many_pixels_are_refused_by_the_header_alone():
    assert 13_000**2 < MAX_PIXELS < 14_000**2
    legal = corpus.png((13_000, 13_000, 8, 2), b"")
    assert read_header(legal).width == 13_000  # Image.open warns about as many
    for kind, data in {
        "png": corpus.png((14_000, 14_000, 8, 2), b""),
        "tiff": corpus.tiff(14_000, 14_000, bytes(8)),
        "gif": b"GIF89a" + struct.pack("<HH", 14_000, 14_000) + GOOD["grey.gif"].data[10:],
        "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xaf\x36\0" * 2,
        "image": None,
    }.items():
        image = Image.new("1", (14_000, 14_000)) if data is None else data
        with pytest.raises(UnreadableImage, match="image: ") as caught:
            decode(image)
        if kind != "webp":  # of which too little is there to be opened
            assert "14000 x 14000 pixels" in caught.value.problem


@each_good
def test_pillows_own_pixel_limit_causes_no_warning(picture: Picture, monkeypatch):
    height, width, _ = picture.pixels.shape
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", height * width - 1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(picture.data)
    assert not seen


def test_threads_get_the_same_pixels_and_leave_the_warning_filters_alone():
    before = list(warnings.filters)
    jobs = [*GOOD.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda picture: decode(picture.data, background=PAPER), jobs))
    for picture, pixels in zip(jobs, results, strict=True):
        np.testing.assert_array_equal(pixels, decode(picture.data, background=PAPER))
    assert list(warnings.filters) == before


def test_a_missing_file_a_folder_and_a_device_are_named(tmp_path):
    for path, told in {
        tmp_path / "none.jpg": "does not exist",
        tmp_path / "none" / "none.jpg": "does not exist",
        tmp_path: "is a folder",
    }.items():
        with pytest.raises(UnreadableImage, match=f"^{re.escape(str(path))}: {told}\n  fix: "):
            decode(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match=r"pipe.jpg: is not a regular file"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (PermissionError(13, "Permission denied"), "may not be read by this user\n  fix: change"),
        (OSError(5, "Input/output error"), "could not be read .Input/output error.\n  fix: "),
    ],
)
def test_what_the_system_says_is_told_in_plain_words(failure, told, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise failure

    path = in_folder(tmp_path, "photo.png", GOOD["colour.png"].data)
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(UnreadableImage, match=f"photo.png: {told}"):
        decode(path)


def test_a_name_of_odd_characters_stays_on_one_line():
    with pytest.raises(UnreadableImage) as caught:
        decode("one\ntwo\udcff\u202e.jpg")
    assert caught.value.problem == r"one\ntwo\udcff\u202e.jpg: does not exist"
    caught.value.problem.encode()


def hills(height: int, width: int) -> corpus.Pixels:
    """A smooth scene, no two sides alike."""
    y, x = np.mgrid[:height, :width] / 90
    waves = [np.sin(x) * np.cos(y / 2), np.sin(y) + x / 9, np.cos(x + 2 * y)]
    return np.clip(128 + 60 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def block_means(image: corpus.Pixels, scale: int) -> NDArray[np.float64]:
    """The image ``scale`` times smaller, each pixel the mean of a block."""
    height, width = (side // scale for side in image.shape[:2])
    blocks = image[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
    return blocks.mean(axis=(1, 3))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_a_part_is_cut_out_of_the_upright_picture(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = corpus.encoded(Image.fromarray(corpus.turned(corpus.scene(), 6)), kind, exif=exif)
    asked = []

    def choose(height, width):
        asked.append((height, width))
        return (3.4, 5.6, 20.5, 31.9)

    part = decode_part(data, choose, (26, 17))
    assert asked == [(32, 48)]
    np.testing.assert_array_equal(part, decode(data)[6:32, 3:20])
    assert part.flags.writeable


@pytest.mark.parametrize(
    ("box", "at_least", "scale"),
    [
        ((0, 0, 640, 480), (60, 80), 8),
        ((0, 0, 640, 480), (61, 80), 4),
        ((100, 80, 500, 400), (80, 100), 4),
        ((101, 83, 499, 397), (100, 100), 2),
        ((100, 80, 500, 400), (161, 10), 1),
        ((100, 80, 500, 400), (4000, 4000), 1),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_decoded_as_coarsely_as_its_part_allows(mode, box, at_least, scale):
    data = corpus.encoded(Image.fromarray(hills(480, 640)).convert(mode), "JPEG", quality=95)
    part = decode_part(data, lambda height, width: box, at_least)
    left, top, right, bottom = (round(side / scale) for side in box)
    assert part.shape == (bottom - top, right - left, 3)
    means = block_means(decode(data), scale)[top:bottom, left:right]
    assert np.abs(part - means).mean() < 1
    assert np.abs(part - means).max() < 8


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.integers(1, 40), st.data())
@settings(max_examples=60)
def test_a_part_is_never_smaller_than_asked_for_where_it_has_the_pixels(
    height, width, high, wide, data
):
    jpeg = corpus.encoded(Image.fromarray(hills(height, width)), "JPEG")
    left, top = data.draw(st.floats(0, width - 0.1)), data.draw(st.floats(0, height - 0.1))
    right, bottom = data.draw(st.floats(left, width)), data.draw(st.floats(top, height))
    box = (left, top, right, bottom)
    full = whole_pixels(box, height, width)
    part = decode_part(jpeg, lambda height, width: box, (high, wide))
    assert part.shape[0] >= min(high, full[3] - full[1])
    assert part.shape[1] >= min(wide, full[2] - full[0])
    np.testing.assert_array_equal(
        decode_part(jpeg, lambda height, width: box, (height + 1, 1)),
        decode(jpeg)[full[1] : full[3], full[0] : full[2]],
    )


@pytest.mark.parametrize("orientation", corpus.ORIENTATIONS)
def test_a_coarse_part_is_upright_too(orientation):
    upright = hills(320, 480)
    data = corpus.encoded(
        Image.fromarray(corpus.turned(upright, orientation)),
        "JPEG",
        exif=corpus.exif(orientation),
        quality=95,
    )
    part = decode_part(data, lambda height, width: (48, 80, 400, 300), (50, 80))
    assert part.shape == (55, 88, 3)
    assert np.abs(part - block_means(upright, 4)[20:75, 12:100]).mean() < 2


def test_a_damaged_picture_is_refused_for_the_same_reason_in_part(tmp_path):
    whole = corpus.encoded(Image.fromarray(hills(480, 640)), "JPEG")
    path = in_folder(tmp_path, "cut.jpg", whole[: len(whole) // 2])
    problems = []
    for read in (decode, lambda file: decode_part(file, lambda h, w: (0, 0, w, h), (9, 9))):
        with pytest.raises(UnreadableImage, match="cut short") as caught:
            read(path)
        problems.append((caught.value.problem, caught.value.fix))
    assert problems[0] == problems[1]
