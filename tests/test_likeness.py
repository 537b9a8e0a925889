"""Fingerprints and likeness, held to slow second implementations and to formulas."""

import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.fft
from hypothesis.extra.numpy import arrays

from planted import photo
from resnets.data import likeness as module
from resnets.data.likeness import fingerprints, likeness, near_pairs, radius_for, small_picture


def smalls(count: int, first_seed: int = 0) -> np.ndarray:
    return np.stack([small_picture(np.asarray(photo(first_seed + seed))) for seed in range(count)])


def test_a_small_picture_holds_the_means_of_blocks() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (48, 64, 1), np.uint8)
    means = grey.reshape(16, 3, 16, 4).mean(axis=(1, 3))
    assert np.abs(small_picture(grey) - means).max() <= 1
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert (small_picture(red) == round(0.299 * 200)).all()


def test_fingerprints_are_the_signs_of_scipys_cosine_transform() -> None:
    small = smalls(50)
    for picture, bits in zip(small, fingerprints(small), strict=True):
        strengths = scipy.fft.dctn(picture.astype(np.float64))[:8, :8].ravel()
        above = strengths > np.median(strengths[1:])
        assert np.packbits(above).tobytes() == bits.tobytes()


def hamming(one: int, two: int) -> int:
    return (int(one) ^ int(two)).bit_count()


@pytest.mark.parametrize("numpy_2", [True, False])
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=30)
def test_near_pairs_are_all_pairs_within_the_radius(numpy_2: bool, data: st.DataObject) -> None:
    few_bits = st.integers(0, 2**64 - 1).map(lambda bits: bits & 0x8001_0000_FFFF_0001)
    first, second = (
        data.draw(arrays(np.uint64, st.integers(1, 12), elements=few_bits)) for _ in range(2)
    )
    radius = data.draw(st.integers(0, 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 16)  # several blocks
        if not numpy_2:
            patch.delattr(np, "bitwise_count", raising=False)
        blocks = list(near_pairs(first, second, radius))
        assert sum(rows for rows, _ in blocks) == len(first)
        found = {(int(one), int(two)) for _, pairs in blocks for one, two in pairs}
    assert found == {
        (one, two)
        for one in range(len(first))
        for two in range(len(second))
        if hamming(first[one], second[two]) <= radius
    }


def test_near_pairs_end_at_the_deadline() -> None:
    prints = fingerprints(smalls(4))
    assert list(near_pairs(prints, prints, 64, deadline=time.monotonic() - 1)) == []


def test_the_radius_leaves_no_more_pairs_than_asked_for() -> None:
    prints = fingerprints(smalls(60))
    distances = np.array([[hamming(one, two) for two in prints] for one in prints])
    for most in (60, 100, 500, 2_000):
        radius = radius_for(prints, prints, largest=64, most=most)
        assert (distances <= radius).sum() <= most < (distances <= radius + 1).sum()
    assert radius_for(prints, prints, largest=9, most=10**9) == 9
    assert radius_for(prints, prints, largest=9, most=1) == 0


@hypothesis.given(gain=st.floats(0.4, 1.0), offset=st.floats(0, 100))
@hypothesis.settings(max_examples=30)
def test_brightness_and_contrast_change_no_likeness(gain: float, offset: float) -> None:
    small = smalls(4)
    other = np.rint(gain * small.astype(np.float64) + offset)
    fits = other.max(axis=(1, 2)) <= 255
    first, second = small[fits], other[fits].astype(np.uint8)
    assert (likeness(first, second) > 0.97).all()


def test_a_negative_a_plain_and_another_picture_are_not_alike() -> None:
    small = smalls(200)
    assert (likeness(small, small) > 0.999).all()
    assert (likeness(small, 255 - small) == 0).all()
    assert (likeness(small, np.full_like(small, 90)) == 0).all()
    assert (likeness(small, np.roll(small, 1, axis=0)) < 0.5).mean() > 0.98


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (1, 1)])
def test_a_picture_moved_by_a_sixteenth_is_found_again(right: int, down: int) -> None:
    """One small pixel, which a comparison pixel by pixel does not survive."""
    alike, by_pixel = [], []
    for seed in range(40):
        image = np.asarray(photo(seed, (17 * 8, 17 * 8)))
        moved = image[8 * down : 8 * down + 128, 8 * right : 8 * right + 128]
        pair = small_picture(image[:128, :128])[None], small_picture(moved)[None]
        alike.append(likeness(*pair)[0])
        detail = [module._detail(each.astype(np.float32)).ravel() for each in pair]
        one, two = (each - each.mean() for each in detail)
        by_pixel.append((one @ two) ** 2 / (one @ one) / (two @ two))
    assert np.median(alike) > 0.5 > np.median(by_pixel)
