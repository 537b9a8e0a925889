"""The bundled sample is a balanced part of Fashion-MNIST, pixel by pixel."""

import gzip
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from resnets.data import ArrayImages, open_dataset
from resnets.data.named import SAMPLE, SAMPLE_SHA256


@pytest.fixture(scope="module")
def make_sample() -> ModuleType:
    """The tool, which is no part of the package."""
    path = Path(__file__).parents[1] / "tools" / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("part", "per_class"), [("train", 1_000), ("test", 200)])
def test_the_sample_is_balanced_and_has_the_stated_pixels(part: str, per_class: int) -> None:
    dataset = open_dataset("sample")
    split = dataset.splits[part]
    assert np.bincount(split.labels).tolist() == [per_class] * 10
    assert isinstance(split.images, ArrayImages)
    assert split.images.array.shape == (10 * per_class, 28, 28, 1)
    assert hashlib.sha256(split.images.array.tobytes()).hexdigest() == SAMPLE_SHA256[part]
    assert split.names[12] == f"{part}/00012"
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[-1] == "Ankle boot"
    assert (dataset.name, dataset.source) == ("sample", "sample")


@pytest.mark.parametrize(("part", "stem"), [("train", "train"), ("test", "t10k")])
def test_the_sample_holds_the_first_images_of_each_class(
    part: str, stem: str, fashion_mnist: Path
) -> None:
    # read without the package: 16 and 8 are the lengths of the IDX headers
    pixels = gzip.decompress((fashion_mnist / f"{stem}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((fashion_mnist / f"{stem}-labels-idx1-ubyte.gz").read_bytes())[8:]
    originals = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28, 1)
    split = open_dataset("sample").splits[part]
    left = dict.fromkeys(range(10), len(split) // 10)
    chosen = []
    for index, label in enumerate(labels):
        if left[label]:
            left[label] -= 1
            chosen.append(index)
    assert split.labels.tolist() == [labels[index] for index in chosen]
    assert isinstance(split.images, ArrayImages)
    np.testing.assert_array_equal(split.images.array, originals[chosen])


def test_making_the_sample_again_gives_the_same_contents(
    make_sample: ModuleType, fashion_mnist: Path, tmp_path: Path
) -> None:
    assert make_sample.main(fashion_mnist, tmp_path) == SAMPLE_SHA256
    for made in tmp_path.iterdir():
        # unpacked, for another zlib may pack otherwise
        assert gzip.decompress(made.read_bytes()) == gzip.decompress(
            (SAMPLE / made.name).read_bytes()
        )
    assert {made.name for made in tmp_path.iterdir()} | {"LICENSE"} == {
        file.name for file in SAMPLE.iterdir()
    }


def test_the_tool_refuses_other_originals(make_sample: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ValueError, match="is not Fashion-MNIST's"):
        make_sample.main(tmp_path, tmp_path / "out")


def test_the_licence_lies_beside_the_sample() -> None:
    text = (SAMPLE / "LICENSE").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "Permission is hereby granted, free of charge" in text


def test_the_sample_is_small() -> None:
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 5_500_000
