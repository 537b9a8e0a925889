"""Techniques as functions for any loop: weight averaging, losses, weight decay groups."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a network's state (parameters and float buffers).

    ``average = d * average + (1 - d) * value`` with ``d = min(decay, (1 + t) / (10 + t))`` after
    ``t`` updates, so that a short run is not held back by where it began. Integer buffers
    (batch norm's counter) are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the network's values after an optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        values = model.state_dict()
        floats = [name for name, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.tensors[name] for name in floats], [values[name] for name in floats], 1 - decay
        )
        for name in values.keys() - set(floats):
            self.tensors[name].copy_(values[name])


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy (natural log), in float32, or float64 where the logits are.

    Args:
        logits: (N, classes), any float type.
        targets: (N,) labels, or (N, classes) shares that sum to one, as mixup makes them.
        label_smoothing: the share spread evenly over all classes (arXiv:1512.00567, Section 7).
        class_weights: (classes,); with labels the mean is weighted by them.
    """
    return F.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        targets,
        weight=class_weights,
        label_smoothing=label_smoothing,
    )


def balanced_weights(counts: Iterable[int]) -> Tensor:
    """Class weights under which every class weighs the same: n / (classes * count).

    A class without an image, which the loss never meets, weighs as if it had one.
    """
    per_class = torch.tensor(list(counts), dtype=torch.float32).clamp_min(1)
    return per_class.sum() / (len(per_class) * per_class)


def decay_groups(
    model: nn.Module, weight_decay: float, *, norm_and_bias: bool
) -> list[dict[str, object]]:
    """Parameter groups for an optimizer, in the network's order; frozen ones are left out.

    With ``norm_and_bias=False`` vectors (batch norm's scales and shifts, biases) are left out of
    the decay (arXiv:1812.01187, Section 3.1).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if norm_and_bias:
        return [{"params": parameters, "weight_decay": weight_decay}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
