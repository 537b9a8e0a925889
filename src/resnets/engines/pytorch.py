"""A network run by PyTorch itself."""

import contextlib
from typing import Literal

import torch
from torch import Tensor, nn

from resnets.engines.folding import fold, round_weights
from resnets.models import Network


class TorchEngine:
    """An ``Engine`` around a module, which is put into eval mode and onto ``device``.

    It runs a copy, made at the first call with the weights of that moment, whose batch norms are
    folded into its convolutions (``docs/decisions/0009-numerics.md``). fp32 is full float32 on
    every device; bf16 runs under autocast and may change answers.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.model = model.eval().to(self.device)
        self._folded: nn.Module | None = None

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, H, W) float32 -> (N, classes) float32 logits."""
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with contextlib.ExitStack() as settings:
            if self.device.type == "cuda":
                # cuDNN rounds the inputs of float32 convolutions to TF32 unless told not to
                exact = torch.backends.cudnn.flags(
                    enabled=True, deterministic=True, allow_tf32=False
                )
                settings.enter_context(exact)
            network = self._network(batch[:1])
            logits = network(batch) if self.precision == "fp32" else self._in_bf16(network, batch)
        return logits.float().cpu()

    def _network(self, image: Tensor) -> nn.Module:
        if self._folded is None:
            with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
                folded = fold(self.model, image).to(memory_format=torch.channels_last)
            if self.precision == "bf16":
                round_weights(folded)
            self._folded = folded
        return self._folded

    def _in_bf16(self, network: nn.Module, batch: Tensor) -> Tensor:
        """All of the network but its head, whose logits would else keep eight bits only."""
        with torch.autocast(self.device.type, torch.bfloat16):
            if not isinstance(network, Network):
                return network(batch)
            *_, before, _ = network.points
            features = network.features(batch, at=[before])[before]
        return network.logits(features.float())
