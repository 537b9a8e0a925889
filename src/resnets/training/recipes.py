"""Named recipes: frozen settings, each with its source; a run starts from one of them.

What a recipe leaves at ``None`` or ``"auto"`` is filled in from the data and the machine by
``resnets.training.setup``. The accuracy and time each gave, and on what, are in
``docs/recipes.md`` and ``results/``.
"""

import dataclasses

from resnets.config import TrainConfig
from resnets.errors import UnknownName

# CIFAR-10 in minutes on a CPU, after arXiv:2404.00498 and K. Jordan et al., Muon (2024): few wide
# layers, orthogonal steps, whitened patches, alternating flips, a linear schedule.
SPEEDRUN = TrainConfig(
    recipe="speedrun-cifar10",
    model="resnet8_pooled",
    epochs=10,
    batch_size=1000,
    optimizer="muon",
    learning_rate=0.1,
    orthogonal_rate=0.24,
    schedule="linear",
    momentum=0.6,
    nesterov=True,
    weight_decay=5e-4,
    decay_norm_and_bias=False,
    label_smoothing=0.2,
    ema_decay=0.8,
    whiten=True,
    image_size=32,
    crop="pad2",
    flip=True,
    alternate_flips=True,
)
RECIPES: dict[str, TrainConfig] = {
    # Images up to 64 pixels: a CIFAR network, shifts and flips (arXiv:1512.03385, Section 4.2),
    # with a cosine schedule (arXiv:1608.03983) and no decay on batch norm (arXiv:1812.01187).
    "default-small": TrainConfig(
        recipe="default-small",
        epochs=30,
        batch_size=128,
        learning_rate=0.2,
        schedule="cosine",
        warmup=0.1,
        nesterov=True,
        weight_decay=5e-4,
        decay_norm_and_bias=False,
        label_smoothing=0.05,
        ema_decay=0.995,
        crop="pad4",
        flip=True,
    ),
    # Photos: an ImageNet network on random crops (arXiv:1409.4842, Section 6).
    "default-large": TrainConfig(
        recipe="default-large",
        epochs=60,
        batch_size=32,
        learning_rate=0.05,
        schedule="cosine",
        warmup=0.1,
        nesterov=True,
        weight_decay=5e-4,
        decay_norm_and_bias=False,
        label_smoothing=0.1,
        ema_decay=0.998,
        crop="resized",
        crop_scale=0.35,
        flip=True,
        auto_augment="trivial",
    ),
    # arXiv:1512.03385, Section 4.2, every setting: 64k steps of 128 images, the rate divided by
    # ten at 32k and 48k, 45k/5k images, the per-pixel mean subtracted, He initialisation. For
    # ResNet-110 the first 400 steps run at 0.01, which ``setup`` adds.
    "paper-cifar": TrainConfig(
        recipe="paper-cifar",
        model="resnet20",
        steps=64_000,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        lr_drops=(0.5, 0.75),
        momentum=0.9,
        weight_decay=1e-4,
        image_size=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        mean_image=True,
        crop="pad4",
        flip=True,
        validation=0.1,
    ),
    "speedrun-cifar10": SPEEDRUN,
    # The same in seconds: a pass and less, most of it on small images (arXiv:2104.00298).
    "quick-cifar10": dataclasses.replace(
        SPEEDRUN,
        recipe="quick-cifar10",
        epochs=None,
        steps=70,
        batch_size=500,
        orthogonal_rate=0.15,
        momentum=0.7,
        start_size=24,
        full_size_from=0.7,
    ),
    # A widely read CIFAR-10 tutorial: its own network at 96x96, plain SGD, Xavier weights. Its
    # "test accuracy" of each epoch is validation accuracy here.
    "tutorial-cifar96": TrainConfig(
        recipe="tutorial-cifar96",
        model="tutorial_resnet18_96",
        epochs=20,
        batch_size=64,
        learning_rate=0.01,
        schedule="constant",
        momentum=0.0,
        weight_decay=0.0,
        initialisation="xavier",
        image_size=96,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}


def recipe(name: str) -> TrainConfig:
    """The recipe of that name. Raises ``UnknownName`` with the nearest one."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES, listing=f"use one of {', '.join(RECIPES)}")
    return RECIPES[name]
