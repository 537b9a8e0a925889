"""Our ImageNet networks are torchvision's: same names, same numbers, same first weights."""

import copy
import functools
import itertools
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from parity import assert_same_numbers, randomise
from resnets.models import Network, create_model

NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
NAMES += ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
NAMES += ["wide_resnet50_2", "wide_resnet101_2"]
QUICK = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2")


def reference(name: str) -> nn.Module:
    build: Callable[..., nn.Module] = getattr(torchvision.models, name)
    return build()


def twins(name: str) -> tuple[Network, nn.Module]:
    """Ours and torchvision's in float64, holding the same random state."""
    with torch.device("meta"):  # nothing is drawn twice
        ours, theirs = create_model(name), reference(name).double()
    theirs.to_empty(device="cpu")
    randomise(theirs)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()), assign=True)
    return ours, theirs


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_torchvisions_names_order_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), reference(name)
    shapes = [(key, value.shape) for key, value in ours.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in theirs.state_dict().items()]
    names = [key for key, _ in ours.named_children()]
    assert names == [key for key, _ in theirs.named_children()]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES],
)
def test_outputs_gradients_and_statistics_are_torchvisions(name: str) -> None:
    assert_same_numbers(*twins(name))


@pytest.mark.parametrize("dilate", list(itertools.product((False, True), repeat=3)))
def test_dilated_forms_are_torchvisions(dilate: tuple[bool, bool, bool]) -> None:
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=list(dilate)).double()
    randomise(theirs)
    ours = create_model("resnet50", replace_stride_with_dilation=dilate).double()
    ours.load_state_dict(theirs.state_dict())
    assert_same_numbers(ours, theirs)


def test_torchvisions_own_options_give_its_numbers() -> None:
    norm = functools.partial(nn.GroupNorm, 32)
    theirs = torchvision.models.resnet50(groups=4, width_per_group=32, norm_layer=norm).double()
    randomise(theirs)
    for choice in ("group", norm):
        ours = create_model("resnet50", groups=4, width_per_group=32, norm_layer=choice).double()
        ours.load_state_dict(theirs.state_dict())
        assert_same_numbers(ours, theirs.double())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_same_seed_draws_torchvisions_first_weights(name: str) -> None:
    torch.manual_seed(5)
    theirs = reference(name).state_dict()
    torch.manual_seed(5)
    ours = create_model(name).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    seeded = create_model(name, seed=5).state_dict()
    assert all(torch.equal(seeded[key], theirs[key]) for key in theirs)
