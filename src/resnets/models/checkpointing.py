"""Activations that the backward pass computes again instead of keeping them (arXiv:1604.06174).

What is computed twice has the same bits both times: the same kernels read the same inputs, with
the same random draws, and whatever a forward pass leaves behind, such as batch norm's statistics,
it leaves behind once.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch.utils.checkpoint
from torch import Tensor, nn


class Recomputing(nn.Module):
    """A module that can keep the inputs of its parts alone, and compute the rest again."""

    recomputes = False

    def run(self, part: nn.Module, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """``function(*inputs)``, which may change the buffers of ``part`` and no others."""
        if not self.recomputes:
            return function(*inputs)
        return torch.utils.checkpoint.checkpoint(
            function,
            *inputs,
            use_reentrant=False,
            preserve_rng_state=True,
            context_fn=lambda: (nullcontext(), spare_buffers(part)),
        )


class Stage(Recomputing, nn.Sequential):
    """Blocks in a row, of which so many are recomputed together that the least is kept.

    A block keeps about four maps of the size of its input. In groups of g, n blocks keep n / g
    inputs and, while one group is computed again, 4 g maps: fewest with g = sqrt(n) / 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Through the blocks in their order."""
        if not self.recomputes:
            return nn.Sequential.forward(self, x)  # type: ignore[no-untyped-call]
        group = max(1, round(math.sqrt(len(self)) / 2))
        for first in range(0, len(self), group):
            part = nn.Sequential(*list(self)[first : first + group])
            x = self.run(part, part, x)
        return x


def checkpoint_activations(network: nn.Module) -> bool:
    """Make the blocks of a network recompute; returns whether it has any."""
    found = [module for module in network.modules() if isinstance(module, Recomputing)]
    for module in found:
        module.recomputes = True
    return bool(found)


@contextmanager
def spare_buffers(part: nn.Module) -> Iterator[None]:
    """Let copies of all buffers take the changes, and put the buffers themselves back.

    Leaving batch norm's out of the second pass would not do: autograd saves them as well, and
    both passes have to save the same.
    """
    held = [
        (module, name, buffer)
        for module in part.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in held:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in held:
            setattr(module, name, buffer)
