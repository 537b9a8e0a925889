"""Reading a data set once: what is hashed, what is left out, what lands in memory."""

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_up import encoded, write
from resnets.data import ArrayImages, Dataset, FileImages, from_arrays, open_dataset, read_images
from resnets.errors import DataError

Picture = Image.Image


def noise(size: tuple[int, int], seed: int, mode: str = "RGB") -> Picture:
    """A picture of (width, height) that no other seed gives."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels)[: 3 if channels > 1 else 2]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def folder(root: Path, picture: Callable[[int], Picture], *, per_class: int = 6) -> Dataset:
    """Two classes of training images and one of test images, ``picture(0)`` and so on."""
    write(root, ["train/cat/", "train/dog/", "test/dog/"])
    for number in range(per_class):
        for index, place in enumerate(("train/cat", "train/dog", "test/dog")):
            data = encoded(picture(3 * number + index))
            (root / place / f"{number}.png").write_bytes(data)
    return open_dataset(root)


def pixels(path: Path, mode: str = "RGB") -> np.ndarray:
    """What Pillow makes of a file."""
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_of_one_shape_land_in_memory(mode: str, tmp_path: Path) -> None:
    dataset = read_images(folder(tmp_path, lambda seed: noise((5, 4), seed, mode)))
    assert dataset.notes == ("test has no image of 'cat'",)
    for split in dataset.splits.values():
        assert isinstance(split.images, ArrayImages)
        assert split.images.array.shape[1:] == (4, 5, len(mode))
        for index, name in enumerate(split.names):
            expected = pixels(tmp_path / name, mode).reshape(4, 5, -1)
            np.testing.assert_array_equal(split.images[index], expected)
            assert split.digests is not None
            digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
            assert split.digests[index] == digest


def test_one_coloured_image_keeps_colour_in_all(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed, "RGB" if seed == 7 else "L"))
    assert read_images(dataset).splits["train"].images[0].shape == (4, 5, 3)


def test_a_photo_lying_on_its_side_has_the_shape_of_the_upright_ones(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    noise((4, 5), 99).save(file, "PNG", exif=exif)
    (tmp_path / "train/cat/0.png").write_bytes(file.getvalue())
    images = read_images(dataset).splits["train"].images
    assert isinstance(images, ArrayImages)
    with Image.open(tmp_path / "train/cat/0.png") as image:
        expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(images[0], expected)


def test_images_of_many_shapes_stay_files(tmp_path: Path) -> None:
    dataset = read_images(folder(tmp_path, lambda seed: noise((5, 4 + seed % 2), seed)))
    split = dataset.splits["train"]
    assert isinstance(split.images, FileImages)
    assert dataset.notes == ("test has no image of 'cat'",)
    assert split.digests is not None
    assert len(set(split.digests)) == len(split)
    np.testing.assert_array_equal(split.images[3], pixels(tmp_path / split.names[3]))


@pytest.mark.parametrize(("spare", "kind"), [(0, ArrayImages), (-1, FileImages)])
def test_memory_is_kept_to_the_byte(spare: int, kind: type, tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed))
    assert isinstance(
        read_images(dataset, memory=18 * 5 * 4 * 3 + spare).splits["test"].images, kind
    )


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "empty"),
    "a web page": (lambda data: b"<!doctype html><html></html>", "web page"),
    "cut short behind the header": (lambda data: data[:60], "cut short"),
}


@pytest.mark.parametrize("shapes", [1, 2])
@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_file_is_left_out_by_name(damage: str, shapes: int, tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((9, 8 + seed % shapes), seed))
    broken, reason = DAMAGE[damage]
    victims = ["train/cat/2.png", "test/dog/5.png"]
    for name in victims:
        (tmp_path / name).write_bytes(broken((tmp_path / name).read_bytes()))
    (tmp_path / "train/dog/0.png").unlink()
    read = read_images(dataset)
    assert [item.path for item in read.left_out] == [
        "train/cat/2.png",
        "train/dog/0.png",
        victims[1],
    ]
    assert reason in read.left_out[0].reason
    assert "No such file" in read.left_out[1].reason
    assert {part: len(split) for part, split in read.splits.items()} == {"train": 10, "test": 5}
    for split in read.splits.values():
        assert isinstance(split.images, ArrayImages) == (shapes == 1)
        for index, name in enumerate(split.names):
            np.testing.assert_array_equal(split.images[index], pixels(tmp_path / name))
            assert read.classes[split.labels[index]] in name
            data = (tmp_path / name).read_bytes()
            assert split.digests is not None
            assert split.digests[index] == hashlib.sha256(data).hexdigest()


def test_when_time_is_over_the_note_counts_what_was_not_decoded(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((9, 8 + seed % 2), seed))
    cut = tmp_path / "train/cat/2.png"
    cut.write_bytes(cut.read_bytes()[:60])
    read = read_images(dataset, seconds=0)
    assert read.left_out == ()
    assert read.notes[-1] == (
        "the check of all files was cut after 0 seconds: of 18 of 18 only the header was read"
    )
    of_one_shape = folder(tmp_path / "one", lambda seed: noise((9, 8), seed))
    assert read_images(of_one_shape, seconds=0).notes == of_one_shape.notes


def test_a_set_with_too_many_unreadable_files_is_refused(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed), per_class=20)
    victims = [*(f"train/cat/{number}.png" for number in range(12)), "test/dog/0.png"]
    for name in victims[:-1]:
        (tmp_path / name).write_bytes(b"")
    assert len(read_images(dataset).left_out) == 12  # a fifth of 60
    (tmp_path / victims[-1]).write_bytes(b"")
    with pytest.raises(DataError, match="13 of 60 files") as error:
        read_images(dataset)
    assert error.value.problem.count("empty") == 10
    assert "and 3 more" in error.value.problem


def test_a_class_without_a_readable_training_image_is_an_error(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed), per_class=1)
    (tmp_path / "train/cat/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no training image of 'cat' .* train/cat/0.png"):
        read_images(dataset)


def test_a_split_without_a_readable_image_goes_with_a_note(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: noise((5, 4), seed), per_class=1)
    (tmp_path / "test/dog/0.png").write_bytes(b"")
    read = read_images(dataset)
    assert list(read.splits) == ["train"]
    assert read.notes[-1] == "no image of test can be read: there is no such split"


@pytest.mark.parametrize("shapes", [1, 2])
def test_progress_counts_every_image_once(shapes: int, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    dataset = folder(tmp_path, lambda seed: noise((5, 4 + seed % shapes), seed), per_class=50)
    read_images(dataset, progress=lambda done, total: calls.append((done, total)))
    done = [count for count, _ in calls]
    assert {total for _, total in calls} == {150}
    assert done == sorted(done)
    assert done[-1] == 150


def test_images_in_memory_get_digests_too() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    split = read_images(from_arrays((array, ["a", "b"]))).splits["train"]
    assert split.digests == tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in array)


def test_a_coloured_background_shows_through_grey_images(tmp_path: Path) -> None:
    dataset = folder(tmp_path, lambda seed: Image.new("LA", (2, 2), (seed, 0)))
    splits = {
        name: dataclasses.replace(
            split, images=dataclasses.replace(split.images, background=(255, 0, 0))
        )
        for name, split in dataset.splits.items()
        if isinstance(split.images, FileImages)
    }
    read = read_images(dataclasses.replace(dataset, splits=splits))
    assert read.splits["train"].images[0].tolist() == [[[255, 0, 0]] * 2] * 2


def test_cifar10_as_files_is_read_whole(real_data: Callable[[str], Path]) -> None:
    root = real_data("cifar10")
    dataset = open_dataset(root)
    assert dataset.notes == ()
    for part, count in (("train", 5_000), ("test", 1_000)):
        assert np.bincount(dataset.splits[part].labels).tolist() == [count] * 10
    some = {
        part: split.take(np.arange(0, len(split), 10)) for part, split in dataset.splits.items()
    }
    read = read_images(dataclasses.replace(dataset, splits=some))
    assert read.left_out == ()
    train = read.splits["train"]
    assert isinstance(train.images, ArrayImages)
    assert train.images.array.shape == (5_000, 32, 32, 3)
    for index in range(0, 5_000, 100):
        np.testing.assert_array_equal(train.images[index], pixels(root / train.names[index]))


def test_photos_of_many_shapes_are_checked(real_data: Callable[[str], Path]) -> None:
    dataset = read_images(open_dataset(real_data("flowers")), seconds=1)
    assert dataset.classes == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert dataset.left_out == ()
    assert {part: len(split) for part, split in dataset.splits.items()} == {
        "train": 2_934,
        "test": 736,
    }
    assert isinstance(dataset.splits["train"].images, FileImages)
