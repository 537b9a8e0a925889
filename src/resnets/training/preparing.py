"""What the loop is given: from a resolved run to its task, its first state and its batches."""

import numpy as np
import torch
from torch import Tensor

from resnets.checkpoint import State
from resnets.config import TrainConfig
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Batches, MemoryBatches, Order
from resnets.data.sources import ArrayImages, Dataset, Split
from resnets.data.transforms import normalise
from resnets.data.workers import WorkerBatches
from resnets.models import Network
from resnets.models.checkpointing import checkpoint_activations
from resnets.prediction import MEAN_IMAGE
from resnets.training.features import FeatureBatches
from resnets.training.images import mean_image_of, pixels_of, spread
from resnets.training.loop import Task
from resnets.training.muon import Muon, muon_groups
from resnets.training.products import use_products
from resnets.training.schedules import Plan, validations_for
from resnets.training.setup import from_features, preprocess_of
from resnets.training.state import TrainingState
from resnets.training.transfer import Start, freeze
from resnets.training.tricks import WeightAverage, balanced_weights, decay_groups
from resnets.training.whitening import LOOKED_AT, first_convolution, whiten

PART = 64
"""Images whose patches are in memory at once."""
SPEED_UNKNOWN = 10**9
"""The length of a run in steps until its speed is known."""


def task_of(
    config: TrainConfig, dataset: Dataset, start: Start | None, saved: State | None
) -> Task:
    """What stays the same from the first step to the last."""
    train = dataset.splits["train"]
    augmentation = Augmentation.of(config)
    classes = len(dataset.classes)
    counts = np.bincount(train.labels, minlength=classes).tolist()
    weights = balanced_weights(counts).to(config.device)
    return Task(
        config=config,
        preprocess=preprocess_of(config),
        augmentation=augmentation,
        classes=classes,
        mean_image=_mean_image(config, train, start, saved) if config.mean_image else None,
        class_weights=weights if config.balance == "weights" else None,
        from_features=from_features(config),
    )


def _mean_image(
    config: TrainConfig, train: Split, start: Start | None, saved: State | None
) -> Tensor:
    """That of the saved state, of the weights the run began with, or of the training images."""
    preprocess = preprocess_of(config)
    known = saved.tensors.get(MEAN_IMAGE) if saved else start.mean_image if start else None
    if known is not None and known.shape == preprocess.input_size:
        return known
    return mean_image_of(train, preprocess)


def whiten_stem(task: Task, network: Network, train: Split) -> None:
    """Give the first convolution the whitening directions of the training images."""
    few = train.take(spread(len(train), LOOKED_AT))  # of all classes: folders come one by one
    whole = pixels_of(few, task.preprocess, most=LOOKED_AT)
    parts = (part for images in whole for part in images.split(PART))
    ready = (normalise(part, task.preprocess, task.mean_image) for part in parts)
    whiten(first_convolution(network), ready)


def state_of(task: Task, network: Network, steps_per_epoch: float) -> TrainingState:
    """The state before the first step; what the settings freeze is frozen."""
    config = task.config
    if config.freeze and config.start_from:
        freeze(network, config.freeze)
    if config.whiten and not config.start_from:
        first_convolution(network).requires_grad_(False)
    if config.checkpoint_activations:
        checkpoint_activations(network)
    if config.precision == "bf16" and config.device == "cpu" and not config.compile:
        use_products(network)
    shared = {"norm_and_bias": config.decay_norm_and_bias}
    kind, groups = torch.optim.SGD, decay_groups(network, config.weight_decay, **shared)
    if config.optimizer == "muon":
        share = config.orthogonal_rate / config.learning_rate
        kind, groups = Muon, muon_groups(network, config.weight_decay, **shared, share=share)
    optimizer = kind(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
        # One pass over weights, gradients and momenta in place of five. All three must lie in the
        # same memory format: torch 2.14 does not look, and updates the wrong weights.
        fused=True,
    )
    average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
    return TrainingState(network, optimizer, average, [first_plan(config, steps_per_epoch)])


def first_plan(config: TrainConfig, steps_per_epoch: float) -> Plan:
    """How many steps and validations there are to be; with a budget its speed decides later."""
    if config.budget:
        return Plan(0, SPEED_UNKNOWN, 0)
    if config.steps:
        return Plan(0, config.steps, validations_for(config.steps / steps_per_epoch))
    assert config.epochs  # noqa: S101
    steps = max(1, round(config.epochs * steps_per_epoch))
    return Plan(0, steps, min(steps, validations_for(config.epochs)))


def order_of(config: TrainConfig, split: Split) -> Order:
    """Which image stands where in the stream that training reads."""
    return Order(config.seed, split.labels, "order" if config.balance == "order" else "none")


def batches_of(task: Task, split: Split, features: Tensor | None) -> Batches:
    """Batches of features where they are known, else of images in memory or through workers."""
    config = task.config
    order = order_of(config, split)
    if features is not None:
        return FeatureBatches(features, split.labels, order, config.batch_size)
    shared = (split, task.preprocess, task.augmentation, order, config.batch_size)
    if isinstance(split.images, ArrayImages) and config.crop != "resized":
        return MemoryBatches(*shared)
    assert config.workers is not None  # noqa: S101
    return WorkerBatches(*shared, config.workers)
