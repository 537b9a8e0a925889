"""Do signals vanish on their way through a network? The claim of arXiv:1512.03385, Section 4.1."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import Network

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class LayerSignal:
    """What passes one layer of a network, forward and backward."""

    layer: int
    """1, 2, ... in the order in which a batch passes them."""
    name: str
    """Of the batch norm whose output is the layer's response."""
    response_std: float
    """Standard deviation of the response: after batch norm, before addition and ReLU (the
    paper's Figure 7)."""
    gradient_norm: float
    """L2 norm of the gradient of the batch's mean loss with respect to the response."""


def layer_signals(network: Network, inputs: Tensor, labels: Tensor) -> list[LayerSignal]:
    """The signals of every layer but those on shortcuts, as in a training step on one batch.

    Args:
        network: in any mode, which it keeps, as it keeps batch norm's running statistics; the
            batch's own are used.
        inputs: (N, C, H, W), preprocessed.
        labels: (N,) indices of classes.
    """
    responses: dict[str, Tensor] = {}

    def keep(name: str) -> Hook:
        def hook(module: nn.Module, given: tuple[Tensor, ...], response: Tensor) -> Tensor:
            responses[name] = response
            return response.clone()  # the ReLU that follows works in place

        return hook

    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and "downsample" not in name
    }
    was_training = network.training
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    handles = [module.register_forward_hook(keep(name)) for name, module in norms.items()]
    try:
        loss = F.cross_entropy(network.train()(inputs), labels)
        gradients = torch.autograd.grad(loss, list(responses.values()))
    finally:
        for handle in handles:
            handle.remove()
        network.train(was_training)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(statistics[name])
    return [
        LayerSignal(
            layer=number,
            name=name,
            response_std=float(response.detach().std(correction=0)),
            gradient_norm=float(gradient.norm()),
        )
        for number, ((name, response), gradient) in enumerate(
            zip(responses.items(), gradients, strict=True), 1
        )
    ]
