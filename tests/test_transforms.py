"""Preprocessing is what its definition says, in one float32 arithmetic, alone and in a batch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as vision

import corpus
from resnets.config import Preprocess
from resnets.data import transforms
from resnets.data.transforms import (
    geometry,
    normalise,
    preprocess_image,
    resize_weights,
    to_pixels,
)
from resnets.decoding import decode
from resnets.errors import ConfigError

PAIRS = [
    (32, 32), (32, 224), (224, 32), (375, 256), (256, 375), (37, 5), (5, 37), (224, 225),
    (225, 224), (1, 9), (9, 1), (2, 3), (3, 2), (1, 1), (4000, 224), (3000, 7), (7, 1000),
]  # fmt: skip
KERNELS = ["bilinear", "bicubic"]
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
sides = st.integers(1, 90)
kernels = st.sampled_from(KERNELS)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def asking(size: tuple[int, int, int], **options) -> Preprocess:
    zeros, ones = (0.0,) * size[0], (1.0,) * size[0]
    return Preprocess(input_size=size, **{"mean": zeros, "std": ones} | options)


def pixels_of(image: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(H, W, C) -> (H', W', C')."""
    return to_pixels(torch.from_numpy(image)[None], preprocess)[0].permute(1, 2, 0).numpy()


def kernel(distance: float, kind: str) -> float:
    """Triangle, and the cubic of Keys (1981), eq. 15, with a = -1/2 left as a."""
    s, a = abs(distance), -0.5
    if kind == "bilinear":
        return max(0.0, 1 - s)
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def resized_by_definition(line: np.ndarray, size: int, kind: str) -> np.ndarray:
    """One line of pixels resized sample by sample in float64."""
    scale = len(line) / size
    width = max(scale, 1.0)
    result = np.zeros(size)
    for sample in range(size):
        centre = (sample + 0.5) * scale
        weights = [kernel((pixel + 0.5 - centre) / width, kind) for pixel in range(len(line))]
        result[sample] = np.dot(weights, line) / sum(weights)
    return result


@given(size_in=sides, size_out=sides, kind=kernels, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_resizing_is_its_definition(size_in, size_out, kind, seed):
    line = noise(size_in, seed=seed)
    weights = resize_weights(size_in, size_out, interpolation=kind)
    ours = weights @ torch.from_numpy(line).float()
    np.testing.assert_allclose(ours, resized_by_definition(line, size_out, kind), atol=0.01)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize(("size_in", "size_out"), PAIRS)
def test_resizing_agrees_with_torch_and_pillow(size_in, size_out, kind):
    image = noise(size_in, 11)
    weights = resize_weights(size_in, size_out, interpolation=kind)
    ours = weights @ torch.from_numpy(image).float()
    plane = torch.from_numpy(image).float()[None, None]
    torchs = F.interpolate(plane, (size_out, 11), mode=kind, antialias=True)[0, 0]
    assert (ours - torchs).abs().max() <= 0.01
    pillows = np.asarray(Image.fromarray(image).resize((11, size_out), PILLOW[kind]))
    assert np.abs(ours.clamp(0, 255).numpy() - pillows).max() <= 0.51  # Pillow rounds


@given(height=sides, width=sides, out_height=sides, out_width=sides, kind=kernels)
@settings(max_examples=60, deadline=None)
def test_a_squashed_image_agrees_with_torch_and_pillow(height, width, out_height, out_width, kind):
    image = noise(height, width, 3) // 2 + 64  # no overshoot, which Pillow clamps after each pass
    asked = asking((3, out_height, out_width), crop_mode="squash", interpolation=kind)
    ours = pixels_of(image, asked)
    # channels last in memory: from other layouts torch 2.14 gets a result of width 1 wrong
    planes = torch.from_numpy(image)[None].permute(0, 3, 1, 2).float()
    torchs = F.interpolate(planes, (out_height, out_width), mode=kind, antialias=True)
    assert np.abs(ours - torchs[0].permute(1, 2, 0).numpy()).max() <= 0.01
    pillows = np.asarray(Image.fromarray(image).resize((out_width, out_height), PILLOW[kind]))
    twice = 1.01 if kind == "bilinear" else 1.13  # rounded after each pass; a cubic row's |weights|
    assert np.abs(ours - pillows).max() <= twice


@given(size_in=sides, size_out=sides, kind=kernels, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_part_of_a_side_is_resized_as_pillow_does(size_in, size_out, kind, data):
    start = data.draw(st.floats(0, size_in - 0.5))
    length = data.draw(st.floats(0.5, size_in - start))
    image = noise(size_in, 5)
    weights = resize_weights(size_in, size_out, start=start, length=length, interpolation=kind)
    ours = (weights @ torch.from_numpy(image).float()).clamp(0, 255).numpy()
    box = (0, start, 5, min(start + length, size_in))
    pillows = np.asarray(Image.fromarray(image).resize((5, size_out), PILLOW[kind], box=box))
    assert np.abs(ours - pillows).max() <= 0.52


@given(size_in=st.integers(1, 700), size_out=st.integers(1, 300), kind=kernels)
@settings(max_examples=100, deadline=None)
def test_every_row_of_weights_sums_to_one(size_in, size_out, kind):
    weights = resize_weights(size_in, size_out, interpolation=kind)
    assert weights.shape == (size_out, size_in)
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.double().sum(dim=1), 1, atol=1e-6)


@given(size=st.integers(1, 300), kind=kernels)
@settings(max_examples=30, deadline=None)
def test_the_same_size_is_the_identity(size, kind):
    assert torch.equal(resize_weights(size, size, interpolation=kind), torch.eye(size))


def test_nothing_is_resized_where_nothing_changes(monkeypatch):
    images = torch.from_numpy(noise(4, 32, 32, 3))
    monkeypatch.setattr(transforms, "_resized", None)  # calling it would fail
    pixels = to_pixels(images, asking((3, 32, 32)))
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, images.permute(0, 3, 1, 2).float())
    for weights in geometry(32, 32, asking((3, 32, 32))):
        assert torch.equal(weights, torch.eye(32))


