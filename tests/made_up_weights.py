"""Networks whose every number is drawn, and files of their weights."""

import io
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import Network, create_model


def network(name: str = "resnet20", **options: Any) -> Network:
    """A network whose every number is drawn, statistics too, the same each time."""
    made = create_model(name, seed=1, **options)
    generator = torch.Generator().manual_seed(2)
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return made


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def safe(folder: Path, state: dict[str, Tensor]) -> Path:
    """A file of safetensors, which takes no process of its own to read."""
    safetensors.torch.save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def renamed(state: dict[str, Tensor], rules: dict[str, str], prefix: str = "") -> dict[str, Tensor]:
    """A state dict with our names turned into another's."""
    made = {}
    for name, tensor in state.items():
        for ours, theirs in rules.items():
            name = name.replace(ours, theirs)
        made[prefix + name] = tensor
    return made


class PaddedOnBothSides(nn.Module):
    """The shortcut of the widely used CIFAR ResNets with parameter-free option A."""

    def __init__(self, new: int) -> None:
        super().__init__()
        self.new = new

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
