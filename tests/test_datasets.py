"""Folders become data sets whose classes go by name; what ``open_dataset`` can be given."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given

from made_up import by_name, numbered, write
from resnets.data import open_dataset
from resnets.data.listing import BY_HASH, Listed, natural_key, split_by_hash
from resnets.errors import DataError, ResnetsError, UnknownName

BOTH = [*numbered("train/cat", 2), *numbered("train/dog", 2)]


class Layout(NamedTuple):
    """A folder, and what it should become."""

    images: list[str]
    classes: tuple[str, ...] = ("cat", "dog")
    where: dict[str, str] = {}
    """Split and path -> class, for some."""
    unused: list[str] = []
    """Files that are there and no part of the data set."""
    note: str = ""


# fmt: off
LAYOUTS = {
    "train only": Layout(BOTH, where={"train train/dog/1.png": "dog"}),
    "val lacks the first classes, so its labels must not shift": Layout(
        [*BOTH, "train/ant/0.png", *numbered("val/dog", 2)], ("ant", "cat", "dog"),
        {"val val/dog/0.png": "dog"}, note="val has no image of 'ant', 'cat'",
    ),
    "validation and test": Layout(
        [*BOTH, "validation/dog/0.png", "validation/cat/0.png", "test/cat/0.png", "test/dog/0.png"],
        where={"val validation/dog/0.png": "dog", "test test/cat/0.png": "cat"},
    ),
    "capital letters": Layout(
        ["Train/cat/0.png", "Train/dog/0.png", "Valid/cat/0.png", "Valid/dog/0.png"],
        where={"train Train/cat/0.png": "cat", "val Valid/dog/0.png": "dog"},
    ),
    "numbers as names": Layout(
        [*(f"train/{name}/0.png" for name in ("100", "2", "10", "1")), "test/10/0.png"],
        ("1", "2", "10", "100"), {"test test/10/0.png": "10"},
        note="test has no image of '1', '2', '100'",
    ),
    "hidden folders and litter": Layout(
        BOTH,
        unused=[
            "train/.ipynb_checkpoints/0.png", "train/__MACOSX/a/0.png", "train/cat/._0.png",
            "train/cat/.DS_Store", "train/dog/Thumbs.db", "train/desktop.ini", ".git/a/0.png",
        ],
    ),
    "an empty class folder": Layout(
        BOTH, unused=["train/emu/"], note="folders without images: train/emu",
    ),
    "images at any depth": Layout(
        ["train/cat/a/b/c/0.png", "train/cat/1.png", "train/dog/old/0.png"],
        where={"train train/cat/a/b/c/0.png": "cat"},
    ),
    "other files beside images": Layout(
        BOTH, unused=["train/cat/notes.txt", "train/cat/more.txt", "train/dog/x.heic"],
        note="3 files are no images by their suffix and not used: .txt (2), .heic (1)",
    ),
    "folders beside train": Layout(
        BOTH, unused=["masks/cat/0.png"], note="not used, for it lies beside train/: masks",
    ),
    "unlabelled test images": Layout(
        BOTH, unused=numbered("test", 3), note="outside class folders, not used: 3 in test",
    ),
    "loose images beside classes": Layout(
        BOTH, unused=["train/loose.png"], note="outside class folders, not used: 1 in train",
    ),
    "an empty val": Layout(BOTH, unused=["val/"], note="folders without images: val"),
    "a class called train": Layout(
        [*numbered("train", 3), *numbered("plane", 3)], ("plane", "train"),
        note="train/ is taken for a class, not for a split",
    ),
    "spaces, brackets and other scripts": Layout(
        ["train/ein Bär [1]/0.png", "train/قطة/0.png", "test/قطة/0.png"], ("ein Bär [1]", "قطة"),
        {"test test/قطة/0.png": "قطة"}, note="test has no image of 'ein Bär [1]'",
    ),
}
# fmt: on


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_go_by_name(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    dataset = open_dataset(write(tmp_path / "photos", [*layout.images, *layout.unused]))
    assert dataset.classes == layout.classes
    assert (dataset.name, dataset.source) == ("photos", str(tmp_path / "photos"))
    found = by_name(dataset)
    assert {key.partition(" ")[2] for key in found} == set(layout.images)
    assert found.items() >= layout.where.items()
    notes = [note for note in dataset.notes if note != BY_HASH]
    assert layout.note in "; ".join(notes)
    assert len(notes) == bool(layout.note)


def test_an_accent_in_two_parts_is_the_same_name(tmp_path: Path) -> None:
    paths = ["train/e\u0301te\u0301/0.png", "train/hiver/0.png", "val/\u00e9t\u00e9/0.png"]
    dataset = open_dataset(write(tmp_path, paths))
    assert dataset.classes == ("hiver", "\u00e9t\u00e9")
    assert dataset.splits["val"].labels.tolist() == [1]


# fmt: off
REFUSED: dict[str, tuple[list[str], str, str]] = {
    # name: files, a part of the problem, a part of the fix
    "no images": (["readme.md"], "holds no images", "one folder per class"),
    "phone photos only": (
        ["cat/0.heic", "dog/0.heic", "dog/1.heic"], ".heic (3)", "convert them to JPEG or PNG",
    ),
    "no class folders": (
        numbered(".", 3), "3 images but no class folders", "named after its class",
    ),
    "no class folders in train": (
        [*numbered("train", 3), "val/cat/0.png"], "train holds 3 images but no class", "folder",
    ),
    "no class folders in val": (
        [*BOTH, *numbered("val", 2)], "val holds 2 images but no class", "named after its class",
    ),
    "one class": (
        numbered("train/cat", 5), "has 1 class to train on, 'cat'", "one folder per class",
    ),
    "one folder around the data": (
        [*numbered("photos/cat", 3), *numbered("photos/dog", 3)], "'photos'", "folders inside it",
    ),
    "val but no train": (["val/cat/0.png", "val/dog/0.png"], "has val but no train", "train"),
    "two validation folders": (
        [*BOTH, "val/cat/0.png", "valid/cat/0.png"], "has both ", "keep one of them",
    ),
    "a class that training lacks": (
        [*BOTH, "val/dogs/7.png"],
        "val has images of 'dogs', of which train has none: 1, the first is val/dogs/7.png",
        "did you mean 'dog'?",
    ),
    "a class that training has no images of": (
        [*BOTH, "train/emu/", "test/emu/0.png"], "test has images of 'emu'", "put images of 'emu'",
    ),
    "too few images to split": (
        [*numbered("cat", 2), *numbered("dog", 9)], "'cat' (2)", "at least three images",
    ),
}
# fmt: on


@pytest.mark.parametrize("layout", REFUSED)
def test_a_folder_that_cannot_be_used_is_answered_with_one_fix(layout: str, tmp_path: Path) -> None:
    paths, problem, fix = REFUSED[layout]
    with pytest.raises(DataError) as error:
        open_dataset(write(tmp_path, paths))
    assert problem in error.value.problem
    assert fix in error.value.fix
    assert str(tmp_path) in error.value.problem or layout == "too few images to split"


def test_links_in_a_circle_are_read_once_and_told(tmp_path: Path) -> None:
    write(tmp_path, [*numbered("train/cat", 3), *numbered("train/dog", 3), *numbered("val/dog", 1)])
    (tmp_path / "train/cat/again").symlink_to("..")
    (tmp_path / "train/cat/top").symlink_to(tmp_path)
    (tmp_path / "train/cat/outside").symlink_to(tmp_path.parent)
    (tmp_path / "train/ant").symlink_to("dog")  # comes before the real folder in the alphabet
    (tmp_path / "train/dog/self.png").symlink_to("self.png")
    (tmp_path / "train/dog/gone.png").symlink_to("nowhere.png")
    dataset = open_dataset(tmp_path)
    assert len(dataset.splits["train"]) == 6
    assert dataset.classes == ("cat", "dog")
    notes = "; ".join(dataset.notes)
    assert "through a link, not used again: train/ant, train/cat/again, train/cat/outside" in notes
    assert "lead nowhere, not used: train/dog/gone.png, train/dog/self.png" in notes
    assert "folders without images: train/ant" in notes


def test_linked_images_and_folders_are_used(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [*numbered("a", 2), "b.png"])
    root = write(tmp_path / "set", ["train/dog/0.png", "train/cat/"])
    (root / "train/ant").symlink_to(store / "a")
    (root / "train/cat/b.png").symlink_to(store / "b.png")
    dataset = open_dataset(root)
    assert dataset.classes == ("ant", "cat", "dog")
    assert len(dataset.splits["train"]) == 4
    assert dataset.notes == ()


def test_file_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    strange, dog = os.fsdecode(b"caf\xe9 \x01\n.png"), os.fsdecode(b"dog-\xff")
    try:
        write(tmp_path, [f"train/cat/{strange}", f"train/{dog}/0.png"])
    except (OSError, UnicodeError):
        pytest.skip("this file system wants UTF-8 names")
    dataset = open_dataset(tmp_path)
    assert by_name(dataset)[f"train train/cat/{strange}"] == "cat"
    assert dataset.classes == ("cat", dog)
    split_by_hash([Listed(f"{number}{strange}", "x") for number in range(3)])


LOCKED = """
import os, sys
from pathlib import Path
from resnets.data import open_dataset
from resnets.errors import DataError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_dataset(sys.argv[1])
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("locked", ["train/dog", "train", "train/dog/deep"])
def test_a_folder_we_may_not_read_is_an_error_that_names_it(locked: str) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs to be root, to become a user who may not read everything")
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), [*BOTH, "train/dog/deep/9.png"])
        root.chmod(0o755)
        (root / locked).chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", LOCKED, folder], capture_output=True, text=True, check=False
        )
    assert f"the folder {root / locked} cannot be read: Permission denied" in done.stdout
    assert "fix: " in done.stdout


