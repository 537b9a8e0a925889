"""A network run by PyTorch itself."""

import contextlib
from typing import Literal

import torch
from torch import Tensor, nn


class TorchEngine:
    """An ``Engine`` around a module, which is put into eval mode and onto ``device``.

    fp32 is full float32 on every device; bf16 runs under autocast and changes answers.
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

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """(N, C, H, W) float32 -> (N, classes) float32 logits."""
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with contextlib.ExitStack() as settings:
            if self.precision == "bf16":
                settings.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            elif self.device.type == "cuda":
                # cuDNN rounds the inputs of float32 convolutions to TF32 unless told not to
                exact = torch.backends.cudnn.flags(
                    enabled=True, deterministic=True, allow_tf32=False
                )
                settings.enter_context(exact)
            return self.model(batch).float().cpu()
