"""How fast this machine runs a network: ours beside plain PyTorch, in turns.

Plain is what most write: float32, the default memory layout, ``torch.optim.SGD``. Ours is what
``resnets train`` does in each step, or what ``resnets predict`` runs.
"""

import dataclasses
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets import __version__
from resnets.config import Precision, Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Batch
from resnets.description import describe
from resnets.engines import Engine, Pipeline
from resnets.engines.pytorch import TorchEngine
from resnets.errors import ConfigError
from resnets.machine import bf16_gains, default_threads, load_average, processor, usable_device
from resnets.models import Network, create_model
from resnets.prediction import Classifier, EngineName, load
from resnets.prediction.exports import is_export
from resnets.training.loop import Task, take_step
from resnets.training.preparing import state_of
from resnets.training.recipes import recipe
from resnets.training.setup import SMALL_SIDE
from resnets.training.state import TrainingState
from resnets.training.stopping import StopWatch

TURN = 0.5
"""Seconds after which it is the other's turn; a turn has at least one batch."""
TRAINING_PASSES = 3
"""Training costs the forward pass three times: also two products in the backward pass."""

Format = Literal["fp32", "bf16"]
Step = Callable[[], object]
"""Takes one batch through."""


@dataclass(frozen=True)
class Speed:
    """Images per second over the turns that were measured."""

    median: float
    min: float
    max: float
    turns: int

    @classmethod
    def of(cls, rates: Sequence[float]) -> "Speed":
        """The speed that images per second of single turns amount to."""
        return cls(median(rates), min(rates), max(rates), len(rates))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What was measured, on what."""

    model: str
    input_size: tuple[int, int, int]
    batch_size: int
    training: bool
    precision: str
    """Of ours: fp32, bf16, or int8 of an exported model."""
    engine: str
    """What runs ours: pytorch, onnxruntime or openvino."""
    device: str
    threads: int
    machine: str
    load: float | None
    """Processes that ran or waited in the minute before; ``None`` where that is not known."""
    versions: dict[str, str]
    ours: Speed
    plain: Speed
    multiply_adds: int
    """Of one image: one forward pass, or in training forward and backward."""

    @property
    def ratio(self) -> float:
        """How many times faster than plain PyTorch."""
        return self.ours.median / self.plain.median

    @property
    def multiply_adds_per_second(self) -> float:
        """What ours does at its median speed."""
        return self.ours.median * self.multiply_adds

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        told = dataclasses.asdict(self) | {"input_size": list(self.input_size)}
        derived = ("ratio", "multiply_adds_per_second")
        return told | {name: getattr(self, name) for name in derived}


def benchmark(
    model: str | Path,
    *,
    input_size: Sequence[int] | None = None,
    batch_size: int = 16,
    train: bool = False,
    precision: Precision = "auto",
    seconds: float = 10.0,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineName | None = None,
) -> Benchmark:
    """Images per second of a network on this machine, ours and plain PyTorch's in turns.

    Weights are drawn and pixels are noise: speed depends on neither.

    Args:
        model: a name from the table, with options or without; or a run folder, or a
            sealed or exported model.
        input_size: channels, height, width; by default what the network was made for.
        train: whole optimizer steps, with the augmentation that runs in them and weight averaging,
            in place of answers.
        precision: auto is what the commands choose: bf16 for training where it gains, else fp32.
        seconds: time to measure, after one batch of each that is not counted.
        threads: for the time of the measurement; by default one per core.
        engine: what runs a model that is given by its folder, as ``resnets.prediction.load`` takes
            it. An exported model runs as it is, weights and all.

    Raises ``UnknownName``, ``ModelFileError``, and ``ConfigError`` for what cannot be.
    """
    if seconds <= 0 or batch_size < 1 + train:
        raise ConfigError(
            f"seconds={seconds:g}, batch_size={batch_size}",
            fix="give seconds above zero and at least one image, two for training",
        )
    described = describe(model, input_size)
    exported = _exported(Path(model), engine, threads)
    if exported is not None:
        if train or input_size or precision != "auto":
            raise ConfigError(
                f"{model} runs as an exported model, which answers as it was exported",
                fix="leave out --train, --input and --precision, or give the network's name",
            )
        device = "cpu"
    device = usable_device(device)
    if precision == "auto":
        precision = "bf16" if train and bf16_gains(device) else "fp32"
    load, before = load_average(), torch.get_num_threads()
    networks = [
        create_model(
            described.architecture,
            num_classes=described.classes,
            in_channels=described.cost.input_size[0],
            seed=0,
        )
        for _ in range(2)
    ]
    pixels = noise(batch_size, described.cost.input_size)
    torch.set_num_threads(threads or default_threads())
    try:
        if train:
            steps = {
                "ours": training_step(networks[0], described.classes, pixels, precision, device),
                "plain": plain_training_step(networks[1], pixels, device),
            }
        else:
            images = pixels / 255
            ours = (
                answering(networks[0], images, precision, device)
                if exported is None
                else exported_answering(exported.engine, images)
            )
            steps = {
                "ours": ours,
                "plain": plain_answering(networks[1], images, device),
            }
        rates = in_turns(steps, batch_size, seconds, device)
    finally:
        used = torch.get_num_threads()
        torch.set_num_threads(before)
    return Benchmark(
        model=str(model),
        input_size=described.cost.input_size,
        batch_size=batch_size,
        training=train,
        precision=exported.card["export"]["precision"] if exported else precision,
        engine=getattr(exported.engine, "runtime", "pytorch") if exported else "pytorch",
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        threads=used,
        machine=processor(),
        load=load,
        versions={
            "resnets": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        ours=Speed.of(rates["ours"]),
        plain=Speed.of(rates["plain"]),
        multiply_adds=described.cost.multiply_adds * (TRAINING_PASSES if train else 1),
    )


def in_turns(
    steps: Mapping[str, Step], images: int, seconds: float, device: str
) -> dict[str, list[float]]:
    """Images per second of every turn: each of ``steps`` has one after the other, again and again.

    Whatever else the machine does meets all of them alike. Each has at least one turn.

    Args:
        images: that a step takes.
    """
    for step in steps.values():
        timed(step, device)  # the first one also allocates, and chooses kernels
    rates: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while not all(rates.values()) or time.perf_counter() < end:
        for name, step in steps.items():
            took, count = timed(step, device), 1
            while took < TURN:
                took, count = took + timed(step, device), count + 1
            rates[name].append(count * images / took)
    return rates


def timed(step: Step, device: str) -> float:
    """Seconds that one step takes, until the device is done."""
    began = time.perf_counter()
    step()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - began


def noise(images: int, size: tuple[int, int, int]) -> Tensor:
    """(N, C, H, W) float32, 0 to 255, the same every time."""
    return torch.rand(images, *size, generator=torch.Generator().manual_seed(0)) * 255


def training_step(
    network: Network,
    classes: int,
    pixels: Tensor,
    precision: Format,
    device: str,
    *,
    ema_decay: float | None = None,
) -> Step:
    """A step of ``resnets train``; see ``training_of``."""
    task, state = training_of(network, classes, pixels.shape, precision, device, ema_decay)
    batch = Batch(pixels, torch.arange(len(pixels)) % classes)
    watch = StopWatch(save=lambda: None)
    return lambda: take_step(task, state, batch, 1e-3, watch)


def training_of(
    network: Network,
    classes: int,
    shape: Sequence[int],
    precision: Format,
    device: str,
    ema_decay: float | None = None,
) -> tuple[Task, TrainingState]:
    """What a run of the default recipe for images of that size trains with.

    Args:
        shape: (N, C, H, W) of a batch.
        ema_decay: of the weight average, 0 for none; by default the recipe's.
    """
    count, channels, height, width = shape
    base = recipe("default-small" if max(height, width) <= SMALL_SIDE else "default-large")
    config = dataclasses.replace(
        base,
        batch_size=count,
        precision=precision,
        channels_last=True,
        device=device,
        ema_decay=base.ema_decay if ema_decay is None else ema_decay,
    )
    preprocess = Preprocess(
        input_size=(channels, height, width), mean=(0.5,) * channels, std=(0.25,) * channels
    )
    network = network.train().to(device).to(memory_format=torch.channels_last)
    task = Task(config, preprocess, Augmentation.of(config), classes)
    return task, state_of(task, network, steps_per_epoch=1)


def plain_training_step(network: nn.Module, pixels: Tensor, device: str) -> Step:
    """The step of most training loops: float32, (N, C, H, W) as it is, SGD with momentum."""
    network.train().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    images = pixels.to(device) / 255
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def answering(network: nn.Module, images: Tensor, precision: Format, device: str) -> Step:
    """What ``resnets predict`` runs on a batch."""
    engine = TorchEngine(network, device, precision)
    return lambda: engine(images)


def exported_answering(engine: Engine | Pipeline, images: Tensor) -> Step:
    """What an exported model's network runs on a batch that is prepared."""
    if isinstance(engine, Pipeline):
        batch = images.numpy()
        return lambda: engine.logits(batch)
    return lambda: engine(images)


def _exported(path: Path, engine: EngineName | None, threads: int | None) -> Classifier | None:
    """The exported model that is to run; ``None`` where a network is."""
    if not is_export(path) and engine in (None, "pytorch"):
        return None
    classifier = load(path, engine=engine, threads=threads)
    return classifier if "export" in classifier.card else None


def plain_answering(network: nn.Module, images: Tensor, device: str) -> Step:
    """The network as it is, in float32, without gradients."""
    network.eval().to(device)

    def step() -> Tensor:
        with torch.no_grad():
            return network(images.to(device)).cpu()

    return step