# The 70/15/15 split


@given(st.lists(st.integers(3, 60), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_split_by_hash_is_stratified_and_depends_on_names_only(
    sizes: list[int], dice: random.Random
) -> None:
    listed = [
        Listed(f"{label}/{number}.jpg", str(label))
        for label, size in enumerate(sizes)
        for number in range(size)
    ]
    parts = split_by_hash(listed)
    assert sorted(image for part in parts.values() for image in part) == sorted(listed)
    for label, size in enumerate(sizes):
        counts = {
            part: sum(image.label == str(label) for image in images)
            for part, images in parts.items()
        }
        assert min(counts.values()) >= 1
        assert counts["val"] == counts["test"] == max(1, round(0.15 * size + 1e-9))
    shuffled = list(listed)
    dice.shuffle(shuffled)
    again = split_by_hash(shuffled)
    assert {part: set(images) for part, images in parts.items()} == {
        part: set(images) for part, images in again.items()
    }


def test_a_class_does_not_change_how_another_is_split() -> None:
    cats = [Listed(path, "cat") for path in numbered("cat", 20)]
    dogs = [Listed(path, "dog") for path in numbered("dog", 7)]
    alone, together = split_by_hash(cats), split_by_hash(dogs + cats)
    for part in alone:
        assert alone[part] == [image for image in together[part] if image.label == "cat"]


def test_a_folder_of_classes_is_split_the_same_wherever_it_lies(tmp_path: Path) -> None:
    paths = [*numbered("cat", 20), *numbered("dog", 10)]
    first = open_dataset(write(tmp_path / "here", paths))
    second = open_dataset(write(tmp_path / "there", reversed(paths)))
    assert {part: len(split) for part, split in first.splits.items()} == {
        "train": 20, "val": 5, "test": 5,
    }  # fmt: skip
    for part, split in first.splits.items():
        assert split.names == second.splits[part].names
    assert by_name(first) == by_name(second)
    assert "70 % trains" in first.notes[0]


@given(st.lists(st.text("0123456789ab", max_size=6), max_size=12))
def test_natural_order_is_the_order_of_numbers(names: list[str]) -> None:
    numbers = [name for name in names if name.isdigit()]
    assert [int(n) for n in sorted(numbers, key=natural_key)] == sorted(map(int, numbers))
    words = [name for name in names if name.isalpha()]
    assert sorted(words, key=natural_key) == sorted(words)


# What open_dataset is given


def test_a_typo_is_answered_with_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match="no data set or folder named 'cifra10'") as error:
        open_dataset("cifra10")
    assert "did you mean 'cifar10'?" in error.value.fix
    (tmp_path / "photographs").mkdir()
    with pytest.raises(UnknownName) as error:
        open_dataset("photgraphs")
    assert "did you mean 'photographs'?" in error.value.fix
    with pytest.raises(DataError) as wrong:
        open_dataset("./photgraphs")
    assert "did you mean 'photographs'?" in wrong.value.fix


@pytest.mark.parametrize("given", ["", "nothing.csv", "~nobody/x", "archive.zip", "text.txt"])
def test_nothing_that_could_be_opened_is_an_error_with_a_fix(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, ["archive.zip", "text.txt"]))
    with pytest.raises(ResnetsError):
        open_dataset(given)


