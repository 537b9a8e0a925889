"""Downloads, from a server on this machine that sends right bytes, wrong ones or none."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from made_up_sets import make_cifar, make_idx, place, serve_from
from resnets.data import open_dataset
from resnets.data.catalogue import NAMED, IdxSet
from resnets.data.fetching import Remote
from resnets.data.named import default_data_dir
from resnets.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """All URLs lead to a port of this machine where nobody listens, until a test says otherwise."""
    serve_from("http://127.0.0.1:9/", monkeypatch)


@dataclass
class Server:
    root: Path
    url: str
    stop: Callable[[], None]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def copyfile(self, source: object, outputfile: object) -> None:
            try:
                super().copyfile(source, outputfile)  # type: ignore[arg-type]
            except (BrokenPipeError, ConnectionResetError):
                pass  # torchvision asks twice, and looks at the first answer's address only

    root = tmp_path / "server"
    root.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop() -> None:
        if thread.is_alive():
            http.shutdown()
            thread.join()
            http.server_close()

    url = f"http://127.0.0.1:{http.server_port}/"
    serve_from(url, monkeypatch)
    yield Server(root, url, stop)
    stop()


def test_cifar_is_downloaded_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_cifar("cifar10", monkeypatch)
    place(made, server.root, lambda name: name if name.endswith(".gz") else None)
    data = tmp_path / "data"
    made.check(open_dataset("cifar10", data_dir=data))
    assert sorted(path.name for path in data.iterdir()) == [
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
    ]
    server.stop()
    made.check(open_dataset("cifar10", data_dir=data))


def test_mnist_is_downloaded_to_where_torchvision_looks(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_idx("mnist", monkeypatch)
    place(made, server.root, lambda name: name if name.endswith(".gz") else None)
    made.check(open_dataset("mnist", data_dir=tmp_path / "data"))
    server.stop()
    made.check(open_dataset("mnist", data_dir=tmp_path / "data"))
    assert len(list((tmp_path / "data/MNIST/raw").iterdir())) == 4


def test_a_second_server_is_asked_where_the_first_is_down(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_idx("mnist", monkeypatch)
    place(made, server.root, lambda name: name)
    record = NAMED["mnist"]
    assert isinstance(record, IdxSet)

    def both(remote: Remote) -> Remote:
        return replace(remote, urls=(f"http://127.0.0.1:9/{remote.name}", *remote.urls))

    files = {part: (both(a), both(b)) for part, (a, b) in record.files.items()}
    monkeypatch.setitem(NAMED, "mnist", replace(record, files=files))
    made.check(open_dataset("mnist", data_dir=tmp_path / "data"))


def test_wrong_bytes_are_removed_and_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_cifar("cifar10", monkeypatch)
    made.files["cifar-10-binary.tar.gz"] += b"\0"
    place(made, server.root, lambda name: name if name.endswith(".gz") else None)
    data = tmp_path / "data"
    with pytest.raises(DataError, match="gave a file without the MD5 .*, now removed") as error:
        open_dataset("cifar10", data_dir=data)
    assert "put cifar-10-binary.tar.gz from http" in error.value.fix
    assert list(data.iterdir()) == []


def test_a_file_the_server_lacks_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"cifar-100-binary.tar.gz: HTTP Error 404"):
        open_dataset("cifar100", data_dir=tmp_path / "data")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion-mnist"])
def test_without_network_and_data_both_ways_are_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Connection refused") as error:
        open_dataset(name, data_dir=tmp_path)
    assert f"{name} is not in {tmp_path}" in error.value.problem
    assert "connect to the network and type the command again, or put " in error.value.fix
    assert str(tmp_path) in error.value.fix
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write into") as error:
        open_dataset("cifar10", data_dir=tmp_path / "file")
    assert "RESNETS_DATA_DIR" in error.value.fix


def test_the_data_folder_is_the_users_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNETS_DATA_DIR", str(tmp_path))
    made = make_idx("mnist", monkeypatch)
    place(made, tmp_path, lambda name: name)
    made.check(open_dataset("MNIST"))
    monkeypatch.delenv("RESNETS_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_data_dir().parts[-2:] == ("resnets", "data")
