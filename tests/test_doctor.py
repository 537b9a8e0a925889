"""The data doctor: each fault planted and found, and nothing found where nothing is the matter."""

import html
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from corpus import exif, foreign_files, good_pictures, png_chunk
from planted import OLD, bytes_of, clean, photo, put
from resnets.data import from_arrays
from resnets.data.doctor import KINDS, Findings, check_up
from resnets.data.doctor.kinds import OF_READING
from resnets.data.doctor.page import page
from resnets.decoding import decode
from resnets.errors import UnreadableImage
from soaking import cases, record


def found_in(root: Path) -> Findings:
    return check_up(root)[0]


def by_kind(findings: Findings) -> dict[str, list[tuple[str, ...]]]:
    """Kind -> the paths of each item."""
    return {each.kind: [item.paths for item in each.items] for each in findings.findings}


def data(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnets", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_nothing_is_found_where_nothing_is_the_matter(tmp_path: Path) -> None:
    findings = found_in(clean(tmp_path))
    assert findings.findings == () and findings.unchecked == ()
    assert findings.images == {"train": 24, "val": 8, "test": 8}
    assert findings.formats == {"JPEG": 40} and findings.modes == {"RGB": 40}
    assert findings.sides == (64, 68, 72)


def test_nothing_is_found_in_arrays_without_faults() -> None:
    parts = [
        (np.stack([np.asarray(photo(seed)) for seed in seeds]), ["a", "b"] * (len(seeds) // 2))
        for seeds in (range(24), range(30, 38))
    ]
    findings = check_up(from_arrays(parts[0], test=parts[1]))[0]
    assert findings.findings == () and findings.unchecked == ()


def test_a_table_is_examined_too(tmp_path: Path) -> None:
    clean(tmp_path)
    files = sorted(tmp_path.rglob("*.jpg"))
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    splits = [file.parts[-3] for file in files]
    put(tmp_path / "copy.jpg", (tmp_path / "train/cat/0.jpg").read_bytes())
    lines = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,split", *lines, "copy.jpg,cat,test"]))
    found = by_kind(found_in(tmp_path / "set.csv"))
    assert found == {"duplicates": [("train/cat/0.jpg", "copy.jpg")]}


def plant(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def planted(root: Path) -> None:
        put(root / name, change((root / name).read_bytes()))

    return planted


def add(name: str, make: Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda root: (put(root / name, make()), None)[1]


def copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: (put(root / target, (root / source).read_bytes()), None)[1]


def saved_anew(source: str, target: str, kind: str = "PNG") -> Callable[[Path], None]:
    """The same pixels in other bytes."""

    def planted(root: Path) -> None:
        with Image.open(root / source) as image:
            put(root / target, bytes_of(image.convert("RGB"), kind))

    return planted


def changed(source: str, target: str, change: Callable[[Image.Image], Image.Image]):
    def planted(root: Path) -> None:
        with Image.open(root / source) as image:
            put(root / target, bytes_of(change(image)))

    return planted


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 400 million pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    return start + png_chunk(b"IDAT", b"x" * 20) + png_chunk(b"IEND")


def linked(root: Path) -> None:
    os.link(root / "train/cat/0.jpg", root / "train/cat/hard.jpg")


def looped(root: Path) -> None:
    (root / "train/cat/again").symlink_to(root / "train")


def few(root: Path) -> None:
    for number in range(12, 16):
        (root / f"train/dog/{number}.jpg").unlink()


def unequal(root: Path) -> None:
    for seed in range(1_000, 1_110):
        put(root / f"train/cat/{seed}.jpg", bytes_of(photo(seed)))


def emptied(root: Path) -> None:
    shutil.rmtree(root / "test/dog")


def turned() -> bytes:
    return bytes_of(photo(500), exif=exif(6))


Planted = tuple[str, Callable[[Path], None], list[tuple[str, ...]]]
FAULTS: dict[str, Planted] = {
    "a copy in test": (
        "duplicates",
        copy("train/cat/0.jpg", "test/cat/copy.jpg"),
        [("train/cat/0.jpg", "test/cat/copy.jpg")],
    ),
    "the same pixels in test": (
        "duplicates",
        saved_anew("train/cat/0.jpg", "test/cat/copy.png"),
        [("train/cat/0.jpg", "test/cat/copy.png")],
    ),
    "a copy of val in test": (
        "duplicates",
        copy("val/cat/24.jpg", "test/cat/copy.jpg"),
        [("val/cat/24.jpg", "test/cat/copy.jpg")],
    ),
    "a copy in the same split": (
        "copies",
        copy("train/cat/0.jpg", "train/cat/copy.jpg"),
        [("train/cat/0.jpg", "train/cat/copy.jpg")],
    ),
    "one file under two names": (
        "copies",
        linked,
        [("train/cat/0.jpg", "train/cat/hard.jpg")],
    ),
    "a link that leads back": ("passed-over", looped, [("train/cat/again",)]),
    "an empty file": (
        "empty-file",
        plant("train/cat/3.jpg", lambda _: b""),
        [("train/cat/3.jpg",)],
    ),
    "a web page": (
        "no-picture",
        plant("train/cat/3.jpg", lambda _: b"<!doctype html><html></html>"),
        [("train/cat/3.jpg",)],
    ),
    "a text": (
        "no-picture",
        plant("train/cat/3.jpg", lambda _: b"404: not found"),
        [("train/cat/3.jpg",)],
    ),
    "cut short": (
        "truncated",
        plant("test/dog/37.jpg", lambda data: data[: len(data) // 2]),
        [("test/dog/37.jpg",)],
    ),
    "noise after the header": (
        "damaged",
        plant("test/dog/37.jpg", lambda data: data[:20] + bytes(range(1, 256)) * 4),
        [("test/dog/37.jpg",)],
    ),
    "a bomb": ("too-large", add("train/cat/bomb.png", bomb), [("train/cat/bomb.png",)]),
    "a class with few images": ("tiny-class", few, [("dog",)]),
    "a class with many images": ("imbalance", unequal, [("cat",), ("dog",)]),
    "an empty class folder": (
        "empty-class",
        lambda root: (root / "train/bird").mkdir(),
        [("train/bird",)],
    ),
    "a class that test lacks": ("missing-class", emptied, [("test: dog",)]),
    "a hidden folder": (
        "passed-over",
        add("train/cat/.ipynb_checkpoints/1.jpg", lambda: bytes_of(photo(500))),
        [("train/cat/.ipynb_checkpoints",)],
    ),
    "another kind of file": (
        "passed-over",
        add("train/cat/notes.txt", lambda: b"hello"),
        [("train/cat/notes.txt",)],
    ),
    "an image beside the class folders": (
        "passed-over",
        add("train/loose.jpg", lambda: bytes_of(photo(500))),
        [("train/loose.jpg",)],
    ),
    "a photo on its side": ("rotated", add("train/cat/x.jpg", turned), [("train/cat/x.jpg",)]),
    "colours for print": (
        "converted",
        add("train/cat/x.jpg", lambda: bytes_of(photo(500).convert("CMYK"))),
        [("train/cat/x.jpg",)],
    ),
    "a PNG called .jpg": (
        "wrong-ending",
        add("train/cat/x.jpg", lambda: bytes_of(photo(500), "PNG")),
        [("train/cat/x.jpg",)],
    ),
    "a tiny picture": (
        "odd-sizes",
        add("train/cat/x.jpg", lambda: bytes_of(photo(500, (9, 9)))),
        [("train/cat/x.jpg",)],
    ),
    "a very long picture": (
        "odd-sizes",
        add("train/cat/x.jpg", lambda: bytes_of(photo(500, (400, 64)))),
        [("train/cat/x.jpg",)],
    ),
    "a name that is not UTF-8": (
        "odd-names",
        add(os.fsdecode(b"train/cat/\xff.jpg"), lambda: bytes_of(photo(500))),
        [(os.fsdecode(b"train/cat/\xff.jpg"),)],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(fault: str, tmp_path: Path) -> None:
    kind, planted, paths = FAULTS[fault]
    planted(clean(tmp_path))
    findings = found_in(tmp_path)
    assert by_kind(findings) == {kind: paths}
    (found,) = findings.findings
    assert (
        found.effect
        and found.fix
        and found.count == len(set(sum(paths, ())) if kind in ("imbalance",) else paths)
    )
    assert bool(findings.that_matter()) == (KINDS[kind].weight != "noted")


def test_one_picture_under_two_labels_is_found_in_any_bytes(tmp_path: Path) -> None:
    clean(tmp_path)
    copy("train/cat/0.jpg", "train/dog/copy.jpg")(tmp_path)
    saved_anew("train/cat/1.jpg", "train/dog/anew.png")(tmp_path)
    changed("train/cat/2.jpg", "test/dog/near.jpg", lambda image: image.resize((60, 50)))(tmp_path)
    found = by_kind(found_in(tmp_path))
    pairs = {frozenset(paths) for paths in found["two-labels"]}
    assert pairs == {
        frozenset({"train/cat/0.jpg", "train/dog/copy.jpg"}),
        frozenset({"train/cat/1.jpg", "train/dog/anew.png"}),
        frozenset({"train/cat/2.jpg", "test/dog/near.jpg"}),
    }


def cropped(image: Image.Image) -> Image.Image:
    """The middle: 5 % of each side less."""
    width, height = image.size
    left, top = round(0.025 * width), round(0.025 * height)
    return image.crop((left, top, width - left, height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "cropped": cropped,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": ImageOps.mirror,
    "grey": ImageOps.grayscale,
    "saved anew": lambda image: image,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_near_duplicate_is_found_in_another_split(change: str, tmp_path: Path) -> None:
    clean(tmp_path)
    names = [f"train/{'cat' if number < 12 else 'dog'}/{number}.jpg" for number in range(4, 20)]
    for name in names:
        changed(name, name.replace("train", "test"), CHANGES[change])(tmp_path)
    found = by_kind(found_in(tmp_path))
    expected = {(name.replace("train", "test"), name) for name in names}
    assert set(found.pop("near-duplicates")) == expected
    assert not found


def test_all_copies_between_train_and_test_are_found(tmp_path: Path) -> None:
    """As many copies of bytes as of pixels that were saved anew."""
    began, count, root = time.monotonic(), cases(5, 50), clean(tmp_path)
    planted = set()
    for number in range(count):
        source = f"train/cat/{10_000 + number}.jpg"
        put(root / source, bytes_of(photo(10_000 + number)))
        copy(source, f"test/cat/copy{number}.jpg")(root)
        planted.add(frozenset({source, f"test/cat/copy{number}.jpg"}))
        source = f"train/dog/{20_000 + number}.jpg"
        put(root / source, bytes_of(photo(20_000 + number)))
        saved_anew(source, f"test/dog/anew{number}.png")(root)
        planted.add(frozenset({source, f"test/dog/anew{number}.png"}))
    findings = found_in(root)
    found = by_kind(findings)
    passed = {frozenset(paths) for paths in found.pop("duplicates")} & planted
    record("copies across splits", len(passed), 2 * count, time.monotonic() - began)
    assert passed == planted and findings.findings[0].count == 2 * count
    assert not found


def test_too_many_unreadable_files_stop_a_run(tmp_path: Path) -> None:
    clean(tmp_path)
    for number in range(9):
        put(tmp_path / f"train/cat/{number}.jpg", b"")
    found = found_in(tmp_path).findings[0]
    assert (found.kind, found.weight, found.allowed_as) == ("empty-file", "stops", "unreadable")


def test_a_class_that_cannot_be_read_is_told_not_raised(tmp_path: Path) -> None:
    clean(tmp_path)
    for file in (tmp_path / "train/cat").iterdir():
        put(file, b"")
    found = by_kind(found_in(tmp_path))
    assert len(found["empty-file"]) == 12
    assert ("train: cat",) in found["missing-class"]


def test_of_odd_pictures_every_bad_one_is_listed_and_no_good_one(tmp_path: Path) -> None:
    clean(tmp_path)
    bad = set()
    for picture in good_pictures():
        put(tmp_path / "train/cat" / picture.name, picture.data)
        cut = picture.data[: len(picture.data) // 2]
        try:
            decode(cut)
        except UnreadableImage:
            put(tmp_path / "train/cat" / f"cut_{picture.name}", cut)
            bad.add(f"train/cat/cut_{picture.name}")
    for name, (content, _) in foreign_files().items():
        put(tmp_path / "train/dog" / name, content)
        if name not in ("photo.avif", "._photo.jpg"):  # passed over, by name
            bad.add(f"train/dog/{name}")
    findings = found_in(tmp_path)
    told = [each for each in findings.findings if each.kind in OF_READING]
    assert {item.paths[0] for each in told for item in each.items} == bad
    assert all(item.note for each in told for item in each.items)


# every byte that a name may hold: none of them is / or NUL
EVERY_BYTE = [bytes(range(start, start + 51)).replace(b"/", b"") for start in range(1, 256, 51)]


def unescaped(text: str) -> str:
    """A name as the page shows it -> the name."""

    def character(match: re.Match[str]) -> str:
        escape = match[0]
        return "\\" if escape == "\\\\" else escape.encode().decode("unicode_escape")

    pattern = r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[tnr])"
    return re.sub(pattern, character, html.unescape(text))


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS keeps names that are not UTF-8 out")
def test_names_of_any_bytes_come_back_from_json_and_html(tmp_path: Path) -> None:
    names = [os.fsdecode(part) + ".jpg" for part in EVERY_BYTE]
    clean(tmp_path)
    for number, name in enumerate(names):
        source = f"train/cat/{number}.jpg"
        put(tmp_path / "test/cat" / name, (tmp_path / source).read_bytes())
    findings, dataset = check_up(tmp_path)
    planted = {f"test/cat/{name}" for name in names}
    (found,) = [each for each in findings.findings if each.kind == "duplicates"]
    read = json.loads(json.dumps(findings.to_dict()))["findings"]
    (told,) = [each for each in read if each["kind"] == "duplicates"]
    assert planted == {path for path in told["paths"] if path.startswith("test")}
    assert {os.fsencode(path) for path in planted} == {
        b"test/cat/" + part + b".jpg" for part in EVERY_BYTE
    }
    text = page(findings, dataset)
    text.encode("utf-8")
    captions = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert set(map(unescaped, captions)) >= {path for item in found.items for path in item.paths}


def test_the_page_escapes_and_shows_pictures_without_scripts(tmp_path: Path) -> None:
    root = clean(tmp_path / "<b>set")
    copy("train/cat/0.jpg", "test/cat/<script>alert(1)<＞.jpg")(root)
    target = tmp_path / "page.html"
    assert data(root, "--html", target).returncode == 1
    text = target.read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text and "http:" not in text
    assert text.count("data:image/jpeg;base64,") == 2
    assert "&lt;script&gt;alert(1)" in text


def test_exit_codes_say_whether_something_matters(tmp_path: Path) -> None:
    root = clean(tmp_path / "set")
    assert data(root).returncode == 0
    add("train/cat/notes.txt", lambda: b"hello")(root)
    done = data(root)
    assert done.returncode == 0 and "passed-over" in done.stdout
    copy("train/cat/0.jpg", "test/cat/copy.jpg")(root)
    done = data(root, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["paths"] == [
        "train/cat/0.jpg",
        "test/cat/copy.jpg",
    ]
    assert data(root, "--allow", "duplicates").returncode == 0
    done = data(root, "--allow", "duplicate")
    assert done.returncode == 2 and "did you mean 'duplicates'" in done.stderr
    assert data(tmp_path / "nowhere").returncode == 2


def test_the_most_harmful_comes_first_and_ten_paths_are_printed(tmp_path: Path) -> None:
    clean(tmp_path)
    for number in range(11):
        put(tmp_path / f"train/cat/notes{number:02}.txt", b"hello")
    copy("train/cat/0.jpg", "test/cat/copy.jpg")(tmp_path)
    lines = data(tmp_path).stdout.splitlines()
    kinds = [line.partition(":")[0] for line in lines if line.partition(":")[0] in KINDS]
    assert kinds == ["duplicates", "passed-over"]
    assert sum(line.startswith("  train/cat/notes") for line in lines) == 10
    assert "  and 1 more, all of them in --json" in lines


# Root reads everything: what may not be read is tried as another user, who may not be able to read
# Python either. So all that is needed is loaded before, by examining a sound folder.
AS_ANOTHER = """
import contextlib, io, os, sys
from resnets.cli import main
arguments, sys.argv = sys.argv, ["resnets", "data", sys.argv.pop(), "--json"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.argv = arguments
main()
"""


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that any user reaches."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


def as_another(root: Path) -> subprocess.CompletedProcess[str]:
    """``resnets data ROOT --json`` as a user who owns none of it."""
    sound = clean(root.parent / "sound")
    command = [sys.executable, "-c", AS_ANOTHER, "data", str(root), "--json", str(sound)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root.parent)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_file_that_may_not_be_read_is_told(open_folder: Path) -> None:
    root = clean(open_folder / "set")
    (root / "train/cat/0.jpg").chmod(0)
    done = as_another(root)
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["kind"], found["paths"]) == ("no-permission", ["train/cat/0.jpg"])


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_read_is_an_error_that_names_it(open_folder: Path) -> None:
    root = clean(open_folder / "set")
    (root / "train/cat").chmod(0)
    done = as_another(root)
    (root / "train/cat").chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert f"the folder {root / 'train/cat'} cannot be read" in done.stderr


def test_the_flower_photos_have_one_picture_under_two_labels(
    real_data: Callable[[str], Path],
) -> None:
    found = by_kind(found_in(real_data("flowers")))
    name = "15922772266_1167a06620.jpg"
    assert (f"train/roses/{name}", f"train/tulips/{name}") in found["two-labels"]


def test_the_files_of_old_times_are_old(tmp_path: Path) -> None:
    assert os.stat(put(tmp_path / "x", b"")).st_mtime == OLD
