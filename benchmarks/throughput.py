"""Training images per second: ours, the plain loop and timm's, in turns on one machine.

    python benchmarks/throughput.py --case resnet20@32        # or resnet18@96, resnet50@224
    python benchmarks/throughput.py --case resnet20@32 --threads 1

Prints and appends to results/throughput.csv a row for each way to train: the median, least and
greatest images per second over the rounds, how many times the plain loop's median that is, and its
share of what the machine does in a large bf16 convolution, forward and backward, measured in the
same rounds. Two FLOP count as one multiply-add, and training as three forward passes. A round is a
fresh process for each way, one after the other; all of it takes about four minutes.

The ways: ``plain`` is torchvision's network (for ResNet-20 the one below, from the paper) in fp32
and the default layout with ``torch.optim.SGD``; ``timm`` its network and optimizer with
channels_last and bf16; ``ours`` the step of ``resnets train``, augmentation of the batch
included, with and without weight averaging. A package that is not installed is left out, and said.
``--peer DIR`` looks for packages in DIR first. ``--peer-module NAME`` is one more way: a module
with ``training_step(model, pixels, classes)``, which returns a function that takes one step.
"""

import argparse
import contextlib
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from recording import append, refuse_if_busy
from torch import Tensor, nn

from resnets.benchmarking import (
    TRAINING_PASSES,
    Step,
    noise,
    plain_training_step,
    timed,
    training_step,
)
from resnets.cost import measure
from resnets.machine import available_cores, bf16_gains, keep_memory, load_average, usable_device
from resnets.models import create_model


class Case(NamedTuple):
    """A network, the side of its images, its batch and its classes."""

    model: str
    side: int
    batch_size: int
    classes: int


CASES = {
    "resnet20@32": Case("resnet20", 32, 256, 10),
    "resnet18@96": Case("resnet18", 96, 64, 1000),
    "resnet50@224": Case("resnet50", 224, 16, 1000),
}
ROUNDS = 3
SECONDS = 7.0
"""Measured in each round, for each way."""
PEAK = (32, 256, 28)
"""Images, channels in and out, side: a 3x3 convolution of 88 GFLOP forward and backward."""


class PaperBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut padded with zeros (arXiv:1512.03385, option A)."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, channels - before
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:
            half = self.more // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(out + x)


def paper_resnet20(classes: int) -> nn.Module:
    """ResNet-20 as Section 4.2 of the paper says it, and as most write it."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for channels in (16, 32, 64):
        for block in range(3):
            layers.append(PaperBlock(before, channels, 2 if block == 0 and channels > 16 else 1))
            before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def ours(case: Case, pixels: Tensor, device: str, *, averaged: bool) -> Step:
    keep_memory()  # as `resnets train` does
    network = create_model(case.model, num_classes=case.classes, seed=0)
    precision = "bf16" if bf16_gains(device) else "fp32"
    decay = 0.999 if averaged else 0.0
    return training_step(network, case.classes, pixels, precision, device, ema_decay=decay)


def plain(case: Case, pixels: Tensor, device: str) -> Step:
    if case.model == "resnet20":
        return plain_training_step(paper_resnet20(case.classes), pixels, device)
    import torchvision

    network = getattr(torchvision.models, case.model)(num_classes=case.classes)
    return plain_training_step(network, pixels, device)


def timm_style(case: Case, pixels: Tensor, device: str) -> Step:
    """What timm's train.py does with --channels-last --amp --amp-dtype bfloat16 --opt sgd."""
    import timm
    import timm.loss
    import timm.optim

    if case.model == "resnet20":  # timm has no network for CIFAR
        network = paper_resnet20(case.classes)
    else:
        network = timm.create_model(case.model, num_classes=case.classes)
    network = network.train().to(device, memory_format=torch.channels_last)
    optimizer = timm.optim.create_optimizer_v2(
        network, opt="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4
    )
    loss_of = timm.loss.LabelSmoothingCrossEntropy(0.1)
    images = (pixels / 255).to(device, memory_format=torch.channels_last)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def convolution(device: str) -> tuple[Step, float]:
    """A large bf16 convolution, forward and backward, and its GFLOP."""
    count, channels, side = PEAK
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    conv = conv.to(device, torch.bfloat16, memory_format=torch.channels_last)
    images = torch.randn(count, channels, side, side, device=device, dtype=torch.bfloat16)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    slope = torch.ones_like(images)

    def step() -> None:
        images.grad = conv.weight.grad = None
        conv(images).backward(slope)

    return step, TRAINING_PASSES * 2 * count * (channels * side * 3) ** 2 / 1e9


