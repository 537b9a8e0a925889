"""The cache of decoded photos: never stale, never in the way, and the same pixels either way."""

import itertools
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import resnets.data.sources
import resnets.training.photos
from resnets.config import Preprocess
from resnets.data import cache, from_arrays
from resnets.data.augmentation import Augmentation, random_box
from resnets.data.loader import Batch, Order
from resnets.data.reading import read_images
from resnets.data.sources import Dataset, FileImages, Split
from resnets.data.transforms import preprocess_image
from resnets.data.workers import WorkerBatches
from resnets.decoding import decode
from resnets.evaluation import run_over
from resnets.training import session
from resnets.training.run import train
from runs import fit, pictures, rows_of, same_state, save_folder, without_times

PREPROCESS = Preprocess(input_size=(3, 16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.2))
sources: Any = resnets.data.sources
photos: Any = resnets.training.photos
CROPS = Augmentation(crop="resized", auto_augment="trivial")
EVERY_KIND = {
    "shrunk": CROPS,
    "whole": Augmentation(auto_augment="trivial"),
    "pixels": Augmentation(),
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "decoded"


def save(path, height, width, seed, grain=8):
    shape = (height // grain, width // grain, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(path, quality=95)


def read_split(root):
    names = tuple(sorted(path.name for path in root.glob("*.*")))
    labels = np.arange(len(names), dtype=np.int64) % 2
    split = Split(FileImages(root, names), labels, names)
    return read_images(Dataset("photos", str(root), ("a", "b"), {"train": split})).splits["train"]


@pytest.fixture
def split(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(9):
        save(root / f"{index}.{('jpg', 'png')[index % 2]}", 120 + 8 * index, 200 - 8 * index, index)
    save(root / "small.png", 16, 24, 99)
    return read_split(root)


def batches(split, augmentation, count=4):
    order = Order(3, split.labels)
    stream = WorkerBatches(split, PREPROCESS, augmentation, order, 5, 0).starting_at(0)
    return [batch.pixels for batch in itertools.islice(stream, count)]


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("augmentation", EVERY_KIND.values(), ids=EVERY_KIND)
def test_the_same_pixels_whether_the_cache_is_empty_filled_or_damaged(split, folder, augmentation):
    kept = cache.for_training(split, PREPROCESS, augmentation, folder)
    empty = batches(kept, augmentation)
    assert cache.fill([kept]) == 0
    assert len(entries(folder)) == len(split)
    filled = batches(kept, augmentation)
    for number, path in enumerate(sorted(folder.iterdir())):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes((b"", data[:10], data[:-1], data)[number % 4])
    damaged = batches(kept, augmentation)
    assert not entries(folder), "what is damaged is removed"
    assert cache.fill([kept]) == 0 and len(entries(folder)) == len(split)
    for one, *others in zip(empty, filled, damaged, batches(kept, augmentation), strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("kind", ["whole", "pixels"])
def test_where_photos_are_not_cropped_at_random_the_cache_changes_no_bit(split, folder, kind):
    kept = cache.for_training(split, PREPROCESS, EVERY_KIND[kind], folder)
    cache.fill([kept])
    with_cache, without = (batches(each, EVERY_KIND[kind]) for each in (kept, split))
    assert all(map(torch.equal, with_cache, without))


def test_what_is_scored_from_the_cache_has_the_same_bits(split, folder):
    kept = cache.for_validation(split, PREPROCESS, folder)
    cache.fill([kept])
    rows: list[Any] = list(run_over(list, kept.images, PREPROCESS, batch_size=4))
    for row, name in zip(rows, split.names, strict=True):
        assert torch.equal(row, preprocess_image(decode(split.images.root / name), PREPROCESS))
    other = Preprocess(input_size=(3, 8, 8))  # not what is kept
    rows = list(run_over(list, kept.images, other))
    assert torch.equal(rows[0], preprocess_image(split.images[0], other))


def test_a_filled_cache_decodes_nothing(split, folder, monkeypatch):
    parts = [
        cache.for_training(split, PREPROCESS, CROPS, folder),
        cache.for_validation(split, PREPROCESS, folder),
    ]
    told: list[int] = []
    cache.fill(parts, told.append)
    assert sum(told) == 2 * len(split)
    for module in (sources, cache):
        monkeypatch.setattr(module, "decode_part", None)  # calling it would fail
    monkeypatch.setattr(sources, "decode", None)
    assert cache.fill(parts) == 0
    batches(parts[0], CROPS)
    list(run_over(lambda images: list(images), parts[1].images, PREPROCESS))


def test_a_kept_photo_is_the_photo_shrunk_so_that_every_crop_keeps_the_inputs_size(tmp_path):
    shapes = [(1200, 1600), (1600, 1200), (300, 1800), (200, 200), (36, 24)]
    for index, (height, width) in enumerate(shapes):
        save(tmp_path / f"{index}.jpg", height, width, index, grain=max(8, height // 4))
    split = read_split(tmp_path)
    kept = cache.for_training(split, PREPROCESS, CROPS, tmp_path / "decoded")
    for index, (height, width) in enumerate(shapes):
        photo = kept.images[index]
        assert isinstance(kept.images, cache.CachedPhotos)
        assert photo.shape[:2] == kept.images.size(index)
        full = decode(tmp_path / f"{index}.jpg")
        if min(height, width) < 64:
            np.testing.assert_array_equal(photo, full)
            continue
        assert photo.size < full.size / 4
        assert photo.shape[0] / photo.shape[1] == pytest.approx(height / width, rel=0.05)
        shrunk = Image.fromarray(full).resize(photo.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(photo - np.asarray(shrunk).astype(int)).mean() < 6
        for seed in range(300):
            left, top, right, bottom = random_box(
                photo.shape[0], photo.shape[1], CROPS.crop_scale, seed
            )
            assert min(right - left, bottom - top) > 16 - 0.1


def test_another_photo_or_another_rule_has_another_name(split, folder):
    def names(split, augmentation=CROPS, preprocess=PREPROCESS):
        images: Any = cache.for_training(split, preprocess, augmentation, folder).images
        return {images.path(index) for index in range(len(split))}

    seen = names(split)
    larger = Preprocess(input_size=(3, 20, 20))
    paper = FileImages(split.images.root, split.images.paths, background=(0, 0, 0))
    others = [
        names(split, Augmentation(crop="resized", crop_scale=0.2)),
        names(split, CROPS, larger),
        names(Split(paper, split.labels, split.names, split.digests)),
        *(names(split, EVERY_KIND[kind]) for kind in ("whole", "pixels")),
        names(split, EVERY_KIND["pixels"], larger),
    ]
    for one, other in itertools.combinations([seen, *others], 2):
        assert not one & other
    root = split.images.root
    save(root / "0.jpg", 120, 200, 77)
    assert len(names(read_split(root)) - seen) == 1, "only that photo's"
    assert names(split, EVERY_KIND["pixels"]) == names(
        split, EVERY_KIND["pixels"], Preprocess(input_size=(3, 16, 16))
    ), "what is subtracted later does not matter"


def test_a_photo_that_changed_is_decoded_anew(split, folder):
    cache.fill([cache.for_training(split, PREPROCESS, CROPS, folder)])
    root = split.images.root
    save(root / "1.png", 128, 192, 77)
    changed = cache.for_training(read_split(root), PREPROCESS, CROPS, folder)
    cache.fill([changed])
    alone = cache.for_training(read_split(root), PREPROCESS, CROPS, folder / "another")
    assert all(map(torch.equal, batches(changed, CROPS), batches(alone, CROPS)))


def test_a_photo_that_changes_before_it_is_kept_is_not_kept_under_its_old_name(split, folder):
    kept = cache.for_training(split, PREPROCESS, CROPS, folder)
    save(split.images.root / "1.png", 128, 192, 77)
    assert cache.fill([kept]) == 0
    images: Any = kept.images
    assert not images.path(1).exists() and len(entries(folder)) == len(split) - 1


def test_the_cache_is_bounded_and_the_oldest_of_others_go(split, folder, monkeypatch):
    kept = cache.for_training(split, PREPROCESS, CROPS, folder)
    folder.mkdir()
    sizes = [cache._HEADER.size + kept.images[index].nbytes for index in range(len(split))]
    for age, name in enumerate(("new", "old")):
        (folder / name).write_bytes(bytes(sizes[0]))
        os.utime(folder / name, (1e9 - age, 1e9 - age))

    monkeypatch.setattr(cache, "MOST_BYTES", sum(sizes) + sizes[0])
    assert cache.fill([kept]) == 0
    assert "old" not in entries(folder) and "new" in entries(folder)

    monkeypatch.setattr(cache, "MOST_BYTES", sum(sizes) // 2)
    other = cache.for_training(
        split, PREPROCESS, Augmentation(crop="resized", crop_scale=0.36), folder
    )
    left_over = cache.fill([other])
    assert 0 < left_over < len(split)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= cache.MOST_BYTES
    empty = cache.for_training(split, PREPROCESS, CROPS, folder / "none")
    assert all(map(torch.equal, batches(kept, CROPS), batches(empty, CROPS)))


def test_what_another_run_is_writing_stays_and_what_a_killed_one_left_goes(
    split, folder, monkeypatch
):
    kept = cache.for_training(split, PREPROCESS, CROPS, folder)
    cache.fill([kept])
    (finished, *_) = entries(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    (folder / f"{'0' * 40}.123.4").write_bytes(b"half")
    (folder / f"{'1' * 40}.123.4").write_bytes(b"left")
    os.utime(folder / f"{'1' * 40}.123.4", (1e9, 1e9))
    monkeypatch.setattr(cache, "MOST_BYTES", size)
    cache.fill([cache.for_training(split, PREPROCESS, EVERY_KIND["whole"], folder)])
    assert f"{'0' * 40}.123.4" in entries(folder)
    assert f"{'1' * 40}.123.4" not in entries(folder) and finished not in entries(folder)


def test_no_more_than_half_of_the_free_disk_is_taken(split, folder, monkeypatch):
    kept = cache.for_training(split, PREPROCESS, CROPS, folder)
    monkeypatch.setattr(cache, "_free", lambda folder: 40_000)
    assert cache.fill([kept]) > 0
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 20_000


def test_a_disk_that_cannot_be_written_ends_no_run(split, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    kept = cache.for_training(split, PREPROCESS, CROPS, tmp_path / "file" / "decoded")
    assert cache.fill([kept]) == len(split)
    assert len(batches(kept, CROPS)) == 4


def test_the_size_that_is_told_is_about_the_size_it_takes(split, folder):
    parts = [
        cache.for_training(split, PREPROCESS, CROPS, folder),
        cache.for_validation(split, PREPROCESS, folder),
    ]
    cache.fill(parts)
    taken = sum(path.stat().st_size for path in folder.iterdir())
    assert sum(map(cache.needed_bytes, parts)) == pytest.approx(taken, rel=0.02)


SETTINGS: dict[str, Any] = {
    "model": "resnet20",
    "image_size": 32,
    "batch_size": 8,
    "epochs": 2,
    "crop": "resized",
    "workers": 0,
    "mean": (0.5, 0.5, 0.5),  # measured ones would be decoded for
    "std": (0.25, 0.25, 0.25),
}


@pytest.fixture
def users_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "default_cache_dir", lambda: tmp_path / "decoded")
    return tmp_path / "decoded"


def test_a_second_run_with_the_cache_decodes_no_photo_of_train_and_val(
    tmp_path, users_cache, monkeypatch
):
    data = save_folder(tmp_path / "photos", 40, 72, odd=True)
    first = fit(data, out=tmp_path / "first", cache=True, **SETTINGS)
    assert len(entries(users_cache)) == 40
    decoded = []

    def note(source, *arguments, **options):
        decoded.append(source)
        return original(source, *arguments, **options)

    original = sources.decode
    monkeypatch.setattr(sources, "decode", note)
    monkeypatch.setattr(sources, "decode_part", None)
    monkeypatch.setattr(cache, "decode_part", None)
    # The report shows a few training photos, which it decodes; this is about the training.
    monkeypatch.setattr(session, "first_images", lambda *_: [])
    second = fit(data, out=tmp_path / "second", cache=True, **SETTINGS)
    assert decoded and {path.parts[-3] for path in decoded} == {"test"}
    assert same_state(first.path, second.path)
    assert without_times(rows_of(first.path)) == without_times(rows_of(second.path))


def test_where_nothing_is_decoded_the_cache_is_told_to_have_no_effect(
    tmp_path, users_cache, capsys
):
    data = from_arrays(pictures(24, 16), classes=("left", "right"))
    train(data, out=tmp_path / "run", epochs=1, cache=True, threads=1)
    assert "cache has no effect: the images are in memory" in capsys.readouterr().err
    assert not users_cache.exists()


@pytest.mark.parametrize("with_cache", [False, True])
def test_where_decoding_is_the_limit_the_run_says_so_once_and_names_the_cache(
    tmp_path, users_cache, capsys, monkeypatch, with_cache
):
    monkeypatch.setattr(photos, "MUCH_DECODING", 0.0)
    monkeypatch.setattr(photos, "MEASURED", 3)
    data = save_folder(tmp_path / "photos", 40, 72, odd=True)
    settings = SETTINGS | {"epochs": 6}
    train(data, out=tmp_path / "run", threads=1, cache=with_cache, **settings)
    told = [line for line in capsys.readouterr().err.splitlines() if "--cache" in line]
    assert len(told) == (0 if with_cache else 1)
    if told:
        assert "of the processor time" in told[0] and " MB on disk" in told[0]


@pytest.mark.parametrize(
    ("waited", "decoding", "told"),
    [(0.0, 0.2, False), (0.0, 0.4, True), (0.3, 0.2, True), (0.3, 0.01, False), (0.05, 0.1, False)],
)
def test_only_much_decoding_is_worth_a_word(
    split, monkeypatch, users_cache, waited, decoding, told
):
    """Steps of one second on two cores, on a clock of our own."""
    clock = SimpleNamespace(value=0.0)
    monkeypatch.setattr(photos.time, "monotonic", lambda: clock.value)
    monkeypatch.setattr(photos, "available_cores", lambda: 2)

    class Made:
        def starting_at(self, step):
            while True:
                clock.value += waited
                yield Batch(torch.zeros(1), torch.zeros(1), decoding)

    task = SimpleNamespace(preprocess=PREPROCESS, augmentation=CROPS)
    watch = photos.DecodingWatch(Made(), task, {"train": split})
    stream = watch.starting_at(0)
    sentences = []
    for _ in range(200):
        next(stream)
        clock.value += 1 - waited
        sentences.append(watch.sentence())
    found = [sentence for sentence in sentences if sentence]
    assert len(found) == told
    if told:
        assert f"takes {decoding / 2:.0%} of the processor time" in found[0]
        assert f"steps wait {waited:.0%} of the time" in found[0]