def test_a_crop_without_a_resize_keeps_the_pixels():
    image = noise(40, 40, 3)
    kept = pixels_of(image, asking((3, 32, 32), crop_pct=0.8, interpolation="bicubic"))
    np.testing.assert_array_equal(kept, image[4:36, 4:36])


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (333, 500), (97, 31), (50, 51), (5, 400)])
@pytest.mark.parametrize(("side", "share"), [(224, 0.875), (64, 0.95), (33, 1.0), (31, 0.8)])
def test_the_centre_crop_lies_where_torchvision_puts_it(size, side, share):
    image = noise(*size, 3)
    ours = pixels_of(image, asking((3, side, side), crop_pct=share))
    planes = torch.from_numpy(image).permute(2, 0, 1).float()
    whole = vision.resize(planes, [round(side / share)], antialias=True)
    theirs = vision.center_crop(whole, [side, side]).permute(1, 2, 0)
    np.testing.assert_allclose(ours, theirs, atol=0.01)


@given(height=sides, width=sides, high=sides, wide=sides, share=st.floats(0.5, 1))
@settings(max_examples=60, deadline=None)
def test_an_oblong_input_is_covered_and_cut_from_the_middle(height, width, high, wide, share):
    rows, columns = geometry(height, width, asking((3, high, wide), crop_pct=share))
    assert rows.shape == (high, height)
    assert columns.shape == (wide, width)
    shift = []
    for weights, size in ((rows, height), (columns, width)):
        centres = weights.double() @ (torch.arange(size) + 0.5).double()
        shift.append(abs(float(centres.mean()) - size / 2))
    scale = max(height / high, width / wide, 1)
    assert max(shift) <= 0.5 * scale + 0.51  # half a pixel of the resized image, and the border


@pytest.mark.parametrize("kind", KERNELS)
def test_the_image_is_the_two_products_of_its_geometry(kind):
    image = noise(90, 70, 3)
    preprocess = asking((3, 40, 48), crop_pct=0.9, interpolation=kind)
    rows, columns = geometry(90, 70, preprocess)
    planes = torch.from_numpy(image).permute(2, 0, 1).float()
    product = (rows @ planes @ columns.T).clamp(0, 255).permute(1, 2, 0)
    np.testing.assert_allclose(pixels_of(image, preprocess), product, atol=2e-4)


@given(count=st.integers(1, 5), height=sides, width=sides, kind=kernels)
@settings(max_examples=40, deadline=None)
def test_an_image_is_the_same_alone_and_in_a_batch(count, height, width, kind):
    images = noise(count, height, width, 3)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    preprocess = asking((3, 24, 24), crop_pct=0.875, interpolation=kind, mean=mean, std=std)
    batch = normalise(to_pixels(torch.from_numpy(images), preprocess), preprocess)
    for row, image in zip(batch, images, strict=True):
        assert (preprocess_image(image, preprocess) - row).abs().max() <= 1e-4


def test_what_a_cubic_throws_over_is_clamped():
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, 8:] = 255
    preprocess = asking((3, 61, 61), interpolation="bicubic")
    weights = resize_weights(16, 61, interpolation="bicubic")
    free = weights @ torch.from_numpy(edge[0, :, 0]).float()
    assert free.min() < -5  # so there is something to clamp
    assert free.max() > 260
    pixels = pixels_of(edge, preprocess)
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_pixels_are_not_rounded():
    pixels = pixels_of(noise(50, 50, 3), asking((3, 32, 32)))
    assert np.abs(pixels - pixels.round()).max() > 0.4


