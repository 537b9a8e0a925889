"""A CSV file that names images becomes a data set, and its mistakes are told with their line."""

from pathlib import Path

import pytest

from made_up import by_name, numbered, shade, write
from resnets.data import open_dataset
from resnets.errors import DataError


def table(root: Path, text: str, *, encoding: str = "utf-8") -> Path:
    write(root, [*numbered("a", 4), *numbered("b", 4), "bä c.png"])
    (root / "images.csv").write_bytes(text.encode(encoding))
    return root / "images.csv"


def test_a_table_with_splits_maps_by_name(tmp_path: Path) -> None:
    text = (
        "Path, LABEL ,split,who\na/0.png,10,train,me\n./a/1.png,2,train,\n"
        '\n"bä c.png",2,Validation,x\n'
        f"{tmp_path}/b/0.png,10,test,y\n"
    )
    dataset = open_dataset(table(tmp_path, text, encoding="utf-8-sig"))
    assert dataset.classes == ("2", "10")
    assert dataset.name == "images"
    assert dataset.splits["train"].names == ("a/0.png", "a/1.png")
    assert dataset.splits["train"].labels.tolist() == [1, 0]
    assert dataset.splits["val"].names == ("bä c.png",)
    assert (dataset.splits["val"].images[0] == shade("bä c.png")).all()
    assert dataset.splits["test"].labels.tolist() == [1]
    assert (dataset.splits["test"].images[0] == shade("b/0.png")).all()
    assert dataset.notes == ("val has no image of '10'", "test has no image of '2'")


def test_a_table_without_splits_is_split_like_a_folder(tmp_path: Path) -> None:
    rows = [f"{path},{path[0]}" for path in [*numbered("a", 4), *numbered("b", 4)]]
    from_table = open_dataset(str(table(tmp_path, "path,label\n" + "\r\n".join(rows))))
    from_folder = open_dataset(tmp_path)
    assert by_name(from_table) == by_name(from_folder)
    assert from_table.notes == from_folder.notes[:1]


BAD_TABLES = {
    "path,class\na/0.png,x\n": ("line 1: no column 'label' among 'path', 'class'", "path,label"),
    "path;label\na/0.png;x\n": ("line 1: no column 'path'", "separate the columns with commas"),
    "": ("line 1: no column 'path'", "path,label"),
    "path,label\n": ("lists no image", "add lines such as"),
    "path,label,split\na/0.png,x,tran\n": ("line 2: unknown split 'tran'", "did you mean 'train'"),
    "path,label,split\na/0.png,x,\n": ("line 2: unknown split ''", "write train, val or test"),
    "path,label,split\na/0.png,x,val\n": ("lists no image in the split train", ",train"),
    "path,label\na/0.png,x\n\na/1.png\n": ("line 4: a path or a label is missing", "fill in"),
    "path,label\na/0.png,x\na/0.png,y\n": ("line 3: a/0.png is listed in line 2", "keep one"),
    "path,label\na/0.png,x\nq.png,y\nr.png,y\n": (
        "2 of 3 files are not there: q.png (line 3), r.png (line 4)", "paths start from",
    ),
    "path,label\na\\0.png,x\n": ("a\\0.png (line 2)", "write folders with /"),
    'path,label\na/0.png,"x\n': ("line 2: unexpected end of data", "quotes"),
    "path,label,split\na/0.png,x,train\na/1.png,y,train\na/2.png,z,test\n": (
        "test has images of 'z', of which train has none: 1, the first is a/2.png", "'z'",
    ),
    "path,label,split\na/0.png,x,train\na/1.png,x,train\n": ("has 1 class to train on, 'x'", "one"),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_mistake_in_a_table_is_named_with_its_line(text: str, tmp_path: Path) -> None:
    problem, fix = BAD_TABLES[text]
    with pytest.raises(DataError) as error:
        open_dataset(table(tmp_path, text))
    assert problem in error.value.problem
    assert "images.csv" in error.value.problem
    assert fix in error.value.fix


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf8_is_told_so(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        open_dataset(table(tmp_path, "path,label\na/0.png,Bär\n", encoding=encoding))
    assert "UTF-8" in error.value.fix
