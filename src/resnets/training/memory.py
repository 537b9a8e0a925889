"""How many images of a batch fit into the memory at once, from what a small step takes.

A step is tried with two small numbers of images, in a process of its own, and what the most
memory was is read off the system: a line through the two leads to the batch. Adding up the tensors
that autograd saves would need no process, but tells a third to a half too little: it does not see
the kernels' buffers, the gaps in the allocator's heap, or what checkpointed blocks compute again.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from resnets.config import AUTO, TrainConfig
from resnets.errors import ConfigError
from resnets.machine import available_memory
from resnets.models import Network, create_model
from resnets.models.checkpointing import Recomputing

USED = 0.75
"""The share of the free memory that a step may take: the rest is for batches in preparation, for
scoring, and for what else the machine does."""
MORE_COPIES = 2
"""Of the weights, beside a step's: the best so far, and the network that scores."""


@dataclass(frozen=True)
class StepMemory:
    """What a training step takes, in bytes."""

    fixed: float
    """Whatever the number of images: weights, gradients, momenta, averages, libraries' buffers."""
    per_image: float
    free: int
    """What the device, or the machine, can still give."""

    def images(self) -> int:
        """How many images a step can have."""
        return max(0, math.floor((USED * self.free - self.fixed) / self.per_image))


def with_parts(
    config: TrainConfig, asked: dict[str, Any], reasons: list[str], *, classes: int
) -> TrainConfig:
    """The part of a batch that goes through the network at once, by what memory there is.

    Appends to ``reasons`` what a person has to know of it. Raises ``ConfigError`` where not even
    two images fit, and where the memory cannot be measured.
    """
    network = _shapes_of(config, classes)
    if config.checkpoint_activations and not any(_of_kind(network, Recomputing)):
        reasons.append(f"checkpoint_activations has no effect: {config.model} has no blocks")
    if asked.get("micro_batch") == AUTO:
        weights = sum(parameter.nbytes for parameter in network.parameters())
        memory = step_memory(config, classes)
        memory = dataclasses.replace(memory, fixed=memory.fixed + MORE_COPIES * weights)
        config = dataclasses.replace(config, micro_batch=_fitting(config, memory))
        reasons.append(
            f"a step takes {_told(memory.fixed)} and {_told(memory.per_image)} for each image "
            f"(measured), and {_told(memory.free)} are free: "
            + (f"parts of {config.micro_batch} images" if config.micro_batch else "no parts needed")
        )
    if config.micro_batch and config.micro_batch < config.batch_size:
        sentence = f"batches of {config.batch_size} go in parts of at most {config.micro_batch}"
        if any(_of_kind(network, nn.modules.batchnorm._BatchNorm)):
            sentence += ", and batch norm averages over a part, not over the batch"
        reasons.append(sentence)
    return config


def step_memory(config: TrainConfig, classes: int) -> StepMemory:
    """Try small steps of a resolved run, elsewhere. Raises ``ConfigError`` where that fails."""
    told: dict[str, Any] = {}
    problem = f"on {config.device} this system tells nothing"
    if config.device == "cuda" or (config.device == "cpu" and available_memory() is not None):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "resnets.training.probe"],
            input=json.dumps({"config": dataclasses.asdict(config), "classes": classes}),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            told = json.loads(done.stdout.splitlines()[-1])
        last = done.stderr.strip().rpartition("\n")[2]
        problem = last or f"a step of few images ended with exit code {done.returncode}"
    if not told:
        raise ConfigError(
            f"the memory of a step could not be measured: {problem}",
            fix="give --batch-size a number, or --set micro_batch=NUMBER",
        )
    free = available_memory() if told["free"] is None else told["free"]
    (few, low), (more, high) = told["peaks"]
    per_image = max(1.0, (high - low) / (more - few))
    return StepMemory(max(0.0, high - per_image * more - told["before"]), per_image, free or 0)


def _fitting(config: TrainConfig, memory: StepMemory) -> int | None:
    """The largest part, of equal ones; ``None``: the whole batch."""
    most, batch = memory.images(), config.batch_size
    if most >= batch:
        return None
    if most < 2:
        lighter = "" if config.checkpoint_activations else "--checkpoint-activations, "
        raise ConfigError(
            f"no two images fit: a step takes {_told(memory.fixed)} and {_told(memory.per_image)} "
            f"for each image, and of {_told(memory.free)} that are free it may take {USED:.0%}",
            fix=f"{lighter}a smaller --image-size or a smaller --model",
        )
    return max(2, math.ceil(batch / math.ceil(batch / most)))


def _shapes_of(config: TrainConfig, classes: int) -> Network:
    """The run's network without memory."""
    with torch.device("meta"):
        return create_model(
            config.model, num_classes=classes, in_channels=len(config.mean or "RGB")
        )


def _of_kind(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]


def _told(size: float) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.1f} MB"