def test_a_folder_wins_over_a_name_only_when_written_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sample", BOTH)
    for path in ("./sample", "sample/", str(tmp_path / "sample"), Path("sample")):
        assert open_dataset(path).classes == ("cat", "dog")
    by_its_name = open_dataset("sample")
    assert len(by_its_name.classes) == 10
    assert by_its_name.notes == ("a folder sample/ is here too; ./sample would open that",)


def test_a_data_set_is_returned_as_it_is(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, BOTH))
    assert open_dataset(dataset) is dataset


def test_parts_under_unknown_names_are_not_taken_for_classes(tmp_path: Path) -> None:
    paths = [
        f"{part}/{kind}/{n}.png" for part in ("seg_a", "seg_b") for kind in "xy" for n in "123"
    ]
    with pytest.raises(DataError, match=r"seg_a, seg_b in .* look like parts of the data"):
        open_dataset(write(tmp_path, paths))


@pytest.mark.parametrize(
    ("paths", "split", "count"),
    [
        (numbered("cat", 2) + numbered("dog", 1), "test", 3),
        (numbered("cat", 2), "val", 2),
        (numbered("test/cat", 2) + numbered("test/dog", 3), "test", 5),
    ],
    ids=["class folders", "one class", "test alone"],
)
def test_data_to_be_scored_needs_no_training_part(
    paths: list[str], split: str, count: int, tmp_path: Path
) -> None:
    dataset = open_dataset(write(tmp_path, paths), whole=split)
    assert {part: len(images) for part, images in dataset.splits.items()} == {split: count}


def test_a_table_to_be_scored_is_one_split(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"])
    (tmp_path / "list.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    dataset = open_dataset(tmp_path / "list.csv", whole="test")
    assert len(dataset.splits["test"]) == 2 and list(dataset.splits) == ["test"]
