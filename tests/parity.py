"""Two networks held to each other: every parameter and statistic random, every number compared."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Draw every parameter and every norm's statistic, so that none can hide behind 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan = max(module.in_channels, module.out_channels) * area
            module.weight.normal_(0, (2 / fan) ** 0.5)
            if module.bias is not None:
                module.bias.uniform_(0.5, 1.5)  # or a narrow ReLU could be shut for all images
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0, 0.05)
            module.bias.normal_()
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            module.weight.uniform_(-1.5, 1.5)
            module.bias.normal_(0, 0.5)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            assert module.num_batches_tracked is not None
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.zero_()


def assert_close(ours: Tensor, theirs: Tensor, what: str, *, bound: float = 1e-9) -> None:
    """Equal to ``bound`` of the reference's largest absolute value."""
    largest = theirs.abs().max()
    assert torch.isfinite(largest) and largest > 0, what
    assert (ours - theirs).abs().max() <= bound * largest, what


def assert_same_numbers(
    ours: nn.Module,
    theirs: nn.Module,
    *,
    classes: int = 1000,
    sides: tuple[int, int] = (33, 46),
    renamed: Callable[[str], str] = lambda name: name,
) -> None:
    """Logits, gradients and statistics agree, evaluating and training, in float64.

    Both hold the same weights. Then both are made float32, in which their logits agree to 1e-5.

    Args:
        renamed: their name of a parameter -> ours.
    """
    images = torch.randn(2, 3, *sides, dtype=torch.float64)  # 33 and 46 must be rounded up
    pull = torch.randn(2, classes, dtype=torch.float64)

    def answer(network: nn.Module, training: bool) -> dict[str, Tensor]:
        network.train(training).zero_grad()
        pixels = nn.Parameter(images)
        logits = network(pixels)
        (logits * pull).sum().backward()
        named = [("pixels", pixels), *network.named_parameters()]
        gradients = {key: p.grad for key, p in named if p.grad is not None}
        assert len(gradients) == len(named)
        return {"logits": logits.detach()} | gradients | dict(network.named_buffers())

    for training in (False, True):
        found, answered = answer(ours, training), answer(theirs, training)
        expected = {renamed(key): value for key, value in answered.items()}
        assert found.keys() == expected.keys()
        for key, mine in found.items():
            if key.endswith("num_batches_tracked"):
                assert mine == expected[key] == training
            else:
                assert_close(mine, expected[key].reshape(mine.shape), key)
    ours.float().eval(), theirs.float().eval()
    with torch.no_grad():
        assert_close(ours(images.float()), theirs(images.float()), "in float32", bound=1e-5)
