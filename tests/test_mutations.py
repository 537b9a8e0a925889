"""Models that are wrong behind hashes that hold: each is refused, nothing is half loaded."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from resnets.checkpoint import WEIGHTS, seal
from resnets.config import Preprocess
from resnets.errors import ModelFileError
from resnets.models import create_model
from resnets.prediction import load
from resnets.sealing import CARD, SUMS
from soaking import cases, record

COUNT = cases(45, 2_000)
Files = dict[str, bytes]

NONSENSE: list[Any] = [None, True, -1, 0, 1e999, 10**30, "", "x", [], ["x"], [None], {}, {"x": 1}]
"""None of them is right at any place of a card where it is put below."""
NEEDED = ("architecture", "label_names", "preprocess")
PARTS = ("input_size", "mean", "std", "crop_pct", "interpolation", "crop_mode", "background")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed") / "model"
    preprocess = Preprocess(input_size=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    card = {
        "architecture": "resnet20",
        "options": {},
        "label_names": ["daisy", "rose", "tulip"],
        "preprocess": preprocess.to_dict(),
    }
    seal(folder, create_model("resnet20", num_classes=3, seed=0).state_dict(), card)
    return folder


def with_card(files: Files, change: Callable[[dict[str, Any]], None]) -> Files:
    card = json.loads(files[CARD])
    change(card)
    return files | {CARD: json.dumps(card).encode()}


def with_tensors(files: Files, change: Callable[[dict[str, Tensor]], None]) -> Files:
    tensors = safetensors.torch.load(files[WEIGHTS])
    change(tensors)
    return files | {WEIGHTS: safetensors.torch.save(tensors)}


def with_header(files: Files, change: Callable[[dict[str, Any]], Any]) -> Files:
    data = files[WEIGHTS]
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return files | {WEIGHTS: len(text).to_bytes(8, "little") + text + data[8 + length :]}


def nonsense(files: Files, rng: np.random.Generator) -> Files:
    """A key of the card that a model needs, gone or with a value that it cannot have."""

    def change(card: dict[str, Any]) -> None:
        key = NEEDED[rng.integers(len(NEEDED))]
        if rng.random() < 0.2:
            del card[key]
        else:
            card[key] = NONSENSE[rng.integers(len(NONSENSE))]

    return with_card(files, change)


def odd_preprocessing(files: Files, rng: np.random.Generator) -> Files:
    def change(card: dict[str, Any]) -> None:
        key = PARTS[rng.integers(len(PARTS))]
        card["preprocess"][key] = NONSENSE[rng.integers(len(NONSENSE))]

    return with_card(files, change)


def odd_options(files: Files, rng: np.random.Generator) -> Files:
    def change(card: dict[str, Any]) -> None:
        keys = ("stem", "shortcut", "width", "x")
        odd = {keys[rng.integers(len(keys))]: NONSENSE[rng.integers(2, len(NONSENSE))]}
        card["options"] = (odd, "x", [1], 3)[rng.integers(4)]

    return with_card(files, change)


def other_classes(files: Files, rng: np.random.Generator) -> Files:
    names: list[list[Any]] = [
        [],
        *([str(number) for number in range(count)] for count in (1, 2, 4, 1000)),
        ["daisy", "rose", None],
        ["daisy", "rose", 3],
        ["daisy", "rose", ["tulip"]],
    ]
    chosen = names[rng.integers(len(names))]
    return with_card(files, lambda card: card.update(label_names=chosen))


def other_network(files: Files, rng: np.random.Generator) -> Files:
    names = ("resnet32", "resnet18", "resnet50", "resnet20_option_b", "vgg16", "resnet20 ")
    return with_card(files, lambda card: card.update(architecture=str(rng.choice(names))))


def an_odd_tensor(files: Files, rng: np.random.Generator) -> Files:
    def change(tensors: dict[str, Tensor]) -> None:
        floating = sorted(name for name, tensor in tensors.items() if tensor.is_floating_point())
        name = str(rng.choice(floating))
        tensor = tensors.pop(name)
        match int(rng.integers(7)):
            case 0:
                tensors[f"{name}_"] = tensor
            case 1:
                tensors[name] = tensor.double()
            case 2:
                tensors[name] = torch.cat([tensor, tensor])
            case 3:
                tensors[name] = tensor[None]
            case 4:
                tensors[name] = torch.full_like(tensor, torch.nan)
            case 5:
                tensors[name] = tensor.clone()
                tensors[name].view(-1)[-1] = torch.inf
            case _:
                pass

    return with_tensors(files, change)


def a_negative_variance(files: Files, rng: np.random.Generator) -> Files:
    def change(tensors: dict[str, Tensor]) -> None:
        names = sorted(name for name in tensors if name.endswith("running_var"))
        tensors[str(rng.choice(names))][0] = -1e-3

    return with_tensors(files, change)


def a_header_that_lies(files: Files, rng: np.random.Generator) -> Files:
    def change(header: dict[str, Any]) -> None:
        name = sorted(header.keys() - {"__metadata__"})[rng.integers(len(header) - 1)]
        start, end = header[name]["data_offsets"]
        lies: list[dict[str, Any]] = [
            {"data_offsets": [start, end + 4]},
            {"data_offsets": [end, start] if end > start else [1, 0]},
            {"data_offsets": [-4, 0]},
            {"data_offsets": []},
            {"shape": [2**40, 2**40]},
            {"shape": [-1]},
            {"shape": "x"},
            {"dtype": "F99"},
            {"dtype": None},
            {"dtype": "F64"},
        ]
        header[name] |= lies[rng.integers(len(lies))]

    return with_header(files, change)


def another_document(files: Files, rng: np.random.Generator) -> Files:
    texts = (b"", b"[]", b"null", b"3", b'"x"', b"{}", b"[" * 10**5, b"\xff{}", b"{'a': 1}")
    which = (CARD, WEIGHTS)[rng.integers(2)]
    return files | {which: texts[rng.integers(len(texts))]}


MUTATIONS = (
    nonsense,
    odd_preprocessing,
    odd_options,
    other_classes,
    other_network,
    an_odd_tensor,
    a_negative_variance,
    a_header_that_lies,
    another_document,
)


def test_every_mutation_is_refused_and_the_loaded_model_stays(sealed: Path, tmp_path: Path) -> None:
    classifier = load(sealed)
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    files = {name: (sealed / name).read_bytes() for name in (CARD, WEIGHTS)}
    rng, began, refused = np.random.default_rng(0), time.monotonic(), 0
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(COUNT):
        kind = MUTATIONS[number % len(MUTATIONS)]
        changed = kind(files, rng)
        for name, data in changed.items():
            (folder / name).write_bytes(data)
        sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in changed.items()]
        (folder / SUMS).write_text("".join(sorted(sums, key=lambda line: line.split()[1])))
        with pytest.raises(ModelFileError) as caught:
            load(folder)
            raise AssertionError(f"{kind.__name__} was loaded: {changed[CARD]!r}")
        assert caught.value.problem and caught.value.fix and caught.value.exit_code == 2
        refused += 1
    after = classifier.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    record(
        "mutations of a model's content behind hashes that hold, refused",
        refused,
        COUNT,
        time.monotonic() - began,
    )
