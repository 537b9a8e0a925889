"""Arrays and torch data sets as data sets, and the part of a data set that is held out."""

import pickle
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from PIL import Image

from made_up import numbered, write
from resnets.data import (
    ArrayImages,
    FileImages,
    ListImages,
    from_arrays,
    from_torch,
    hold_out,
    open_dataset,
)
from resnets.errors import DataError


def grey(count: int, size: int = 4) -> np.ndarray:
    return np.arange(count * size * size, dtype=np.uint8).reshape(count, size, size)


def test_arrays_with_names_or_numbers() -> None:
    numbered = from_arrays((grey(4), [0, 1, 2, 0]), test=(grey(2), [2, 1]), classes=["c", "a", "b"])
    named = from_arrays((grey(4), ["c", "a", "b", "c"]), test=(grey(2), ["b", "a"]))
    assert numbered.classes == ("c", "a", "b")
    assert named.classes == ("a", "b", "c")
    for dataset in (numbered, named):
        labels = dataset.splits["train"].labels
        assert [dataset.classes[label] for label in labels] == ["c", "a", "b", "c"]
        assert dataset.splits["test"].names == ("test/00000", "test/00001")
        images = dataset.splits["train"].images
        assert isinstance(images, ArrayImages)
        assert images.array.shape == (4, 4, 4, 1)
    assert from_arrays((grey(3), [10, 2, 10])).classes == ("2", "10")


def test_what_arrays_hold_can_become_a_tensor_without_a_copy() -> None:
    array = grey(2)[:, ::-1]
    array.flags.writeable = False
    images = from_arrays((array, ["a", "b"])).splits["train"].images
    assert isinstance(images, ArrayImages)
    assert torch.equal(torch.from_numpy(images.array)[..., 0], torch.tensor(array.tolist()))


def test_arrays_of_many_shapes() -> None:
    arrays = [np.zeros((4, 5, 3), np.uint8), np.zeros((6, 2), np.uint8)]
    images = from_arrays((arrays, ["a", "b"])).splits["train"].images
    assert isinstance(images, ListImages)
    assert [image.shape for image in images.arrays] == [(4, 5, 3), (6, 2, 3)]


BAD_ARRAYS = {
    "floats": ((grey(2) / 255, ["a", "b"]), None, "float64", "uint8"),
    "channels first": ((np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"]), None, "3, 8, 8)", "W, C"),
    "a label too few": ((grey(2), ["a"]), ["a", "b"], "labels of shape (1,)", "one label"),
    "a label beyond the classes": ((grey(2), [0, 2]), ["a", "b"], "no class: 2", "from 0 to 1"),
    "an unknown name": ((grey(2), ["a", "x"]), ["a", "b"], "no class: x", "label with a, b"),
    "labels with a fraction": ((grey(2), [0.0, 1.0]), ["a", "b"], "float64", "integers"),
    "one class": ((grey(2), ["a", "a"]), None, "('a',)", "two or more"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_told_so(case: str) -> None:
    train, classes, problem, fix = BAD_ARRAYS[case]
    with pytest.raises(DataError) as error:
        from_arrays(train, classes=classes)
    assert problem in error.value.problem
    assert fix in error.value.fix


def test_a_label_that_training_lacks_is_an_error() -> None:
    with pytest.raises(DataError, match="val has images of 'c', of which train has none"):
        from_arrays((grey(2), [0, 1]), val=(grey(1), [2]), classes=["a", "b", "c"])
    with pytest.raises(DataError, match="val has labels that are no class: 7"):
        from_arrays((grey(2), [0, 1]), val=(grey(1), [7]))


class TorchSet(torch.utils.data.Dataset[object]):
    def __init__(self, images: list[object]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> object:
        return self.images[index], torch.tensor(index % 2)


def test_torch_data_sets_give_the_same_pixels_in_every_form() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    forms = [
        [Image.fromarray(image) for image in pixels],
        list(pixels),
        [torch.from_numpy(image).permute(2, 0, 1) for image in pixels],
    ]
    for form in forms:
        dataset = from_torch(TorchSet(list(form)), test=TorchSet(list(form)), classes=["a", "b"])
        images = dataset.splits["train"].images
        assert isinstance(images, ArrayImages)
        np.testing.assert_array_equal(images.array, pixels)
        assert dataset.splits["test"].labels.tolist() == [0, 1, 0, 1]
        assert dataset.source == "(torch data set)"
    small = from_torch(TorchSet([Image.new("L", (3, 2), 7)] * 2), classes=["a", "b"])
    assert small.splits["train"].images[0].shape == (2, 3, 1)


def test_a_torch_data_set_of_floats_is_refused() -> None:
    with pytest.raises(DataError, match="float32") as error:
        from_torch(TorchSet([torch.zeros(3, 2, 2)] * 2), classes=["a", "b"])
    assert "ToTensor" in error.value.fix


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.floats(0.01, 0.99))
def test_holding_out_is_stratified_and_repeatable(sizes: list[int], fraction: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1)
    classes = [str(label) for label in range(len(sizes))]
    dataset = from_arrays((images, labels), classes=classes)
    if max(sizes) == 1:
        with pytest.raises(DataError, match="two images"):
            hold_out(dataset, fraction)
        return
    held = hold_out(dataset, fraction)
    train, val = held.splits["train"], held.splits["val"]
    assert sorted(train.names + val.names) == sorted(dataset.splits["train"].names)
    for label, size in enumerate(sizes):
        count = int((val.labels == label).sum())
        assert count == (0 if size == 1 else min(max(1, int(fraction * size + 0.5)), size - 1))
    for part in (train, val):
        positions = [int(name.removeprefix("train/")) for name in part.names]
        assert [int(part.images[index][0, 0, 0]) for index in range(len(part))] == positions
        assert part.labels.tolist() == labels[positions].tolist()
    assert hold_out(dataset, fraction).splits["val"].names == val.names


def test_a_held_out_part_does_not_replace_one_that_is_there() -> None:
    dataset = hold_out(from_arrays((grey(4), [0, 0, 1, 1])), 0.5)
    with pytest.raises(DataError, match="has a val split already"):
        hold_out(dataset, 0.5)


def test_data_sets_can_be_sent_to_worker_processes(tmp_path: Path) -> None:
    on_disk = open_dataset(write(tmp_path, [*numbered("train/cat", 2), *numbered("train/dog", 2)]))
    for dataset in (on_disk, from_arrays((grey(2), ["a", "b"]))):
        again = pickle.loads(pickle.dumps(dataset))
        before, after = dataset.splits["train"], again.splits["train"]
        assert again.classes == dataset.classes
        assert after.names == before.names
        assert (after.images[1] == before.images[1]).all()
        part = after.take(np.array([1, 0]))
        assert part.names == before.names[1::-1]
        assert (part.images[0] == before.images[1]).all()
    assert isinstance(on_disk.splits["train"].images, FileImages)