@given(height=sides, width=sides)
@settings(max_examples=30, deadline=None)
def test_grey_is_the_weighted_sum_of_the_colours(height, width):
    image = noise(height, width, 3)
    grey = pixels_of(image, asking((1, height, width)))[..., 0]
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    np.testing.assert_allclose(grey, 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-4)
    assert np.abs(grey - np.asarray(Image.fromarray(image).convert("L"))).max() <= 1


def test_one_channel_is_repeated_where_three_are_asked():
    image = noise(20, 30, 1)
    pixels = pixels_of(image, asking((3, 16, 16)))
    single = pixels_of(image, asking((1, 16, 16)))
    np.testing.assert_array_equal(pixels, np.repeat(single, 3, axis=-1))
    assert np.abs(pixels_of(noise(8, 8, 1), asking((3, 8, 8))) - noise(8, 8, 1)).max() == 0


def test_floating_point_images_are_taken_and_clamped():
    images = torch.tensor([-3.0, 12.5, 300.0]).expand(1, 8, 8, 3)
    pixels = to_pixels(images, asking((3, 8, 8)))
    assert pixels[0, :, 4, 4].tolist() == [0.0, 12.5, 255.0]
    assert to_pixels(images.double(), asking((3, 4, 4))).dtype == torch.float32


def test_normalise_is_mean_std_and_mean_image():
    preprocess = asking((3, 5, 7), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = torch.rand(4, 3, 5, 7) * 255
    before = pixels.clone()
    mean_image = torch.rand(3, 5, 7)
    scaled = vision.normalize(pixels / 255, list(preprocess.mean), list(preprocess.std))
    torch.testing.assert_close(normalise(pixels, preprocess), scaled)
    torch.testing.assert_close(normalise(pixels, preprocess, mean_image), scaled - mean_image)
    assert torch.equal(pixels, before)


def test_a_missing_mean_image_is_an_error():
    preprocess = asking((1, 4, 4), mean_image=True)
    with pytest.raises(ConfigError, match=r"mean image.*\n  fix: pass mean_image"):
        normalise(torch.zeros(1, 1, 4, 4), preprocess)
    image = np.zeros((4, 4, 1), np.uint8)
    assert (preprocess_image(image, preprocess, torch.ones(1, 4, 4)) == -1).all()


def test_read_only_and_mirrored_arrays_are_taken_as_they_are():
    image = noise(20, 20, 3)
    preprocess = asking((3, 16, 16))
    for odd in (image[:, ::-1], image[::2], image.swapaxes(0, 1)):
        odd.flags.writeable = False
        expected = preprocess_image(odd.copy(), preprocess)
        assert torch.equal(preprocess_image(odd, preprocess), expected)


def test_float32_holds_under_autocast_and_weights_outlive_inference_mode():
    preprocess = asking((3, 23, 23))  # a size of its own: nothing is cached yet
    images = torch.from_numpy(noise(2, 41, 43, 3))
    with torch.inference_mode():
        plain = to_pixels(images, preprocess)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(to_pixels(images, preprocess), plain)
    wanted = images.float().requires_grad_()
    to_pixels(wanted, preprocess).sum().backward()
    assert wanted.grad is not None
    assert wanted.grad.sum() == pytest.approx(2 * 3 * 23 * 23, rel=1e-4)


def test_an_extremely_long_image_needs_no_extreme_memory():
    line = torch.from_numpy(noise(1, 1, 3_000_000, 3))
    middle = to_pixels(line, asking((3, 32, 32)))
    assert middle.shape == (1, 3, 32, 32)
    whole = to_pixels(line, asking((3, 32, 32), crop_mode="squash"))
    assert (whole - 127.5).abs().max() < 2  # every sample is the mean of very many


@pytest.mark.parametrize("picture", corpus.good_pictures(), ids=lambda picture: picture.name)
def test_the_network_sees_the_same_whatever_way_a_picture_comes(picture, tmp_path):
    preprocess = asking((3, 24, 24), crop_pct=0.9, background=corpus.PAPER)
    path = tmp_path / picture.name
    path.write_bytes(picture.data)
    seen = [
        preprocess_image(decode(source, background=preprocess.background), preprocess)
        for source in (path, picture.data)
    ]
    assert torch.equal(seen[0], seen[1])
    by_hand = preprocess_image(picture.pixels, preprocess)
    assert (seen[0] - by_hand).abs().max() <= (picture.within + 0.01) / 255
