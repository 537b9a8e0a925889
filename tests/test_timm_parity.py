"""The networks that timm has too give timm's numbers with timm's weights."""

import functools
import re
from typing import Any

import pytest
import timm
from timm.layers import SEModule

from parity import assert_same_numbers, randomise
from resnets.models import create_model

PAPERS_SE: dict[str, Any] = {
    "block_args": {"attn_layer": functools.partial(SEModule, rd_ratio=1 / 16, rd_divisor=1)}
}
"""timm rounds the channels of its SE layers up to multiples of 8; the paper does not."""

SAME_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18d": ("resnet18d", {}),
    "resnet34d": ("resnet34d", {}),
    "resnet50c": ("resnet50c", {}),
    "resnet50d": ("resnet50d", {}),
    "resnet101c": ("resnet101c", {}),
    "resnet101d": ("resnet101d", {}),
    "resnet152c": ("resnet152c", {}),
    "resnet152d": ("resnet152d", {}),
    "resnext101_64x4d": ("resnext101_64x4d", {}),
    "wide_resnet50_2": ("wide_resnet50_2", {}),
    "se_resnet18": ("seresnet18", PAPERS_SE),
    "se_resnet34": ("seresnet34", PAPERS_SE),
    "se_resnet50": ("seresnet50", PAPERS_SE),
    "se_resnet101": ("seresnet101", PAPERS_SE),
    "se_resnet152": ("seresnet152", PAPERS_SE),
}
PREACT: dict[int, dict[str, Any]] = {18: {}, 34: {}, 50: {}, 101: {}, 152: {}}
PREACT[200] = {"layers": (3, 24, 36, 3)}  # which timm has no name for
LARGE = re.compile("101|152|200|se_resnet34|resnet34d")


def sampled(names: Any) -> list[Any]:
    return [
        pytest.param(name, marks=pytest.mark.slow if LARGE.search(str(name)) else ())
        for name in names
    ]


@pytest.mark.parametrize("name", sampled(SAME_NAMES))
def test_networks_of_torchvisions_names_give_timms_numbers(name: str) -> None:
    theirs_name, options = SAME_NAMES[name]
    theirs = timm.create_model(theirs_name, **options).double()
    randomise(theirs)
    ours = create_model(name).double()
    ours.load_state_dict(theirs.state_dict())
    assert_same_numbers(ours, theirs)


@pytest.mark.parametrize("depth", sampled(PREACT))
def test_pre_activation_networks_give_timms_numbers(depth: int) -> None:
    named = depth if depth != 200 else 50
    theirs = timm.create_model(f"resnetv2_{named}", **PREACT[depth]).double()
    randomise(theirs)
    ours = create_model(f"preact_resnet{depth}:stem=bare").double()
    state = {renamed(name): value for name, value in theirs.state_dict().items()}
    state["fc.weight"] = state["fc.weight"].flatten(1)  # a 1x1 convolution there
    ours.load_state_dict(state)
    assert_same_numbers(ours, theirs, renamed=renamed)


def renamed(name: str) -> str:
    """timm's name of a pre-activation network's parameter as ours."""
    name = re.sub(r"^stages\.(\d)\.blocks\.", lambda found: f"layer{int(found[1]) + 1}.", name)
    for pattern, replacement in {
        r"^stem\.conv": "conv1",
        r"\.norm(\d)": r".bn\1",
        r"downsample\.conv": "downsample.0",
        r"^head\.fc": "fc",
    }.items():
        name = re.sub(pattern, replacement, name)
    return name
