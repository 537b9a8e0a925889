"""From what was asked for, the data and the machine to one resolved ``TrainConfig``.

Every choice made here comes back as a sentence for the person who did not make it.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from resnets.config import AUTO, Preprocess, TrainConfig
from resnets.data.augmentation import Augmentation
from resnets.data.sources import Dataset, FileImages, Split
from resnets.errors import ConfigError, DataError
from resnets.machine import available_cores, bf16_gains, default_threads, usable_device
from resnets.models import create_model
from resnets.models.specs import spec_of
from resnets.training.images import is_grey, statistics_of, typical_side
from resnets.training.memory import with_parts
from resnets.training.muon import orthogonal_weights
from resnets.training.recipes import recipe
from resnets.training.transfer import ALL, Start
from resnets.training.whitening import can_whiten, first_convolution

SMALL_SIDE = 64
"""Images up to this many pixels a side go to a CIFAR network."""
PHOTO_SIZE = 128
"""Input side for photos on a CPU; a GPU takes 224 (arXiv:1512.03385, Section 3.4)."""
AVERAGE = 0.999
"""Decay of the weight average that is sealed where nothing validates."""
BROUGHT = ("mean", "std", "mean_image", "interpolation", "crop_pct", "crop_mode")
"""What ``start_from`` brings beside the input's size."""
LENGTHS = ("epochs", "budget", "steps")
FINE_TUNING = 0.2
"""The share of a recipe's learning rate at which weights are trained further."""
WITHOUT_NORM = 0.05
"""The share for networks that norms do not steady: 0.01 (arXiv:1409.1556, Section 3.1) of 0.2."""
PLAIN: dict[str, Any] = {
    "crop": "none",
    "flip": False,
    "auto_augment": "none",
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
"""The settings under which an image looks the same in every epoch."""
FEWEST_STEPS = 1_000
"""A default run has at least so many steps, however small the data set."""


def resolve(
    asked: dict[str, Any], dataset: Dataset, start: Start | None = None
) -> tuple[TrainConfig, list[str]]:
    """Fill in the settings that were not asked for.

    Args:
        asked: settings by their names in ``TrainConfig``; ``micro_batch`` may be ``"auto"``.
        dataset: read, with its validation part already held out.
        start: the weights to begin with, which bring their network and their preprocessing.

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
    if any(name in asked for name in LENGTHS):
        base = dataclasses.replace(base, epochs=None, steps=None)
    given = asked | {"recipe": base.recipe, "data": dataset.source}
    if asked.get("micro_batch") == AUTO:  # what fits is known when everything else is
        del given["micro_batch"]
    config = dataclasses.replace(base, **given)
    reasons: list[str] = []
    if start:
        config = _with_start(config, asked, start, reasons)
    else:
        config = dataclasses.replace(config, freeze="")
    config = _with_machine(config, asked, reasons)
    config = _with_network(config, asked, side, reasons)
    config = _with_length(config, asked, len(train), reasons)
    config = _with_rate(config, asked, base, reasons)
    if "val" not in dataset.splits and not config.ema_decay:
        config = dataclasses.replace(config, ema_decay=AVERAGE)
        reasons.append(f"nothing validates: weights averaged with decay {AVERAGE} are sealed")
    if dataset.source == "mnist" and "flip" not in asked:
        config = dataclasses.replace(config, flip=False)
        reasons.append("no flips: a mirrored digit is another sign")
    if start and start.preprocess:
        channels = start.preprocess.input_size[0]
    else:
        channels = 1 if is_grey(train) else 3
    config = _with_statistics(config, train, channels)
    _check_ingredients(config)
    preprocess_of(config)  # raises for what no image could go through
    if config.checkpoint_activations or "micro_batch" in asked:
        config = with_parts(config, asked, reasons, classes=len(dataset.classes))
    return config, reasons + without_effect(asked, config, dataset)


def without_effect(asked: dict[str, Any], config: TrainConfig, dataset: Dataset) -> list[str]:
    """A sentence for each setting that was asked for and changes nothing."""
    missing = {
        "patience": "val" not in dataset.splits and "nothing validates",
        "lr_drops": config.schedule != "steps" and f"the schedule is {config.schedule}",
        "crop_scale": config.crop != "resized" and f"the crop is {config.crop}",
        "micro_batch": (config.micro_batch or 0) >= config.batch_size
        and f"a batch has {config.batch_size} images",
        "orthogonal_rate": config.optimizer != "muon" and f"the optimizer is {config.optimizer}",
        "start_size": from_features(config) and "what reaches the head is computed once",
        "full_size_from": not config.start_size and "there is no start_size",
        "whiten": config.start_from and f"the weights come from {config.start_from}",
        "alternate_flips": not config.flip and "images are not flipped",
        "nesterov": config.momentum == 0 and "there is no momentum",
        "cache": _without_decoding(config, dataset),
        "compile": config.freeze == ALL and "only the head is trained",
        "freeze": not config.start_from and "no weights are given to start from (--from)",
    }
    return [
        f"{name} has no effect: {why}"
        for name, why in missing.items()
        if why and asked.get(name) not in (None, False, ())
    ]


def _without_decoding(config: TrainConfig, dataset: Dataset) -> str:
    """Why there is nothing to decode in every epoch; empty where there is."""
    if not isinstance(dataset.splits["train"].images, FileImages):
        return "the images are in memory"
    if from_features(config):
        return "what reaches the head is kept instead"
    return ""


def from_features(config: TrainConfig) -> bool:
    """Whether what the head reads of each image is computed once."""
    return config.freeze == ALL and config.cache_features and Augmentation.of(config).none


def _with_start(
    config: TrainConfig, asked: dict[str, Any], start: Start, reasons: list[str]
) -> TrainConfig:
    """Network, preprocessing and pace of a run that begins with trained weights."""
    values: dict[str, Any] = {"start_from": start.source, "model": start.model}
    with torch.device("meta"):
        head_input = create_model(start.model).points[-2]
    if config.freeze == head_input:
        config = dataclasses.replace(config, freeze=ALL)
    if start.preprocess:
        values |= {
            "image_size": start.preprocess.input_size[1],
            **{name: getattr(start.preprocess, name) for name in BROUGHT},
        }
        reasons.append(f"the preprocessing is that of {start.source}")
    elif "mean" not in asked:
        reasons.append(
            f"nothing says how the images of {start.source} were normalised: mean and std are "
            "measured on these (--set mean=[...] --set std=[...])"
        )
    if config.freeze == ALL:
        values |= PLAIN | {"precision": "fp32"}
        reasons.append(
            "only the head is trained, in fp32, on images as they are: what reaches it is computed "
            "once for each (--set crop=... or flip=true: anew in every epoch)"
        )
    free = ("start_from", "model")  # a network asked for was held to that of the weights
    values = {name: value for name, value in values.items() if name in free or name not in asked}
    return dataclasses.replace(config, **values)


def _with_machine(config: TrainConfig, asked: dict[str, Any], reasons: list[str]) -> TrainConfig:
    """Device, precision, threads and workers, from the machine."""
    device = usable_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if bf16_gains(device) else "fp32"
    channels_last = config.channels_last
    if channels_last is None:  # faster with and without bf16; off where plain fp32 is asked for
        channels_last = asked.get("precision") != "fp32"
    gains = [*["bf16"] * (precision == "bf16"), *["channels_last"] * channels_last]
    if gains and "precision" not in asked:
        reasons.append(
            f"training with {' and '.join(gains)}, for speed (--precision fp32: without)"
        )
    cores = available_cores()
    return dataclasses.replace(
        config,
        device=device,
        precision=precision,
        channels_last=channels_last,
        threads=config.threads or default_threads(),
        workers=min(8, cores) if config.workers is None else config.workers,
    )


def _with_network(
    config: TrainConfig, asked: dict[str, Any], side: int, reasons: list[str]
) -> TrainConfig:
    """Network and input size, from the size of the images."""
    model, size = config.model, config.image_size
    if model == "auto":
        model = "resnet20" if (size or side) <= SMALL_SIDE else "resnet18"
        family = "a CIFAR" if model == "resnet20" else "an ImageNet"
        reasons.append(f"{model}: {family} network, for images of {size or side} pixels (--model)")
    spec = spec_of(model)
    smallest, largest = spec.sides
    if size is None:
        size = min(side, PHOTO_SIZE if config.device == "cpu" else 224)
        if largest:
            size = spec.input_size[1]  # its head takes few sizes
        elif spec.input_size[1] > SMALL_SIDE:
            size = max(size, smallest, 32)  # an ImageNet network halves its input five times
        else:
            size = max(size, smallest)
        if size != side:
            reasons.append(f"input of {size} pixels: the images have {side} (--image-size)")
    if size < smallest or (largest and size > largest):
        takes = f"of {smallest} to {largest}" if largest else f"of at least {smallest}"
        raise ConfigError(
            f"{model} takes images {takes} pixels, not {size}",
            fix=f"--image-size {spec.input_size[1]}",
        )
    if config.start_size and (largest or not smallest <= config.start_size < size):
        raise ConfigError(
            f"start_size={config.start_size}: {model} trains at {size} pixels and takes no less "
            f"than {size if largest else smallest}",
            fix="choose a size between, or leave start_size out",
        )
    warmup_steps = config.warmup_steps
    if config.recipe == "paper-cifar" and model == "resnet110" and "warmup_steps" not in asked:
        warmup_steps = 400  # arXiv:1512.03385, Section 4.2
    return dataclasses.replace(config, model=model, image_size=size, warmup_steps=warmup_steps)


def _with_length(
    config: TrainConfig, asked: dict[str, Any], images: int, reasons: list[str]
) -> TrainConfig:
    """Batch size and epochs, from the number of images."""
    batch = min(config.batch_size, images)
    if config.recipe.startswith("default") and "batch_size" not in asked:
        eighth = 2 ** int(math.log2(max(8, images // 8)))  # some steps an epoch in a small set
        batch = min(batch, eighth)
    if batch != config.batch_size:
        reasons.append(f"batches of {batch}: there are {images} training images (--batch-size)")
    epochs = config.epochs
    shortest = math.ceil(FEWEST_STEPS * batch / images)
    if epochs and epochs < shortest and config.recipe.startswith("default"):
        if not any(name in asked for name in LENGTHS):
            epochs = shortest
            reasons.append(f"{epochs} epochs, which are {FEWEST_STEPS:,} steps (--epochs)")
    return dataclasses.replace(config, batch_size=batch, epochs=epochs)


def _with_rate(
    config: TrainConfig, asked: dict[str, Any], base: TrainConfig, reasons: list[str]
) -> TrainConfig:
    """The default recipes' learning rate, for this batch, these first weights, this network."""
    if "learning_rate" in asked or not config.recipe.startswith("default"):
        return config
    share = math.sqrt(config.batch_size / base.batch_size)  # arXiv:1404.5997, Section 5
    why = [f"batches of {config.batch_size}"] if share != 1 else []
    if config.start_from and config.freeze != ALL:
        share *= FINE_TUNING
        why.append("weights that are trained already")
    with torch.device("meta"):
        modules = list(create_model(config.model).modules())
    if not any(isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) for module in modules):
        share *= WITHOUT_NORM
        why.append("a network without norms")
    if not why:
        return config
    rate = float(f"{base.learning_rate * share:.3g}")
    reasons.append(f"a learning rate of {rate:g}, for {' and '.join(why)} (--lr)")
    orthogonal = config.orthogonal_rate
    if "orthogonal_rate" not in asked:
        orthogonal = float(f"{orthogonal * share:.3g}")
    return dataclasses.replace(config, learning_rate=rate, orthogonal_rate=orthogonal)


