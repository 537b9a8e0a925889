"""Downloads of weights, from a server on this machine that breaks off, lies and is down."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from file_server import NOBODY, FileServer, serving
from resnets.console import Progress
from resnets.errors import CannotGoOn, ModelFileError
from resnets.models import downloading
from resnets.models.downloading import download

CONTENT = bytes(range(256)) * 8_000  # two megabytes: more than one block


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(downloading, "PAUSE", 0.0)
    with serving() as running:
        yield running


def right(path: Path) -> str:
    """The check that the tests give to ``download``."""
    wanted = hashlib.sha256(CONTENT).hexdigest()
    return "" if hashlib.sha256(path.read_bytes()).hexdigest() == wanted else "wrong SHA-256"


def fetch(url: str, folder: Path) -> Path:
    with Progress(quiet=True) as progress:
        return download(url, folder / "w.pth", check=right, progress=progress, fix="by hand")


def only(path: Path) -> bool:
    """Whether a folder holds this file alone, with the right bytes."""
    return list(path.parent.iterdir()) == [path] and path.read_bytes() == CONTENT


def test_a_file_arrives_whole_and_nothing_beside_it(server: FileServer, tmp_path: Path) -> None:
    path = fetch(server.add("w.pth", CONTENT), tmp_path / "new" / "folder")
    assert only(path) and server.asked == ["GET w.pth"]


def test_after_breaks_only_the_rest_is_asked_for(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [1_500_000, 7]
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))
    assert server.asked == [
        "GET w.pth",
        "GET w.pth bytes=1500000-",
        "GET w.pth bytes=1500007-",
    ]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "TRIES", 1)
    server.breaks = [1_000_000]
    url = server.add("w.pth", CONTENT)
    with pytest.raises(ModelFileError, match="broke off after 1,000,000 of 2,048,000 bytes"):
        fetch(url, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth.part"]
    assert only(fetch(url, tmp_path))
    assert server.asked[-1] == "GET w.pth bytes=1000000-"


def test_a_server_without_ranges_sends_all_again(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges, server.breaks = False, [1_500_000]
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))


def test_a_break_before_the_answer_or_a_failing_server_is_asked_again(
    server: FileServer, tmp_path: Path
) -> None:
    server.failures = [503, 429]
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))
    assert len(server.asked) == 3


def test_a_length_that_is_too_large_is_noticed(server: FileServer, tmp_path: Path) -> None:
    server.lie, server.knows_ranges = 100, False
    with pytest.raises(ModelFileError, match="broke off after 2,048,000 of 2,048,100 bytes"):
        fetch(server.add("w.pth", CONTENT), tmp_path)
    assert not (tmp_path / "w.pth").exists()


def test_a_server_that_has_no_more_to_send_ends_the_doubt(
    server: FileServer, tmp_path: Path
) -> None:
    server.lie = 100
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))
    assert server.asked[-1] == "GET w.pth bytes=2048000-"


def test_a_length_that_is_too_small_is_noticed(server: FileServer, tmp_path: Path) -> None:
    server.lie = -100
    with pytest.raises(ModelFileError, match="wrong SHA-256"):
        fetch(server.add("w.pth", CONTENT), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused_and_removed(server: FileServer, tmp_path: Path) -> None:
    url = server.add("w.pth", CONTENT[:-1] + b"?")
    with pytest.raises(ModelFileError, match="could not be downloaded: wrong SHA-256") as error:
        fetch(url, tmp_path)
    assert error.value.fix == "by hand"
    assert list(tmp_path.iterdir()) == [] and server.asked == ["GET w.pth"]


@pytest.mark.parametrize("before", [b"of another file", CONTENT + b"longer than the file"])
def test_the_part_of_another_file_is_given_up(
    server: FileServer, tmp_path: Path, before: bytes
) -> None:
    (tmp_path / "w.pth.part").write_bytes(before)
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))


def test_a_part_that_is_whole_already_is_taken(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    assert only(fetch(server.add("w.pth", CONTENT), tmp_path))


def test_a_file_that_is_not_there_is_asked_for_once(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="HTTP 404"):
        fetch(server.url + "w.pth", tmp_path)
    assert server.asked == ["GET w.pth"]


def test_a_server_that_is_down_is_told(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="Connection refused"):
        fetch(NOBODY + "w.pth", tmp_path)


def test_a_folder_that_cannot_be_written_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotGoOn, match="cannot write") as error:
        fetch(server.add("w.pth", CONTENT), tmp_path / "file")
    assert "RESNETS_WEIGHTS_DIR" in error.value.fix


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_and_not_taken_for_the_networks_fault(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "w.pth.part").symlink_to("/dev/full")
    with pytest.raises(CannotGoOn, match="No space left on device"):
        fetch(server.add("w.pth", CONTENT), tmp_path)
    assert len(server.asked) == 1
