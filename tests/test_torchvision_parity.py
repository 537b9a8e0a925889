"""Our ImageNet networks are torchvision's: same names, same numbers, same first weights."""

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnets.models import ResNet, create_model

NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def reference(name: str) -> nn.Module:
    build: Callable[..., nn.Module] = getattr(torchvision.models, name)
    return build()


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Draw every parameter and every batch-norm statistic, so that none can hide behind 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            module.weight.normal_(0, (2 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0, 0.05)
            module.bias.normal_()
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            assert module.num_batches_tracked is not None
            module.weight.uniform_(-1.5, 1.5)
            module.bias.normal_(0, 0.5)
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.zero_()


def twins(name: str) -> tuple[ResNet, nn.Module]:
    """Ours and torchvision's in float64, holding the same random state."""
    with torch.device("meta"):  # nothing is drawn twice
        ours, theirs = create_model(name), reference(name).double()
    theirs.to_empty(device="cpu")
    randomise(theirs)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()), assign=True)
    return ours, theirs


def assert_close(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Equal to 1e-9 of the reference's largest absolute value."""
    largest = theirs.abs().max()
    assert torch.isfinite(largest) and largest > 0, what
    assert (ours - theirs).abs().max() <= 1e-9 * largest, what


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_torchvisions_names_order_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), reference(name)
    shapes = [(key, value.shape) for key, value in ours.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in theirs.state_dict().items()]
    names = [key for key, _ in ours.named_children()]
    assert names == [key for key, _ in theirs.named_children()]


@pytest.mark.parametrize("name", [*NAMES[:4], pytest.param("resnet152", marks=pytest.mark.slow)])
def test_outputs_gradients_and_statistics_are_torchvisions(name: str) -> None:
    ours, theirs = twins(name)
    images = torch.randn(2, 3, 33, 46, dtype=torch.float64)  # sides that must be rounded up
    pull = torch.randn(2, 1000, dtype=torch.float64)

    def answer(network: nn.Module, training: bool) -> dict[str, Tensor]:
        network.train(training).zero_grad()
        pixels = nn.Parameter(images)
        logits = network(pixels)
        (logits * pull).sum().backward()
        named = [("pixels", pixels), *network.named_parameters()]
        gradients = {f"gradient of {key}": p.grad for key, p in named if p.grad is not None}
        assert len(gradients) == len(named)
        return {"logits": logits.detach()} | gradients | dict(network.named_buffers())

    for training in (False, True):
        found, expected = answer(ours, training), answer(theirs, training)
        assert found.keys() == expected.keys()
        for key in expected:
            if key.endswith("num_batches_tracked"):
                assert found[key] == expected[key] == training
            else:
                assert_close(found[key], expected[key], key)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_same_seed_draws_torchvisions_first_weights(name: str) -> None:
    torch.manual_seed(5)
    theirs = reference(name).state_dict()
    torch.manual_seed(5)
    ours = create_model(name).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    seeded = create_model(name, seed=5).state_dict()
    assert all(torch.equal(seeded[key], theirs[key]) for key in theirs)