def _check_ingredients(config: TrainConfig) -> None:
    """Raise ``ConfigError`` where the network has not what ``whiten`` or Muon needs."""
    if not config.whiten and config.optimizer != "muon":
        return
    with torch.device("meta"):
        network = create_model(config.model, in_channels=len(config.mean or "RGB"))
    if config.optimizer == "muon" and not orthogonal_weights(network):
        raise ConfigError(
            f"{config.model} has no convolution that a norm follows, as those without a bias are",
            fix="leave optimizer=muon out, or choose another --model",
        )
    first = first_convolution(network)
    if config.whiten and not config.start_from and not can_whiten(first):
        raise ConfigError(
            f"the first convolution of {config.model} has {first.out_channels} kernels"
            + (" and biases" if first.bias is not None else "")
            + f"; to whiten it needs at least {2 * first.weight[0].numel()} and no biases",
            fix="--model resnet8_pooled or resnet20:stem=whitened, or leave whiten out",
        )


def preprocess_of(config: TrainConfig) -> Preprocess:
    """The preprocessing a resolved run trains with and its sealed model carries."""
    assert config.image_size and config.mean and config.std  # noqa: S101
    return Preprocess(
        input_size=(len(config.mean), config.image_size, config.image_size),
        mean=config.mean,
        std=config.std,
        mean_image=config.mean_image,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
    )


def _recipe_name(name: str, side: int) -> str:
    if name in ("auto", "default"):
        return "default-small" if side <= SMALL_SIDE else "default-large"
    return name


def _with_statistics(config: TrainConfig, train: Split, channels: int) -> TrainConfig:
    """The settings with a mean and std per channel, measured where the recipe leaves them open."""
    mean, std = config.mean, config.std
    if mean is None or std is None:
        measured = statistics_of(config, train, channels)
        mean, std = mean or measured[0], std or measured[1]
    if len(mean) != channels:  # a recipe for colour on grey images: grey is the average colour
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    return dataclasses.replace(config, mean=mean, std=std)