WAYS: dict[str, Callable[[Case, Tensor, str], Step]] = {
    "plain": plain,
    "timm": timm_style,
    "ours": lambda *given: ours(*given, averaged=False),
    "ours, averaged": lambda *given: ours(*given, averaged=True),
}


def measured(way: str, given: argparse.Namespace) -> float:
    """The median rate of a way's steps over some seconds: images/s, or GFLOP/s of the peak."""
    torch.set_num_threads(given.threads)
    case, device = case_of(given), given.device
    if way == "peak":
        step, amount = convolution(device)
    else:
        pixels, amount = noise(case.batch_size, (3, case.side, case.side)), case.batch_size
        if way in WAYS:
            step = WAYS[way](case, pixels, device)
        else:
            step = importlib.import_module(way).training_step(case.model, pixels, case.classes)
    timed(step, device)
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(took) < 2 or time.perf_counter() < end:
        took.append(timed(step, device))
    return amount / statistics.median(took)


def in_a_process(way: str) -> float | None:
    """``measured`` in a fresh process; ``None`` where a package is missing."""
    done = subprocess.run(
        [sys.executable, *sys.argv, "--way", way], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{way}:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    if isinstance(found, str):
        print(f"{way} is left out: {found}")
        return None
    return found


def versions() -> str:
    """Of the peers, as far as they are there."""
    found = {}
    for name in ("torchvision", "timm"):
        with contextlib.suppress(ImportError):
            found[name] = importlib.import_module(name).__version__
    return ", ".join(f"{name} {version}" for name, version in found.items())


def case_of(given: argparse.Namespace) -> Case:
    case = CASES[given.case]
    return case._replace(batch_size=given.batch_size or case.batch_size)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--case", choices=CASES, required=True)
    arguments.add_argument("--threads", type=int, default=available_cores())
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--batch-size", type=int, help="by default 256, 64 and 16")
    arguments.add_argument("--peer", type=Path, help="a folder to look for packages in first")
    arguments.add_argument("--peer-module", help="a module with training_step, to measure as well")
    arguments.add_argument("--force", action="store_true", help="print only, busy or not")
    arguments.add_argument("--way", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    given.device = usable_device(given.device)
    if given.peer:
        sys.path.insert(0, str(given.peer.absolute()))
    if given.way:
        try:
            print(json.dumps(measured(given.way, given)))
        except ModuleNotFoundError as missing:
            print(json.dumps(str(missing)))
        return

    refuse_if_busy(force=given.force)
    load = load_average()
    ways = ["peak", *WAYS, *([given.peer_module] if given.peer_module else [])]
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in list(rates):
            if (rate := in_a_process(way)) is None:
                del rates[way]
            else:
                rates[way].append(rate)

    case = case_of(given)
    with torch.device("meta"):
        cost = measure(create_model(case.model), (3, case.side, case.side))
    gflop = TRAINING_PASSES * 2 * cost.multiply_adds / 1e9
    peak = statistics.median(rates.pop("peak"))
    command = f"python benchmarks/throughput.py --case {given.case} --threads {given.threads}"
    for way, found in rates.items():
        middle = statistics.median(found)
        row = {
            "case": given.case,
            "way": way,
            "command": command,
            "device": torch.cuda.get_device_name() if given.device == "cuda" else given.device,
            "threads": given.threads,
            "batch_size": case.batch_size,
            "rounds": ROUNDS,
            "median_images_per_second": round(middle, 1),
            "min": round(min(found), 1),
            "max": round(max(found), 1),
            "times_plain": round(middle / statistics.median(rates["plain"]), 2)
            if "plain" in rates
            else "",
            "peak_gflops": round(peak),
            "share_of_peak": round(middle * gflop / peak, 3),
            "peers": versions(),
            "load_before": None if load is None else round(load, 2),
        }
        append("throughput", row, force=given.force)


if __name__ == "__main__":
    main()
