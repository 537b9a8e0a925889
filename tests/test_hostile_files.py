"""Weight files that would run code: none gets any to run, whatever it is called and packed in."""

import codecs
import functools
import os
import pickle
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resnets.errors import ResnetsError
from resnets.models import create_model
from resnets.models.weights import read_weights
from soaking import SOAK, record


class Call:
    """An object whose unpickling calls something."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class Built:
    """An object whose state is set by a call of its own class's choosing."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __reduce__(self) -> Any:
        return dict, (), {"state": self.inner}


def payloads(marker: Path) -> dict[str, Any]:
    """What an attacker would put in; each would make the marker."""
    write = f"open({str(marker)!r}, 'w').close()"
    touch = f"touch {marker}"
    nested = pickle.dumps(Call(eval, write))
    return {
        "os.system": Call(os.system, touch),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "open": Call(open, str(marker), "w"),
        "subprocess": Call(subprocess.call, ["touch", str(marker)]),
        "a pickle in a pickle": Call(pickle.loads, nested),
        "torch's storage from bytes": Call(torch.storage._load_from_bytes, nested),
        "partial": Call(functools.partial(os.system, touch)),
        "codecs": Call(eval, Call(codecs.decode, codecs.encode(write, "rot13"), "rot13")),
        "an import": Call(getattr, Call(__import__, "os"), "system"),
        "torch.load": Call(torch.load, str(marker.with_name("second.pth"))),
        "rebuilt tensor": Call(torch._utils._rebuild_tensor_v2, Call(eval, write), 0, (1,), (1,)),
        "deep inside": {"state_dict": {"fc.weight": Built(Call(os.system, touch))}},
    }


def zipped(content: Any, path: Path) -> None:
    torch.save(content, path)


def bare(protocol: int) -> Callable[[Any, Path], None]:
    def write(content: Any, path: Path) -> None:
        path.write_bytes(pickle.dumps(content, protocol))

    return write


def with_bait(content: Any, path: Path) -> None:
    """A sound archive, with a second pickle behind it for readers that fall back."""
    torch.save({"fc.weight": torch.zeros(1)}, path)
    with open(path, "ab") as file:
        file.write(pickle.dumps(content, 2))


def as_script(content: Any, path: Path) -> None:
    """What looks like a TorchScript archive or a .pt2."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/constants.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/code/__torch__.py", "import os")
        archive.writestr("archive/version", "3\n")


FORMS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "torch.save": ("evil.pth", zipped),
    "named .pt": ("evil.pt", zipped),
    "named .ckpt": ("evil.ckpt", zipped),
    "named .safetensors": ("evil.safetensors", zipped),
    "named .h5": ("evil.h5", bare(2)),
    "pickle 0": ("evil.pth", bare(0)),
    "pickle 2": ("evil.pth", bare(2)),
    "pickle 5": ("evil.pth", bare(5)),
    "bait": ("evil.pth", with_bait),
    "script": ("evil.pt", as_script),
}
ALL = [(kind, form) for form in FORMS for kind in payloads(Path("x"))]
SHORT = [
    ("torch's storage from bytes", "torch.save"),
    ("eval", "pickle 5"),
    ("os.system", "script"),
]


def test_no_hostile_file_gets_code_to_run(tmp_path: Path) -> None:
    began, refused = time.monotonic(), 0
    chosen = ALL if SOAK else SHORT
    for number, (kind, form) in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        name, write = FORMS[form]
        marker = folder / "marker"
        write(payloads(marker)[kind], folder / name)
        with pytest.raises(ResnetsError):
            read_weights(folder / name)
            create_model("resnet20", pretrained=folder / name)
        assert not marker.exists(), (kind, form)
        refused += 1
    record(
        "hostile weight files that ran no code and were refused",
        refused,
        len(chosen),
        time.monotonic() - began,
    )
