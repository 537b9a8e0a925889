"""Muon: for convolutions, momentum whose direction is made orthogonal before it is followed.

The matrix of a convolution's momentum has a few directions far larger than all others; a step with
equal singular values moves along all of them. Nothing in it has a scale: neither the gradient's
size counts nor the weights'.
"""

from typing import Any

import torch
from torch import Tensor, nn

from resnets.training.tricks import decay_groups

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that draws singular values towards 1 fast and only nearly."""
ROUNDS = 3


class Muon(torch.optim.SGD):
    """SGD with Nesterov's momentum; in groups with ``orthogonal=True`` its steps are orthogonal.

    There a weight (O, C, k, k) is a matrix of O rows. It is brought to the norm sqrt(O) and moved
    by ``lr`` times the momentum made semi-orthogonal, whose norm is that as well if O is no more
    than C k k: the rate is the share of the weights that a step changes. There is no weight decay.
    Behind the last convolution of a pre-activation block there is no norm: it learns at that norm.

    K. Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024).
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step with the gradients that are there, or with those the closure makes."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["orthogonal"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["orthogonal"]:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        direction = gradient.add(momentum, alpha=group["momentum"])
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        weight.sub_(orthogonal(direction.flatten(1)).view_as(weight), alpha=group["lr"])


def orthogonal(matrix: Tensor, rounds: int = ROUNDS) -> Tensor:
    """(M, N) -> (M, N), near the semi-orthogonal matrix of the same directions.

    Newton and Schulz's iteration: singular values end between about 0.5 and 1.2, but those
    below a hundredth of the norm stay small.
    """
    a, b, c = COEFFICIENTS
    wide = len(matrix) <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


def orthogonal_weights(model: nn.Module) -> list[Tensor]:
    """Those of convolutions without a bias: a norm follows, and their scale says nothing."""
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.bias is None
    ]


def muon_groups(
    model: nn.Module, weight_decay: float, *, norm_and_bias: bool, share: float
) -> list[dict[str, Any]]:
    """Parameter groups for ``Muon``: convolutions, then what ``decay_groups`` makes of the rest.

    Args:
        share: the orthogonal steps' rate over that of the others.
    """
    convolutions = set(map(id, orthogonal_weights(model)))
    groups = decay_groups(model, weight_decay, norm_and_bias=norm_and_bias)
    chosen = []
    for group in groups:
        parameters: list[nn.Parameter] = group["params"]  # type: ignore[assignment]
        chosen += [each for each in parameters if id(each) in convolutions]
        group["params"] = [each for each in parameters if id(each) not in convolutions]
        group["orthogonal"] = False
    first = {"params": chosen, "orthogonal": True, "share": share}
    return [first, *(group for group in groups if group["params"])]
