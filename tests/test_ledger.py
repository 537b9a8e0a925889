"""The ledger: a second start reads nothing, and a bit that flips silently is found when asked."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from planted import OLD, bytes_of, clean, photo, put
from resnets.data import from_arrays, open_dataset, read_images
from resnets.data import ledger as module
from resnets.data.doctor import check_up
from resnets.data.ledger import Facts, Ledger
from soaking import cases, record


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the pictures that are opened."""
    paths: list[str] = []

    def spy(path, *arguments, **options):
        paths.append(str(path))
        return open(path, *arguments, **options)

    for part in ("ledger", "reading"):
        monkeypatch.setattr(f"resnets.data.{part}.open", spy, raising=False)
    return paths


def read(root: Path, *, trust: bool = True, memory: int = 0) -> Ledger:
    dataset = open_dataset(root)
    ledger = Ledger.of(dataset, trust=trust)
    read_images(dataset, ledger=ledger, memory=memory)
    ledger.save()
    return ledger


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change one bit of a file, and neither its size nor its time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_second_start_opens_no_picture(tmp_path: Path, opened: list[str]) -> None:
    clean(tmp_path)
    first = read(tmp_path)
    assert len(set(opened)) == 40
    opened.clear()
    second = read(tmp_path)
    assert opened == []
    assert second.facts == first.facts
    assert all(facts.pixels and facts.small for facts in second.facts.values())


def test_what_changed_is_read_and_what_was_only_touched_stays_the_same(
    tmp_path: Path, opened: list[str]
) -> None:
    clean(tmp_path)
    first = read(tmp_path)
    opened.clear()
    put(tmp_path / "train/cat/0.jpg", bytes_of(photo(900)))
    os.utime(tmp_path / "train/cat/0.jpg", (OLD + 1, OLD + 1))
    os.utime(tmp_path / "train/cat/1.jpg", (OLD + 1, OLD + 1))
    put(tmp_path / "train/cat/new.jpg", bytes_of(photo(901)))
    (tmp_path / "test/dog/37.jpg").unlink()
    second = read(tmp_path)
    names = {str(Path(path).relative_to(tmp_path)) for path in opened}
    assert names == {"train/cat/0.jpg", "train/cat/1.jpg", "train/cat/new.jpg"}
    assert second.facts["train/cat/1.jpg"] == first.facts["train/cat/1.jpg"]
    assert second.facts["train/cat/0.jpg"].digest != first.facts["train/cat/0.jpg"].digest
    assert second.facts.keys() == first.facts.keys() - {"test/dog/37.jpg"} | {"train/cat/new.jpg"}
    assert second.changed == []
    opened.clear()
    read(tmp_path)
    assert opened == []


def test_a_file_of_just_now_is_read_again(tmp_path: Path, opened: list[str]) -> None:
    """Its time may stay the same when it changes once more."""
    clean(tmp_path)
    os.utime(tmp_path / "train/cat/0.jpg")
    read(tmp_path)
    opened.clear()
    read(tmp_path)
    assert opened == [str(tmp_path / "train/cat/0.jpg")] * 2  # to hash it, and to decode it


def test_every_flipped_bit_is_found_when_verified(tmp_path: Path) -> None:
    began, count = time.monotonic(), cases(20, 1_000)
    rng = np.random.default_rng(0)
    clean(tmp_path)
    for number in range(count):
        place = tmp_path / f"train/{('cat', 'dog')[number % 2]}/flip{number}.jpg"
        put(place, bytes_of(photo(30_000 + number, (20, 20))))
    read(tmp_path)
    victims = sorted(tmp_path.rglob("flip*.jpg"))
    for path in victims:
        flip(path, rng)
    trusting = check_up(tmp_path)[0]
    assert "bit-rot" not in {each.kind for each in trusting.findings}
    found = check_up(tmp_path, verify=True)[0].findings
    (rot,) = [each for each in found if each.kind == "bit-rot"]
    told = {item.paths[0] for item in rot.items}
    passed = len(told & {path.relative_to(tmp_path).as_posix() for path in victims})
    record("flipped bits in images found by --verify", passed, count, time.monotonic() - began)
    assert passed == rot.count == count


