"""Data sets with a name: their official formats in all layouts, damage, and the table of them."""

import gzip
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from made_up import numbered, write
from made_up_sets import make_cifar, make_idx, md5, place, serve_from, tar_gz
from resnets.data import open_dataset
from resnets.data.catalogue import LICENCES, NAMED, NAMES, CifarSet, IdxSet
from resnets.data.cifar import unpickle
from resnets.data.fetching import Remote
from resnets.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """All URLs lead to a port of this machine where nobody listens, until a test says otherwise."""
    serve_from("http://127.0.0.1:9/", monkeypatch)


CIFAR_LAYOUTS: dict[str, Callable[[str], str | None]] = {
    "unpacked": lambda name: name if ".bin" in name else None,
    "packed": lambda name: name if name.endswith("binary.tar.gz") else None,
    "python, unpacked": lambda name: name if "/" in name and ".bin" not in name else None,
    "python, packed": lambda name: name if name.endswith("python.tar.gz") else None,
    "directly in the folder": lambda name: os.path.basename(name) if ".bin" in name else None,
    "in a folder with the name of the set": lambda name: f"cifar10/{name}",
}


@pytest.mark.parametrize("layout", CIFAR_LAYOUTS)
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_in_all_its_versions(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_cifar(name, monkeypatch)

    def where(file: str) -> str | None:
        path = CIFAR_LAYOUTS[layout](file)
        return path and path.replace("cifar10/", f"{name}/")

    place(made, tmp_path, where)
    made.check(open_dataset(name, data_dir=tmp_path))
    made.check(open_dataset(name, data_dir=tmp_path))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


IDX_LAYOUTS: dict[str, Callable[[str], str | None]] = {
    "as torchvision has it": lambda name: f"HOME/{name}",
    "packed": lambda name: f"HOME/{name}" if name.endswith(".gz") else None,
    "unpacked, directly in the folder": lambda name: None if name.endswith(".gz") else name,
    "some packed, some not": lambda name: name if ("train" in name) == (".gz" in name) else None,
    "in a folder with the name of the set": lambda name: f"NAME/{name}",
}


@pytest.mark.parametrize("layout", IDX_LAYOUTS)
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_mnist_family_is_read_in_all_layouts(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_idx(name, monkeypatch)
    home = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}[name]

    def where(file: str) -> str | None:
        path = IDX_LAYOUTS[layout](file)
        return path and path.replace("HOME", home).replace("NAME", name)

    made.check(open_dataset(name, data_dir=place(made, tmp_path, where)))


def test_another_packer_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_idx("mnist", monkeypatch)
    name = "train-images-idx3-ubyte"
    made.files[f"{name}.gz"] = gzip.compress(made.files[name], compresslevel=1)
    place(made, tmp_path, lambda name: name if name.endswith(".gz") else None)
    made.check(open_dataset("mnist", data_dir=tmp_path))


def test_the_original_fashion_mnist_is_read(fashion_mnist: Path) -> None:
    dataset = open_dataset("FashionMNIST", data_dir=fashion_mnist)
    for part, per_class in (("train", 6_000), ("test", 1_000)):
        assert np.bincount(dataset.splits[part].labels).tolist() == [per_class] * 10


def test_fashion_mnist_under_mnists_file_names_is_not_mnist(fashion_mnist: Path) -> None:
    with pytest.raises(DataError, match="is not mnist's"):
        open_dataset("mnist", data_dir=fashion_mnist)


# Damage

BINARY, PYTHON = "cifar-10-batches-bin/data_batch_3.bin", "cifar-10-batches-py/data_batch_3"


def damaged_cifar(
    root: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: Callable[[bytes], bytes]
) -> DataError:
    """The error of opening CIFAR-10 with one file changed; only that version is there."""
    made = make_cifar("cifar10", monkeypatch)
    made.files[file] = damage(made.files[file])
    folder = os.path.dirname(file)
    place(made, root, lambda name: name if os.path.dirname(name) == folder else None)
    if not folder:
        (root / "cifar-10-python.tar.gz").unlink()
    with pytest.raises(DataError) as error:
        open_dataset("cifar10", data_dir=root)
    assert error.value.fix
    return error.value


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "has 21,510 bytes, not the 21,511 it should have"),
        (lambda data: b"", "has 0 bytes"),
        (lambda data: data + b"\0", "21,512 bytes"),
        (lambda data: b"\x0a" + data[1:], "has the label 10, beyond 10 classes"),
    ],
)
def test_a_damaged_cifar_file_is_named(
    damage: Callable[[bytes], bytes], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = damaged_cifar(tmp_path, monkeypatch, BINARY, damage)
    assert words in error.problem
    assert "data_batch_3.bin" in error.problem


def test_a_missing_cifar_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_cifar("cifar10", monkeypatch)
    place(made, tmp_path, lambda name: name if "bin/" in name and "3" not in name else None)
    with pytest.raises(DataError, match=r"cifar-10-batches-bin lacks data_batch_3.bin"):
        open_dataset("cifar10", data_dir=tmp_path)


def test_a_pickle_is_not_opened_without_its_md5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    attack = pickle.dumps(Attack(f"touch {marker}"))
    error = damaged_cifar(tmp_path / "data", monkeypatch, PYTHON, lambda data: attack)
    assert "data_batch_3 has the MD5" in error.problem
    assert not marker.exists()


class Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_the_unpickler_knows_arrays_only(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for protocol in (3, 4):
        read = unpickle(pickle.dumps({"data": array, "labels": [1, 2]}, protocol), Path("x"))
        np.testing.assert_array_equal(read["data"], array)
    marker = tmp_path / "marker"
    attacks = [pickle.dumps(Attack(f"touch {marker}"), protocol) for protocol in range(6)]
    attacks += [
        f"cbuiltins\neval\n(Vopen({str(marker)!r}, 'w')\ntR.".encode(),
        b"c__builtin__\nexec\n(Vimport os\ntR.",
        b"cnumpy\nload\n(Vx\ntR.",
        b"cresnets.data.cifar\nos.system\n(Vx\ntR.",
        b"\x80\x04\x8c\x0anumpy.core\x8c\x0amultiarray\x93.",
        pickle.dumps(partial(print, "x")),
        b"not a pickle",
        b"",
    ]
    for attack in attacks:
        with pytest.raises(DataError, match="is no pickle of arrays"):
            unpickle(attack, Path("x"))
    assert not marker.exists()


def test_an_archive_is_not_unpacked_without_its_md5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = damaged_cifar(tmp_path, monkeypatch, "cifar-10-binary.tar.gz", lambda data: data[:-20])
    assert "damaged or incomplete" in error.problem
    assert "remove it" in error.fix
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]


def test_an_archive_cannot_write_outside_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = NAMED["cifar10"]
    assert isinstance(record, CifarSet)
    archive = tar_gz({"../outside": b"x"})
    remote = replace(record.binary.archive, md5=md5(archive))
    monkeypatch.setitem(
        NAMED, "cifar10", replace(record, binary=replace(record.binary, archive=remote))
    )
    data = tmp_path / "data"
    data.mkdir()
    (data / remote.name).write_bytes(archive)
    with pytest.raises(DataError, match="cannot be unpacked"):
        open_dataset("cifar10", data_dir=data)
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in data.iterdir()] == [remote.name]


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], "7,071 bytes where its header"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "is cut short: 9 bytes"),
        ("train-labels-idx1-ubyte", lambda data: b"\0\0\x0d\1" + data[4:], "but with 00000d01"),
        ("t10k-labels-idx1-ubyte", lambda data: b"", "does not start as an IDX file"),
        ("t10k-images-idx3-ubyte.gz", lambda data: data[:-9], "cannot be unpacked"),
        ("t10k-images-idx3-ubyte.gz", lambda data: b"<html>", "cannot be unpacked"),
        ("train-labels-idx1-ubyte", lambda data: data[:-1] + b"\1", "is not mnist's"),
    ],
)
def test_a_damaged_mnist_file_is_named(
    name: str,
    damage: Callable[[bytes], bytes],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = make_idx("mnist", monkeypatch)
    made.files[name] = damage(made.files[name])
    packed = name.endswith(".gz")
    place(made, tmp_path, lambda file: file if file.endswith(".gz") == packed else None)
    with pytest.raises(DataError, match=words) as error:
        open_dataset("mnist", data_dir=tmp_path)
    assert str(tmp_path / name) in error.value.problem


# The table


def test_the_table_agrees_with_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real URLs
    from torchvision import datasets

    for name, cifar in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        record = NAMED[name]
        assert isinstance(record, CifarSet)
        assert record.python.archive == Remote(cifar.filename, (cifar.url,), cifar.tgz_md5)
        assert record.python.folder == cifar.base_folder
        assert [list(item) for item in record.python.files["train"].items()] == cifar.train_list
        assert [list(item) for item in record.python.files["test"].items()] == cifar.test_list
    for name, mnist in (("mnist", datasets.MNIST), ("fashion-mnist", datasets.FashionMNIST)):
        entry = NAMED[name]
        assert isinstance(entry, IdxSet)
        remotes = [remote for pair in entry.files.values() for remote in pair]
        assert [(remote.name, remote.md5) for remote in remotes] == mnist.resources
        for remote in remotes:
            assert remote.urls == tuple(mirror + remote.name for mirror in mnist.mirrors)
        assert entry.folder == f"{mnist.__name__}/raw"
    assert list(NAMED["fashion-mnist"].classes) == datasets.FashionMNIST.classes
    assert list(NAMED["mnist"].classes) == [name[0] for name in datasets.MNIST.classes]


def test_the_table_is_complete() -> None:
    assert NAMES == ("sample", "cifar10", "cifar100", "mnist", "fashion-mnist", "imagenet")
    assert set(NAMED) | {"sample", "imagenet"} == set(LICENCES)
    assert len(set(NAMED["cifar100"].classes)) == 100
    assert list(NAMED["cifar100"].classes) == sorted(NAMED["cifar100"].classes)
    assert list(NAMED["cifar10"].classes) == sorted(NAMED["cifar10"].classes)


# ImageNet

WNIDS = ["n01440764", "n02012849", "n03126707"]


def imagenet(root: Path, wnids: list[str]) -> Path:
    return write(root, [f"{part}/{wnid}/0.png" for part in ("train", "val") for wnid in wnids])


@pytest.mark.parametrize("folder", ["imagenet", "."])
def test_a_part_of_imagenet_is_called_by_its_ids(folder: str, tmp_path: Path) -> None:
    imagenet(tmp_path / folder, WNIDS)
    dataset = open_dataset("ImageNet", data_dir=tmp_path)
    assert dataset.classes == tuple(WNIDS)
    assert (dataset.name, dataset.source) == ("imagenet", "imagenet")
    assert dataset.splits["val"].labels.tolist() == [0, 1, 2]


def test_a_mapping_beside_imagenet_gives_words(tmp_path: Path) -> None:
    imagenet(tmp_path, WNIDS)
    lines = ["n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane", "n1 x", ""]
    (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(lines))
    classes = open_dataset("imagenet", data_dir=tmp_path).classes
    assert classes == ("tench", "crane n02012849", "crane n03126707")


def test_all_of_imagenet_has_torchvisions_words(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm.data", reason="needs timm, for the ids and their meanings")
    info = timm.ImageNetInfo("imagenet-1k")
    wnids = list(info.label_names())
    for wnid in wnids:
        write(tmp_path, [f"train/{wnid}/0.png"])
    classes = open_dataset("imagenet", data_dir=tmp_path).classes
    assert len(set(classes)) == 1_000
    meanings = [info.label_name_to_description(wnid).lower() for wnid in wnids]
    same = sum(word.lower() in text for word, text in zip(classes, meanings, strict=True))
    assert same >= 995  # torchvision tells cranes, maillots and cardigans apart in its own words


def test_imagenet_is_never_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="terms forbid") as error:
        open_dataset("imagenet", data_dir=tmp_path)
    assert f"{tmp_path}/imagenet/train" in error.value.fix


def test_another_folder_is_not_taken_for_imagenet(tmp_path: Path) -> None:
    write(tmp_path, [*numbered("train/cat", 1), *numbered("train/dog", 1)])
    with pytest.raises(DataError, match="no WordNet ids, e.g. cat"):
        open_dataset("imagenet", data_dir=tmp_path)
