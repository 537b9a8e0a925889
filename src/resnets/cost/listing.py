"""The table of networks with their costs, and a memory of it: counting all takes some seconds."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from resnets.cost.products import multiply_adds
from resnets.cost.trace import run_operation
from resnets.errors import UnknownName
from resnets.models import create_model, list_models
from resnets.models.specs import SPECS

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """What a list of models tells of one."""

    name: str
    family: str
    source: str
    note: str
    parameters: int
    """With the source's number of classes; of layers that run only while training as well."""
    multiply_adds: int
    """For one image of ``input_size``."""
    input_size: tuple[int, int, int]
    """Channels, height, width the source trained on."""
    sides: tuple[int, int | None]
    """Smallest and largest height and width the network takes; ``None``: no limit."""
    weights: list[str]
    """Pretrained weights that exist."""


def model_rows(
    pattern: str = "*", *, counting: Callable[[int], None] = lambda networks: None
) -> list[ModelRow]:
    """One row for each name that matches a shell pattern, in the table's order.

    Sizes are counted, once for each state of the source code, and remembered in the user's cache.

    Args:
        counting: hears how many networks are not remembered, before they are counted.

    Raises ``UnknownName`` where none matches.
    """
    from resnets.models.weights import available

    names = list_models(pattern)
    if not names:
        listing = f"`resnets models` lists all {len(SPECS)}"
        raise UnknownName("model", pattern, SPECS, listing=listing)
    sizes = _sizes(names, counting)
    return [
        ModelRow(
            name=name,
            family=SPECS[name].family,
            source=SPECS[name].source,
            note=SPECS[name].note,
            parameters=sizes[name][0],
            multiply_adds=sizes[name][1],
            input_size=SPECS[name].input_size,
            sides=SPECS[name].sides,
            weights=available(name),
        )
        for name in names
    ]


def _sizes(names: list[str], counting: Callable[[int], None]) -> dict[str, list[int]]:
    """Parameters and multiply-adds by name, counted where they are not remembered."""
    file = Path(platformdirs.user_cache_dir("resnets", appauthor=False)) / "sizes.json"
    of = _fingerprint()
    known = _remembered(file, of)
    missing = [name for name in names if name not in known]
    if missing:
        counting(len(missing))
        known |= {name: _counted(name) for name in missing}
        _remember(file, of, known)
    return known


class MultiplyAdds(TorchDispatchMode):
    """Adds up multiply-adds and nothing else, in a sixth of the time that ``measure`` takes."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count it."""
        output = run_operation(func, args, kwargs or {})
        self.total += multiply_adds(func.overloadpacket, args, output)
        return output


def _counted(name: str) -> list[int]:
    with torch.device("meta"), torch.no_grad():  # shapes without memory
        network, image = create_model(name).eval(), torch.zeros(1, *SPECS[name].input_size)
        with MultiplyAdds() as counter:  # type: ignore[no-untyped-call]
            network(image)
    return [sum(parameter.numel() for parameter in network.parameters()), counter.total]


def _fingerprint() -> str:
    """What the sizes depend on: the code that builds and counts, and torch."""
    digest = hashlib.sha256(torch.__version__.encode())
    for folder in ("models", "cost"):
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _remembered(file: Path, of: str) -> dict[str, list[int]]:
    """The sizes in the file, if they are of this code; a damaged file is none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        held = json.loads(file.read_text(encoding="utf-8"))
        if held["of"] == of:
            return {name: [int(n), int(m)] for name, (n, m) in held["sizes"].items()}
    return {}


def _remember(file: Path, of: str, sizes: dict[str, list[int]]) -> None:
    """Write the file as a whole; where that is not possible, counting again is no harm."""
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps({"of": of, "sizes": sizes}), encoding="utf-8")
        os.replace(aside, file)
