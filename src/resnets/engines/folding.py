"""Batch norms folded into the convolutions before them, for networks that only answer.

While evaluating, a batch norm is y = scale * x + shift for each channel, and a convolution whose
output nothing else reads can do that multiplication and addition itself (arXiv:1712.05877,
Section 3.2). The answers are the same but for the rounding of the sums.
"""

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from resnets.cost.trace import tensors
from resnets.models import Network


class Folded(nn.Module):
    """Stands where a batch norm was.

    No ``nn.Identity``, which some networks take for a layer they were built without.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The input, which the convolution before has normalised already."""
        return x


@torch.no_grad()
def fold(network: nn.Module, image: Tensor) -> nn.Module:
    """A copy for evaluation without the batch norms that a convolution before them can replace.

    Those are found by following ``image`` through the copy: a norm is folded where each of the
    two runs once and nothing but the norm reads what the convolution puts out (reading by
    TorchScript is not seen). Tensors that folding leaves as they are share the original's memory.

    Args:
        image: (1, C, H, W), any that the network can take, on the network's device.
    """
    return fold_named(network, image)[0]


@torch.no_grad()
def fold_named(network: nn.Module, image: Tensor) -> tuple[nn.Module, dict[str, str]]:
    """What ``fold`` returns, and the names of each convolution and the norm it has taken over."""
    folded = _copy(network).eval()
    names = {module: name for name, module in folded.named_modules()}
    pairs = _pairs(folded, image)
    for conv, norm in pairs:
        _absorb(conv, norm)
        _replace(folded, norm)
    return folded, {names[conv]: names[norm] for conv, norm in pairs}


def without_norms(network: nn.Module, pairs: Mapping[str, str]) -> None:
    """Give a network the shape of a folded one, to be filled with its weights.

    Args:
        pairs: as ``fold_named`` returns them.
    """
    for name, norm in pairs.items():
        conv = network.get_submodule(name)
        if not isinstance(conv, nn.Conv2d):
            raise TypeError(f"{name} is no convolution")
        conv.bias = nn.Parameter(conv.weight.new_empty(conv.out_channels), requires_grad=False)
        _replace(network, network.get_submodule(norm))


def round_weights(network: nn.Module) -> None:
    """Make the weights bf16 that autocast would round at every call; the head's stay float32."""
    for name, module in network.named_modules():
        is_head = isinstance(network, Network) and name == network.head
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not is_head:
            module.to(torch.bfloat16)


def _replace(network: nn.Module, norm: nn.Module) -> None:
    """Put a stand-in where a norm was, which may have two names."""
    named = list(network.named_modules(remove_duplicate=False))
    stand_in = Folded()
    for name in [name for name, module in named if module is norm]:
        network.set_submodule(name, stand_in)


def _pairs(network: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """The convolutions of an evaluating network whose output one batch norm reads, and only it.

    A subclass of either may compute something else and is in no pair.
    """
    watch = _Watch()
    with ExitStack() as hooks:
        for module in network.modules():
            if type(module) is nn.Conv2d:
                hooks.callback(module.register_forward_hook(watch.convolved).remove)
            elif type(module) is nn.BatchNorm2d and module.track_running_stats:
                hooks.callback(module.register_forward_pre_hook(watch.enter).remove)
                hooks.callback(module.register_forward_hook(watch.leave).remove)
        with watch:
            network(image)
    return [
        (conv, norm)
        for conv, seen in watch.outputs.items()
        if seen.made == 1 and len(seen.readers) == 1
        for norm in seen.readers
        if norm is not None and watch.entered[norm] == 1
    ]


@dataclass(slots=True)
class _Output:
    """What one convolution put out: how often, and which norms read it (``None``: another)."""

    made: int = 0
    readers: set[nn.BatchNorm2d | None] = field(default_factory=set)


class _Watch(TorchFunctionMode):
    """Notes, operation by operation, who reads what the convolutions put out.

    To ask an output for its shape is to read it. A ``TorchDispatchMode`` would import the whole
    compiler first, more than a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[nn.Conv2d, _Output] = {}
        self.entered: dict[nn.BatchNorm2d, int] = {}
        self._running: nn.BatchNorm2d | None = None
        self._maps = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and note which outputs it reads."""
        kwargs = kwargs or {}
        for tensor in tensors((args, kwargs)):
            if tensor in self._maps:
                self._maps[tensor].readers.add(self._running)
        return func(*args, **kwargs)

    def convolved(self, conv: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        """A convolution has run."""
        seen = self._maps[output] = self.outputs.setdefault(conv, _Output())
        seen.made += 1

    def enter(self, norm: nn.BatchNorm2d, inputs: Any) -> None:
        """A norm begins: what is read until it leaves, it reads."""
        self._running = norm
        self.entered[norm] = self.entered.get(norm, 0) + 1

    def leave(self, norm: nn.BatchNorm2d, inputs: Any, output: Tensor) -> None:
        """A norm has run."""
        self._running = None


def _copy(network: nn.Module) -> nn.Module:
    """The network anew, around the same memory."""
    shared: dict[int, Any] = {}
    for parameter in network.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in network.buffers():
        shared[id(buffer)] = buffer.detach()
    return copy.deepcopy(network, shared)


def _absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weights with which it does the norm's work too."""
    mean, variance = _exact(norm.running_mean, 0), _exact(norm.running_var, 1)
    scale = _exact(norm.weight, 1) / torch.sqrt(variance + norm.eps)
    shift = _exact(norm.bias, 0) + scale * (_exact(conv.bias, 0) - mean)
    weight = conv.weight.to("cpu", torch.float64, copy=True).mul_(scale[:, None, None, None])
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(conv.weight), requires_grad=False)


def _exact(tensor: Tensor | None, default: float) -> Tensor:
    """In float64, on the CPU because not every device has it; the default where there is none."""
    if tensor is None:
        return torch.tensor(default, dtype=torch.float64)
    return tensor.cpu().double()
