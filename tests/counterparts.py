"""What our networks and counts are compared with: timm's networks, and torch's counter."""

from typing import Any

import timm
import torch
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

DEPTHS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
}


def timms(name: str) -> nn.Module:
    """timm's network of that form; those without a name in timm from its classes."""
    depth = "".join(filter(str.isdigit, name))
    if name.startswith("se_"):
        return timm.create_model(f"seresnet{depth}")
    if name.startswith("preact_"):
        if timm.is_model(f"resnetv2_{depth}"):
            return timm.create_model(f"resnetv2_{depth}")
        return ResNetV2(
            layers=list(DEPTHS[depth]), conv_layer=create_conv2d, norm_layer=BatchNormAct2d
        )
    build: Any = ResNet  # its types ask for an instance of a block
    return build(
        BasicBlock if depth in ("18", "34") else Bottleneck,
        DEPTHS[depth],
        stem_width=32,
        stem_type="deep",
        avg_down=name.endswith("d"),
    )


def counted_by_torch(model: nn.Module, size: tuple[int, int, int]) -> int:
    """Twice the multiply-adds."""
    parameter = next(model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, *size, device=parameter.device))
    return counter.get_total_flops()