def test_a_rotten_file_is_told_until_it_is_put_back(tmp_path: Path) -> None:
    clean(tmp_path)
    read(tmp_path)
    path = tmp_path / "train/cat/0.jpg"
    sound = path.read_bytes()
    flip(path, np.random.default_rng(0))
    for _ in range(2):
        assert read(tmp_path, trust=False).changed == ["train/cat/0.jpg"]
    put(path, sound)
    assert read(tmp_path, trust=False).changed == []


def test_nothing_is_rotten_in_what_did_not_change(tmp_path: Path) -> None:
    clean(tmp_path)
    read(tmp_path)
    ledger = read(tmp_path, trust=False)
    assert ledger.changed == [] and ledger.compared == 40
    findings = check_up(tmp_path, verify=True)[0]
    assert findings.findings == () and findings.unchecked == ()
    put(tmp_path / "train/cat/new.jpg", bytes_of(photo(901)))
    assert check_up(tmp_path, verify=True)[0].unchecked == (
        "not verified: 1 of 41 files, which were not known before or changed since",
    )


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_ledger_costs_time_only(damage: str, tmp_path: Path, opened: list[str]) -> None:
    clean(tmp_path)
    first = read(tmp_path)
    assert first.path is not None
    data = first.path.read_bytes()
    if damage == "flip":
        flip(first.path, np.random.default_rng(0))
    else:
        first.path.write_bytes({"cut": data[:-1], "empty": b"", "text": b"x" * 99}[damage])
    opened.clear()
    assert read(tmp_path).facts == first.facts
    assert len(set(opened)) == 40


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    clean(tmp_path / "set")
    (tmp_path / "file").write_text("no folder")
    dataset = open_dataset(tmp_path / "set")
    ledger = Ledger.of(dataset, folder=tmp_path / "file")
    read_images(dataset, ledger=ledger)
    ledger.save()
    assert len(ledger.facts) == 40


def test_ledgers_take_a_bounded_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"

    def fill(root: Path, seed: int) -> Path:
        dataset = open_dataset(clean(root, first_seed=seed))
        ledger = Ledger.of(dataset, folder=kept)
        read_images(dataset, ledger=ledger)
        ledger.save()
        assert ledger.path is not None
        return ledger.path

    paths = [fill(tmp_path / str(number), 100 * number) for number in range(3)]
    assert sorted(kept.iterdir()) == sorted(paths)
    for age, path in enumerate(paths):
        os.utime(path, (OLD - age, OLD - age))
    monkeypatch.setattr(module, "MOST_BYTES", int(2.5 * paths[0].stat().st_size))
    last = fill(tmp_path / "last", 900)
    assert sorted(kept.iterdir()) == sorted([paths[0], last])


def test_a_data_set_in_memory_is_known_by_its_pixels(tmp_path: Path) -> None:
    """The same picture is the same in an array, in a PNG and in a grey one."""
    grey = np.asarray(photo(1).convert("L"))
    put(tmp_path / "x.png", bytes_of(photo(1).convert("L"), "PNG"))
    ledger = Ledger()
    ledger.look("one", grey[..., None])
    ledger.look("three", np.repeat(grey[..., None], 3, axis=2))
    assert ledger.facts["one"].pixels == ledger.facts["three"].pixels
    assert ledger.facts["one"].small == ledger.facts["three"].small
    assert Ledger.of(from_arrays((grey[None, ..., None].repeat(2, 0), ["a", "b"]))).path is None


def test_facts_survive_being_kept(tmp_path: Path) -> None:
    facts = Facts("ab" * 32, (65_000, 3), "TIFF", "I;16B", 8, True, (7, 9), "cd" * 32, b"z" * 256)
    undecoded = Facts("ef" * 32, (1, 2), "PNG", "RGBA")
    stamp = (12, time.time_ns(), 2**62, 5)
    rows = [
        module._row(bytes([number]) * 16, stamp, each)
        for number, each in enumerate((facts, undecoded))
    ]
    module._write(tmp_path / "ledger.npy", np.array(rows, module._ROW))
    back = module._read(tmp_path / "ledger.npy")
    assert back == {
        bytes(16): (stamp, facts._replace(inode=None)),
        b"\1" * 16: (stamp, undecoded),
    }
