"""The training loop: read it top to bottom, there is nothing behind it."""

import itertools
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.config import Preprocess, TrainConfig
from resnets.data.augmentation import Augmentation
from resnets.data.listing import told
from resnets.data.loader import Batch, Batches, step_seed
from resnets.data.transforms import normalise
from resnets.models import Network
from resnets.training.budget import Budget
from resnets.training.schedules import input_side, learning_rate, progress, validation_due
from resnets.training.state import TrainingState
from resnets.training.stopping import StopWatch
from resnets.training.tricks import classification_loss


class NotFinite(Exception):
    """A step whose loss or gradients are not finite; nothing of it is left."""


@dataclass(frozen=True)
class Task:
    """What stays the same from the first step to the last."""

    config: TrainConfig
    preprocess: Preprocess
    augmentation: Augmentation
    classes: int
    mean_image: Tensor | None = None
    """(C, H, W), where the preprocessing subtracts one."""
    class_weights: Tensor | None = None
    """(classes,), where the loss is balanced."""
    from_features: bool = False
    """Whether batches hold what the head reads in place of pixels."""


def train(
    task: Task,
    state: TrainingState,
    batches: Batches,
    *,
    stop: StopWatch,
    budget: Budget | None,
    validate: Callable[[], None],
    after_step: Callable[[float], None],
    not_finite: Callable[[NotFinite], None],
) -> None:
    """Train from ``state`` to the end of its plan, or to where patience ends.

    Args:
        validate: scores the state, appends to ``state.rows`` and keeps the best.
        after_step: told each step's loss; shows progress and saves now and then.
        not_finite: told of a step that cannot be taken; raises, or lets training go on without it.

    Raises:
        StopRequested: a stop signal came; the state is that of the last whole step.
        CannotGoOn: what ``not_finite`` raises; the state is that before the step.
    """
    with closing(batches.starting_at(state.step)) as stream:  # its workers end with it
        while True:
            if validation_due(state.step, state.plans) and not state.validated_here:
                validate()
                if budget and (plan := budget.after_validation(state.step, state.plans)):
                    state.plans.append(plan)
            done = progress(state.step, state.plans)
            if done == 1 or (task.config.patience and state.stale >= task.config.patience):
                return
            stop.check()

            began = time.monotonic()
            rate = learning_rate(task.config, state.step, done)
            try:
                side = input_side(task.config, done)
                loss = take_step(task, state, next(stream), rate, stop, side=side)
            except NotFinite as problem:
                not_finite(problem)
                with stop.lock:
                    state.skip_step()
                continue
            took = time.monotonic() - began
            if budget and (plan := budget.after_step(state.step, state.plans, took)):
                state.plans.append(plan)
            after_step(loss)


def take_step(
    task: Task,
    state: TrainingState,
    batch: Batch,
    rate: float,
    stop: StopWatch,
    *,
    side: int | None = None,
) -> float:
    """One optimizer step at learning rate ``rate``; returns the batch's loss.

    Args:
        side: that to which the images are shrunk.

    Raises ``NotFinite`` with everything as it was before the step.
    """
    config, model = task.config, state.model
    seed = step_seed(config.seed, state.step)
    torch.manual_seed(seed)  # for dropout and drop-path
    labels = batch.labels.to(config.device, non_blocking=True)
    inputs = batch.pixels.to(config.device).float()
    targets = labels
    if not task.from_features:
        inputs, targets = augmented(task, inputs, labels, seed, mirrored=batch.mirrored, side=side)

    state.begin_step()
    state.optimizer.zero_grad(set_to_none=True)
    loss, correct = add_gradients(task, model, inputs, targets, labels)
    if found := where_not_finite(loss, model):
        state.give_up_step()
        raise NotFinite(found)

    with stop.lock:  # from here to the end a step counts or does not, as a whole
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        state.optimizer.step()
        if state.average:
            state.average.update(model)
        mean = loss.item()
        state.count(mean, int(correct), len(labels))
        state.end_step()
    return mean


def where_not_finite(loss: Tensor, model: Network) -> str:
    """The loss, or the weights whose gradients are infinite or no numbers; empty where all is well.

    A look at the greatest of all gradients reads them once; only where it is none are they told.
    """
    if not torch.isfinite(loss):
        return f"the loss is {loss.item()}"
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    greatest = torch.nn.utils.get_total_norm(gradients.values(), norm_type=math.inf)
    if torch.isfinite(greatest):
        return ""
    names = [name for name, slope in gradients.items() if not torch.isfinite(slope).all()]
    return f"the gradient of {told(names)} is not finite"


def add_gradients(
    task: Task, model: Network, inputs: Tensor, targets: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Add a batch's gradients to the network's, part by part; returns its loss and hits.

    Each part's loss counts by its share of the batch, so that the sum is the loss of the whole.
    """
    config = task.config
    total = correct = torch.zeros((), device=config.device)
    whole = weight_of(task, targets)
    for chosen in parts(len(labels), config.micro_batch):
        with torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bf16"):
            answers = answers_of(task, model, inputs[chosen])
        share = weight_of(task, targets[chosen]) / whole
        loss = sum_of_losses(task, answers, targets[chosen]) * share
        loss.backward()
        total = total + loss.detach()
        correct = correct + (answers[0][1].argmax(1) == labels[chosen]).sum()
    return total, correct


def parts(images: int, most: int | None) -> list[slice]:
    """The slices of a batch that go through the network one by one, of sizes as equal as can be.

    Each has at most ``most`` images, if that leaves every one of them two, for batch norm.
    """
    count = max(1, min(math.ceil(images / (most or images)), images // 2))
    ends = [images * number // count for number in range(count + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(ends)]


def weight_of(task: Task, targets: Tensor) -> Tensor | int:
    """What the mean over these images is divided by, in cross-entropy."""
    if task.class_weights is None or targets.ndim > 1:  # shares, as mixup makes them
        return len(targets)
    return task.class_weights[targets].sum()


def augmented(
    task: Task,
    pixels: Tensor,
    labels: Tensor,
    seed: int,
    *,
    mirrored: Tensor | None = None,
    side: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) pixels, 0 to 255 -> the network's input and targets, drawn by ``seed``.

    Args:
        mirrored: (N,) which images are flipped, where that is not drawn.
        side: height and width to which the images are shrunk.
    """
    generator = torch.Generator().manual_seed(seed)
    images = normalise(pixels, task.preprocess, task.mean_image)
    images = task.augmentation.move_batch(images, generator, mirrored)
    images, targets = task.augmentation.mix_batch(images, labels, task.classes, generator)
    if side:
        images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    if task.config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, targets


def answers_of(task: Task, model: Network, inputs: Tensor) -> list[tuple[float, Tensor]]:
    """(weight, logits): the network's own answer, then those of auxiliary heads."""
    return [(1.0, model.logits(inputs))] if task.from_features else model.training_logits(inputs)


def sum_of_losses(task: Task, answers: list[tuple[float, Tensor]], targets: Tensor) -> Tensor:
    """The weighted sum of every answer's loss."""
    losses = [
        weight
        * classification_loss(
            logits,
            targets,
            label_smoothing=task.config.label_smoothing,
            class_weights=task.class_weights,
        )
        for weight, logits in answers
    ]
    return torch.stack(losses).sum()
