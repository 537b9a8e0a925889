"""From what was asked for, the data and the machine to one resolved ``TrainConfig``.

Every choice made here comes back as a sentence for the person who did not make it.
"""

import dataclasses
import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnets.config import Preprocess, TrainConfig
from resnets.data.sources import ArrayImages, Dataset, FileImages, Split
from resnets.data.transforms import to_pixels
from resnets.errors import ConfigError, DataError
from resnets.models import SPECS, create_model
from resnets.training.recipes import recipe

SMALL_SIDE = 64
"""Images up to this many pixels a side go to a CIFAR network."""
PHOTO_SIZE = 128
"""Input side for photos on a CPU; a GPU takes 224 (arXiv:1512.03385, Section 3.4)."""
FEWEST_STEPS = 1_000
"""A default run has at least so many steps, however small the data set."""
MEASURED = 1_000
"""Images of many shapes of which mean and std are measured."""


def resolve(asked: dict[str, Any], dataset: Dataset) -> tuple[TrainConfig, list[str]]:
    """Fill in the settings that were not asked for.

    Args:
        asked: settings by their names in ``TrainConfig``.
        dataset: read, with its validation part already held out.

    Returns:
        The settings, and a sentence for each choice made.

    Raises:
        ConfigError: settings that do not go together.
        DataError: too few images.
    """
    train = dataset.splits["train"]
    if len(train) < 2:
        raise DataError(
            f"{dataset.name} has {len(train)} training image(s)", fix="add images: two are needed"
        )
    side = typical_side(train)
    base = recipe(_recipe_name(asked.get("recipe", "auto"), side))
    if any(asked.get(name) is not None for name in ("epochs", "budget", "steps")):
        base = dataclasses.replace(base, epochs=None, steps=None)
    config = dataclasses.replace(base, **(asked | {"recipe": base.recipe, "data": dataset.source}))
    reasons = []
    choices: dict[str, Any] = {}

    if config.model == "auto":
        choices["model"] = "resnet20" if side <= SMALL_SIDE else "resnet18"
        kind = "a CIFAR" if side <= SMALL_SIDE else "an ImageNet"
        reasons.append(f"model {choices['model']}: {kind} network, for images of {side} pixels")
    model = choices.get("model", config.model)
    device = choices["device"] = _device(config.device)
    if config.image_size is None:
        choices["image_size"] = _image_size(side, model, device)
        if side > SMALL_SIDE:
            reasons.append(f"image size {choices['image_size']}: on {device}; --image-size changes it")
    if config.warmup_steps == 0 and base.recipe == "paper-cifar" and model == "resnet110":
        choices["warmup_steps"] = 400  # arXiv:1512.03385, Section 4.2
    if "flip" not in asked and dataset.source == "mnist":
        choices["flip"] = False
        reasons.append("no flips: a mirrored digit is another sign")

    if "batch_size" not in asked:
        largest = max(2, 2 ** int(math.log2(max(2, len(train) // 8))))
        choices["batch_size"] = min(config.batch_size, max(8, largest), len(train))
    elif config.batch_size > len(train):
        choices["batch_size"] = len(train)
        reasons.append(f"batch size {len(train)}: there are no more training images")
    batch = choices.get("batch_size", config.batch_size)
    asked_length = any(asked.get(name) is not None for name in ("epochs", "budget", "steps"))
    if config.epochs and not asked_length and config.epochs * len(train) / batch < FEWEST_STEPS:
        choices["epochs"] = math.ceil(FEWEST_STEPS * batch / len(train))
        reasons.append(f"{choices['epochs']} epochs: {FEWEST_STEPS:,} steps of {batch} images")

    fast = bf16_gains(device)
    if config.precision == "auto":
        choices["precision"] = "bf16" if fast else "fp32"
        if fast:
            reasons.append("bf16 training: this processor gains from it; --precision fp32 turns it off")
    if config.channels_last is None:
        choices["channels_last"] = True
    if config.threads is None:
        choices["threads"] = available_cores()
    if config.workers is None:
        choices["workers"] = min(8, available_cores())
    config = dataclasses.replace(config, **choices)
    channels = 1 if is_grey(train) else 3
    return _with_statistics(config, train, channels), reasons


def preprocess_of(config: TrainConfig) -> Preprocess:
    """The preprocessing a resolved run trains with and its sealed model carries."""
    assert config.image_size and config.mean and config.std  # noqa: S101
    return Preprocess(
        input_size=(len(config.mean), config.image_size, config.image_size),
        mean=config.mean,
        std=config.std,
        mean_image=config.mean_image,
    )


def mean_image_of(split: Split, preprocess: Preprocess) -> Tensor:
    """The per-pixel mean of preprocessed training images, (C, H, W) (He et al., Section 4.2)."""
    plain = dataclasses.replace(preprocess, mean_image=False)
    channels, height, width = preprocess.input_size
    total = torch.zeros(channels, height, width, dtype=torch.float64)
    mean = torch.tensor(preprocess.mean)[:, None, None]
    std = torch.tensor(preprocess.std)[:, None, None]
    for pixels in _pixels_of(split, plain, len(split)):
        total += ((pixels.double() / 255 - mean) / std).sum(0)
    return (total / len(split)).float()


def typical_side(split: Split) -> int:
    """The median over the images of the longer side, in pixels (at most 1,000 are looked at)."""
    if isinstance(split.images, ArrayImages):
        return max(split.images.array.shape[1:3])
    chosen = _spread(len(split), MEASURED)
    return int(np.median([max(_shape(split, int(index))) for index in chosen]))


def is_grey(split: Split) -> bool:
    """Whether the images have one channel in memory."""
    return isinstance(split.images, ArrayImages) and split.images.array.shape[3] == 1


def available_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bf16_gains(device: str) -> bool:
    """Whether training in bf16 is faster here: the processor multiplies bf16 by itself."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def _recipe_name(name: str, side: int) -> str:
    if name in ("auto", "default"):
        return "default-small" if side <= SMALL_SIDE else "default-large"
    return name


def _device(name: str) -> str:
    available = ["cpu"]
    if torch.cuda.is_available():
        available.append("cuda")
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return available[-1]
    if name not in available:
        raise ConfigError(
            f"device {name!r} is not available here", fix=f"use --device {' or '.join(available)}"
        )
    return name


def _image_size(side: int, model: str, device: str) -> int:
    if model in SPECS and SPECS[model].stem == "cifar" and side <= SMALL_SIDE:
        return side
    if side <= SMALL_SIDE:
        return max(side, 32)
    return min(side, 224 if device != "cpu" else PHOTO_SIZE)


def _with_statistics(config: TrainConfig, train: Split, channels: int) -> TrainConfig:
    if config.mean is not None and len(config.mean) != channels:
        # A recipe for colour images on grey ones: the channels' average, as grey is one.
        mean = (sum(config.mean) / len(config.mean),) * channels
        std = (sum(config.std or (1.0,)) / len(config.std or (1.0,)),) * channels
        return dataclasses.replace(config, mean=mean, std=std)
    if config.mean is not None and config.std is not None:
        return config
    assert config.image_size  # noqa: S101
    plain = Preprocess(
        input_size=(channels, config.image_size, config.image_size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    count, total, squares = 0, torch.zeros(channels).double(), torch.zeros(channels).double()
    for pixels in _pixels_of(train, plain, MEASURED if not _in_memory(train) else len(train)):
        values = pixels.double() / 255
        count += values.numel() // channels
        total += values.sum((0, 2, 3))
        squares += (values**2).sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean**2).clamp_min(1e-6).sqrt()
    return dataclasses.replace(
        config,
        mean=config.mean or tuple(round(value, 4) for value in mean.tolist()),
        std=config.std or tuple(max(0.001, round(value, 4)) for value in std.tolist()),
    )


def _pixels_of(split: Split, preprocess: Preprocess, most: int) -> "list[Tensor] | Any":
    """Preprocessed pixels of at most ``most`` images spread over a split, in batches."""
    if isinstance(split.images, ArrayImages):
        for start in range(0, len(split), 1_000):
            yield to_pixels(torch.from_numpy(split.images.array[start : start + 1_000]), preprocess)
        return
    for index in _spread(len(split), most):
        yield to_pixels(torch.from_numpy(split.images[int(index)])[None], preprocess)


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _in_memory(split: Split) -> bool:
    return isinstance(split.images, ArrayImages)


def _shape(split: Split, index: int) -> tuple[int, int]:
    if isinstance(split.images, FileImages):
        from resnets.decoding import read_header

        header = read_header(split.images.root / split.images.paths[index])
        return header.height, header.width
    image = split.images[index]
    return image.shape[0], image.shape[1]


__all__ = [
    "available_cores",
    "bf16_gains",
    "create_model",
    "mean_image_of",
    "preprocess_of",
    "resolve",
    "typical_side",
]
