"""Folders of any layout, held against a walk of another kind; settings of any value."""

import dataclasses
import os
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from resnets.config import Preprocess, TrainConfig, parse_value
from resnets.data import open_dataset
from resnets.errors import ConfigError, DataError
from soaking import cases, record

COUNT = cases(60, 2_000)
HELD: Counter[str] = Counter()
"""What was drawn and held, by what it was."""
MANY = settings(max_examples=COUNT)

FOLDERS: tuple[str, ...] = (
    "cat",
    "dog",
    "10",
    "2",
    "ein Bär [1]",
    "قطة",
    "e\u0301te\u0301",
    "\u00e9t\u00e9",
)
FOLDERS += ("line\nbreak", "caf\udce9", " ", "-rf", ".hidden", "__MACOSX", "a.png", "%s", "con")
FILES = (
    "0.png",
    "1.JPG",
    "2.jpeg",
    "x.webp",
    ".dot.png",
    "Thumbs.db",
    "notes.txt",
    "none",
    "$.heic",
)
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
PARTS = ("train", "val")


@pytest.fixture(autouse=True)
def recorded() -> Iterator[None]:
    HELD.clear()
    began = time.monotonic()
    yield
    for what, count in HELD.items():
        record(f"{what} drawn at random", min(count, COUNT), COUNT, time.monotonic() - began)


trail = st.lists(st.sampled_from(FOLDERS), max_size=4)
files = st.tuples(st.sampled_from(PARTS), trail, st.sampled_from(FILES))
empties = st.tuples(st.sampled_from(PARTS), trail)
links = st.tuples(st.sampled_from(PARTS), trail, st.sampled_from(("up", "first", "gone", "file")))
plain = st.tuples(st.sampled_from(PARTS), st.sampled_from(("cat", "dog")), st.just("7.png"))


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def build(root: Path, made: Any) -> None:
    """Files and folders as drawn; where one would lie in a file's place, there is none."""
    for part, where, name in made["plain"]:
        made["files"].append((part, [where], name))
    for part, where in [(part, where) for part, where, _ in made["files"]] + made["empties"]:
        os.makedirs(root.joinpath(part, *where), exist_ok=True)
    for part, where, name in made["files"]:
        path = root.joinpath(part, *where, name)
        if not path.exists():
            path.write_bytes(b"never read")
    for number, (part, where, kind) in enumerate(made["links"]):
        folder = root.joinpath(part, *where)
        visible = [each for each in sorted((root / part).glob("*/")) if not is_hidden(each.name)]
        targets = {"up": folder.parent, "gone": root / "gone", "file": root / part / "cat/7.png"}
        targets["first"] = visible[0] if visible else root
        if folder.is_dir() and not any(map(is_hidden, where)):
            os.symlink(targets[kind], folder / f"link{number}{'.png' * (kind == 'file')}")


def walked(folder: Path, root: Path) -> tuple[dict[str, str], int]:
    """Path -> class by ``os.walk``, which follows no links to folders, and images without one."""
    found, loose = {}, 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        inside = os.path.relpath(place, folder).split(os.sep)
        for name in names:
            path = os.path.join(place, name)
            image = os.path.splitext(name)[1].lower() in IMAGES and not is_hidden(name)
            if image and os.path.isfile(path):
                if inside == ["."]:
                    loose += 1
                else:
                    found[os.path.relpath(path, root)] = unicodedata.normalize("NFC", inside[0])
    return found, loose


@pytest.mark.skipif(os.name == "nt", reason="names that Windows has not")
@MANY
@given(
    st.fixed_dictionaries(
        {
            "files": st.lists(files, max_size=12),
            "empties": st.lists(empties, max_size=3),
            "links": st.lists(links, max_size=3),
            "plain": st.lists(plain, min_size=1, max_size=6),
        }
    )
)
def test_any_layout_is_what_another_walk_finds(made: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "train").mkdir()
        build(root, made)
        expected, loose = {}, {}
        for part in PARTS:
            if (root / part).is_dir():
                expected[part], loose[part] = walked(root / part, root)
        classes = set(expected["train"].values())
        val = expected.get("val", {})
        unlabelled = bool(loose.get("val")) and not val
        if len(classes) < 2 or unlabelled or not classes >= set(val.values()):
            with pytest.raises(DataError):
                open_dataset(root)
            HELD["layouts of folders"] += 1
            return
        dataset = open_dataset(root)
        assert set(dataset.classes) == classes
        found = {
            part: {
                name: dataset.classes[label]
                for name, label in zip(split.names, split.labels, strict=True)
            }
            for part, split in dataset.splits.items()
        }
        assert found == {part: each for part, each in expected.items() if each}
        assert all(split.labels.dtype == np.int64 for split in dataset.splits.values())
    HELD["layouts of folders"] += 1


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's annotation."""
    choices = get_args(kind)
    if choices and all(isinstance(choice, str) for choice in choices):
        return st.sampled_from(choices)
    if type(None) in choices:
        return st.none() | fitting(next(each for each in choices if each is not type(None)))
    if choices:
        return st.lists(st.floats(0.01, 0.99), max_size=3).map(tuple)
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(2, 2**40),
        float: st.floats(0.001, 0.999) | st.integers(0, 1),
        bool: st.booleans(),
        str: text,
    }
    return kinds[kind]


FIELDS = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
scalars: st.SearchStrategy[Any] = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), text, st.binary(max_size=4)),
    *(st.dates(), st.complex_numbers(), st.sampled_from([10**400, -(10**400), 1e308, -0.0])),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
) | st.lists(scalars, max_size=4).map(tuple)


@MANY
@given(st.fixed_dictionaries({}, optional={name: fitting(FIELDS[name]) for name in FIELDS}))
def test_settings_that_fit_survive_their_file(values: dict[str, Any]) -> None:
    try:
        config = TrainConfig(**values)
    except ConfigError as problem:  # such as two lengths of one run
        assert problem.fix
        HELD["settings that fit"] += 1
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(config.to_toml(), encoding="utf-8", newline="")
        assert TrainConfig(**TrainConfig.keys_in(path)) == config
    HELD["settings that fit"] += 1


@MANY
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), anything, min_size=1, max_size=2))
def test_settings_of_any_value_are_taken_or_refused(values: dict[str, Any]) -> None:
    try:
        TrainConfig(**values).to_toml()
    except ConfigError as problem:
        assert problem.problem and problem.fix
    HELD["settings of any value"] += 1


@MANY
@given(st.sampled_from([field.name for field in dataclasses.fields(Preprocess)]), anything | text)
def test_preprocessing_of_any_value_is_taken_or_refused(name: str, value: Any) -> None:
    sound = Preprocess(input_size=(3, 8, 8)).to_dict()
    try:
        made = Preprocess.from_dict(sound | {name: value})
        assert Preprocess.from_dict(made.to_dict()) == made
    except ConfigError as problem:
        assert problem.problem and problem.fix
    HELD["preprocessing of any value"] += 1


@MANY
@given(text)
def test_a_setting_of_any_text_has_a_value(typed: str) -> None:
    parse_value(typed)
    HELD["settings as they are typed"] += 1
