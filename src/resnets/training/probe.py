"""Tries small training steps and tells their memory: ``python -m resnets.training.probe``.

Reads a resolved ``TrainConfig`` and the number of classes as JSON, and prints bytes as JSON.
"""

import json
import sys

import torch

from resnets.config import TrainConfig
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Batch
from resnets.machine import peak_memory
from resnets.training.loop import Task, take_step
from resnets.training.preparing import state_of
from resnets.training.scoring import build_network
from resnets.training.setup import preprocess_of
from resnets.training.stopping import StopWatch

PLAIN_TO_SEE = 96 * 2**20
"""Bytes more, from which on the difference of two sizes is no accident of the allocator."""
REPEATS = 3
"""Steps of a size: from the second on there are momenta, and the heap has its gaps."""


def main() -> None:
    """From standard input to standard output."""
    given = json.load(sys.stdin)
    config = TrainConfig(**given["config"])
    assert config.threads  # noqa: S101
    torch.set_num_threads(config.threads)
    torch.backends.cudnn.deterministic = True
    free = None
    if config.device == "cuda":
        torch.cuda.init()
        free = torch.cuda.mem_get_info()[0]
    print(json.dumps(measured(config, given["classes"]) | {"free": free}))


def measured(config: TrainConfig, classes: int) -> dict[str, object]:
    """The most memory before the first step, and with two numbers of images.

    From two images on the number is doubled until it shows, so that no step takes much more than
    the one before it.
    """
    before = peak(config.device)
    preprocess = preprocess_of(config)
    task = Task(
        config=config,
        preprocess=preprocess,
        augmentation=Augmentation.of(config),
        classes=classes,
        mean_image=torch.zeros(preprocess.input_size) if config.mean_image else None,
    )
    state = state_of(task, build_network(task), steps_per_epoch=1.0)
    stop = StopWatch(lambda: None)

    def peak_of(images: int) -> int:
        generator = torch.Generator().manual_seed(images)
        for _ in range(REPEATS):
            shape = (images, *preprocess.input_size)
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            labels = torch.randint(classes, (images,), generator=generator)
            take_step(task, state, Batch(pixels, labels), 0.0, stop)
        return peak(config.device)

    few, most = 2, max(4, config.batch_size)
    low = high = peak_of(few)
    more = few
    while high - low < PLAIN_TO_SEE and more < most:
        few, low = more, high
        more = min(2 * few, most)
        high = peak_of(more)
    return {"before": before, "peaks": [[few, low], [more, high]]}


def peak(device: str) -> int:
    """The most bytes so far, of the GPU where the run uses one."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    return peak_memory() or 0


if __name__ == "__main__":
    main()
