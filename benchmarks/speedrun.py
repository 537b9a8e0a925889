"""How long the steps of `speedrun-cifar10` take beside those of the method it grew from.

    python benchmarks/speedrun.py --rounds 5

The published method (arXiv:2404.00498; K. Jordan et al., Muon, 2024) reaches 94 % with its network
in 8 epochs of batches of 2,000. It is written here as plain PyTorch runs it, with the same
optimizer; the recipe as this package runs it. Both in bf16, on random images, in processes of their
own that take turns; a row of results/speedrun.csv has the median second of a step, the steps of a
whole training and their product. Loading and scoring are no part of it.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from recording import append, refuse_if_busy
from torch import Tensor, nn

from resnets.machine import keep_memory
from resnets.models import create_model
from resnets.training import RECIPES
from resnets.training.muon import Muon, muon_groups

IMAGES = 50_000
EPOCHS, BATCH = 8, 2_000
"""Of the published method."""


class Group(nn.Module):
    """Two 3x3 convolutions with batch norm and GELU each, a max pool behind the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / 2, W / 2)."""
        x = F.gelu(self.norms[0](F.max_pool2d(self.first(x), 2)))
        return F.gelu(self.norms[1](self.second(x)))


class Published(nn.Module):
    """The network of the published method."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 2)
        self.patches.weight.requires_grad_(False)
        self.groups = nn.Sequential(Group(24, 64), Group(64, 256), Group(256, 256))
        self.head = nn.Linear(256, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> (N, 10)."""
        x = F.max_pool2d(self.groups(F.gelu(self.patches(x))), 3).flatten(1)
        return self.head(x) / x.shape[1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--only", choices=["published", "recipe"], help=argparse.SUPPRESS)
    arguments.add_argument("--force", action="store_true", help="beside others; not recorded")
    given = arguments.parse_args()
    if given.only:
        print(seconds_of_a_step(given.only, given.steps))
        return
    refuse_if_busy(force=given.force)
    recipe = RECIPES["speedrun-cifar10"]
    steps = {
        "published": EPOCHS * IMAGES // BATCH,
        "recipe": (recipe.epochs or 0) * IMAGES // recipe.batch_size,
    }
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(given.rounds):
        for name, seconds in found.items():
            command = [sys.executable, __file__, "--only", name, "--steps", str(given.steps)]
            seconds.append(float(subprocess.check_output(command, text=True)))
    totals = {name: statistics.median(found[name]) * steps[name] for name in steps}
    compared = {
        name: [
            one * steps[name] / (ours * steps["recipe"])
            for one, ours in zip(found[name], found["recipe"], strict=True)
        ]
        for name in steps
    }
    for name in steps:
        append(
            "speedrun",
            {
                "what": name,
                "command": f"python benchmarks/speedrun.py --rounds {given.rounds}",
                "rounds": given.rounds,
                "step_seconds": round(statistics.median(found[name]), 3),
                "steps": steps[name],
                "seconds": round(totals[name], 1),
                "over_recipe": round(statistics.median(compared[name]), 2),
                "least": round(min(compared[name]), 2),
                "most": round(max(compared[name]), 2),
            },
            force=given.force,
        )


def seconds_of_a_step(name: str, steps: int) -> float:
    """The median over some steps, after two that are not counted."""
    torch.manual_seed(0)
    recipe = RECIPES["speedrun-cifar10"]
    layout = torch.contiguous_format
    network: nn.Module = Published()
    batch = BATCH
    if name == "recipe":
        keep_memory()
        layout, batch = torch.channels_last, recipe.batch_size
        network = create_model(recipe.model, num_classes=10)
        next(network.parameters()).requires_grad_(False)
    network.to(memory_format=layout).train()
    groups = muon_groups(network, 0.0, norm_and_bias=False, share=1.0)
    optimizer = Muon(groups, lr=0.1, momentum=0.6, nesterov=True)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (batch,))
    seconds = []
    for _ in range(2 + steps):
        began = time.monotonic()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.2).backward()
        optimizer.step()
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
