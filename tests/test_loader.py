"""The order of samples is a function: of the seed and the epoch, whatever else happens."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation, random_box
from resnets.data.loader import MemoryBatches, Order
from resnets.data.sources import ArrayImages, FileImages, ListImages, Split
from resnets.data.workers import WorkerBatches
from resnets.errors import CannotGoOn

PREPROCESS = Preprocess(input_size=(3, 16, 16))


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 25), st.integers(0, 5))
def test_every_sample_comes_once_per_epoch_and_every_batch_is_full(count, batch, seed):
    order = Order(seed, np.zeros(count, dtype=np.int64))
    steps = -(-3 * count // batch)
    windows = [order.window(step, batch) for step in range(steps)]
    assert all(len(window.samples) == batch for window in windows)
    for epoch in range(3):
        seen = np.concatenate([one.samples[one.epochs == epoch] for one in windows])
        assert sorted(seen.tolist()) == list(range(count))


def test_seeds_and_epochs_give_other_orders():
    labels = np.zeros(100, dtype=np.int64)
    firsts = [Order(seed, labels).window(step, 100).samples for seed in (0, 1) for step in (0, 1)]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(firsts, 2))


def test_balanced_order_draws_classes_equally_often():
    labels = np.array([0] * 80 + [1] * 16 + [2] * 4, dtype=np.int64)
    window = Order(3, labels, "order").window(0, 100)
    samples = window.samples
    assert len(set(window.seeds(3))) == 100, "each time with another augmentation"
    counts = np.bincount(labels[samples])
    assert counts.min() >= 33 and counts.sum() == 100
    assert set(samples[labels[samples] == 2]) == set(range(96, 100)), "all of a small class"


def memory_split(count=20, side=16):
    array = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % 2
    return Split(ArrayImages(array), labels, tuple(map(str, range(count))), None)


@pytest.fixture
def file_split(tmp_path):
    rng = np.random.default_rng(1)
    names = []
    for index in range(12):
        shape = (20 + index, 30 - index, 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{index}.png")
        names.append(f"{index}.png")
    labels = np.arange(12, dtype=np.int64) % 3
    return Split(FileImages(tmp_path, tuple(names)), labels, tuple(names), None)


def take(batches, start, count):
    stream = batches.starting_at(start)
    taken = list(itertools.islice(stream, count))
    stream.close()
    return taken


@pytest.mark.parametrize("auto_augment", ["none", "trivial", "rand"])
def test_memory_batches_may_start_anywhere(auto_augment):
    split = memory_split()
    batches = MemoryBatches(
        split, PREPROCESS, Augmentation(auto_augment=auto_augment), Order(5, split.labels), 6
    )
    through = take(batches, 0, 9)
    for expected, batch in zip(through[4:], take(batches, 4, 5), strict=True):
        assert torch.equal(expected.pixels, batch.pixels)
        assert torch.equal(expected.labels, batch.labels)


@pytest.mark.parametrize("crop", ["resized", "none"])
def test_the_number_of_workers_and_the_way_they_start_change_no_pixel(file_split, crop):
    augmentation = Augmentation(crop=crop, auto_augment="trivial")
    order = Order(7, file_split.labels)

    def batches(workers, start_method=None):
        return WorkerBatches(file_split, PREPROCESS, augmentation, order, 5, workers, start_method)

    expected = take(batches(0), 0, 7)
    for variant, start in ((batches(1), 0), (batches(2), 3), (batches(2, "spawn"), 2)):
        for alone, batch in zip(expected[start:], take(variant, start, 7 - start), strict=True):
            assert torch.equal(alone.pixels, batch.pixels)
            assert torch.equal(alone.labels, batch.labels)


def test_a_random_crop_is_the_box_resized_as_pillow_does(file_split):
    augmentation = Augmentation(crop="resized")
    for sample, seed in itertools.product(range(12), range(5)):
        image = file_split.images[sample]
        height, width = image.shape[:2]
        left, top, right, bottom = random_box(height, width, augmentation.crop_scale, seed)
        part = augmentation.part(file_split.images, sample, PREPROCESS, seed)
        ours = augmentation.finish(part, PREPROCESS, seed)
        whole = (round(left), round(top), round(right), round(bottom))
        pillows = Image.fromarray(image).crop(whole).resize((16, 16), Image.Resampling.BILINEAR)
        difference = ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(pillows)
        assert np.abs(difference).max() <= 1, "each rounds after each direction"


def test_files_and_arrays_are_cropped_alike(file_split):
    arrays = ListImages([file_split.images[index] for index in range(12)])
    augmentation = Augmentation(crop="resized")
    for index in range(12):
        of_files = augmentation.part(file_split.images, index, PREPROCESS, 9)
        np.testing.assert_array_equal(of_files, augmentation.part(arrays, index, PREPROCESS, 9))


def test_workers_tell_the_time_that_decoding_takes(file_split):
    batches = WorkerBatches(
        file_split, PREPROCESS, Augmentation(), Order(0, file_split.labels), 6, 1
    )
    assert all(batch.decoding > 0 for batch in take(batches, 0, 2))


def test_an_image_that_turns_unreadable_is_named_and_never_replaced(file_split):
    (file_split.images.root / "3.png").write_bytes(b"\x89PNG")
    batches = WorkerBatches(
        file_split, PREPROCESS, Augmentation(), Order(0, file_split.labels), 4, 2
    )
    with pytest.raises(CannotGoOn, match=r"3\.png"):
        take(batches, 0, 3)


@pytest.mark.parametrize(
    ("crop", "around"),
    [
        ("pad4", lambda image: np.pad(image, 1)),  # the mean, which is zero
        ("pad2", lambda image: np.pad(image, 1, mode="reflect")),
    ],
)
def test_a_shifted_image_is_a_window_of_it_and_what_lies_around_it(crop, around):
    images = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).repeat(50, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    moved = Augmentation(crop=crop).move_batch(images, generator)
    padded = torch.from_numpy(around(images[0, 0].numpy()))
    windows = [padded[None, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    found = [next(k for k, w in enumerate(windows) if torch.equal(w, m)) for m in moved]
    assert len(set(found)) == 9, "every shift occurs"


@pytest.mark.parametrize("crop", ["pad2", "pad4"])
def test_a_shift_is_by_a_share_of_the_side(crop):
    images = torch.zeros(500, 1, 32, 32)
    images[:, :, 16, 16] = 1.0
    moved = Augmentation(crop=crop).move_batch(images, torch.Generator().manual_seed(0))
    far = {"pad2": 2, "pad4": 4}[crop]
    places = moved.flatten(1).argmax(1)
    rows, columns = (places // 32 - 16).tolist(), (places % 32 - 16).tolist()
    assert set(rows) == set(columns) == set(range(-far, far + 1))


def test_an_image_of_one_pixel_has_nowhere_to_go():
    images = torch.rand(3, 1, 1, 1)
    for crop in ("pad2", "pad4"):
        moved = Augmentation(crop=crop).move_batch(images, torch.Generator().manual_seed(0))
        assert torch.equal(moved, images)


def test_flips_are_the_mirror_image_in_half_of_the_cases():
    images = torch.rand(2_000, 3, 4, 4)
    flipped = Augmentation(flip=True).move_batch(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all() and 0.45 < mirrored.float().mean() < 0.55


@pytest.mark.parametrize("mixing", [Augmentation(mixup=1.0), Augmentation(cutmix=1.0)])
def test_mixed_targets_are_shares_that_match_the_pixels(mixing):
    images = torch.zeros(8, 1, 10, 10)
    images[4:] = 1.0
    labels = torch.tensor([0] * 4 + [1] * 4)
    mixed, targets = mixing.mix_batch(images, labels, 2, torch.Generator().manual_seed(1))
    assert torch.allclose(targets.sum(1), torch.ones(8))
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), targets[:, 1], atol=1e-5)


@settings(deadline=None)
@given(st.integers(8, 400), st.integers(8, 400), st.integers(0, 2**62), st.floats(0.05, 1))
def test_a_random_box_lies_inside_the_image(height, width, seed, smallest):
    left, top, right, bottom = random_box(height, width, smallest, seed)
    assert 0 <= left < right <= width + 1e-6 and 0 <= top < bottom <= height + 1e-6
