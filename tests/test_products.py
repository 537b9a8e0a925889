"""Convolutions as matrix products, held to torch's own."""

import copy

import pytest
import torch
from torch import Tensor, nn

from resnets.models import create_model
from resnets.training.products import Product, ProductConv2d, use_products


def gradients(output: Tensor, inputs: tuple[Tensor, ...], slope: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, slope)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "height", "width"),
    [
        (3, 1, 1, 5, 6),
        (3, 2, 1, 7, 5),
        (3, 2, 1, 6, 6),
        (3, 1, 0, 5, 5),
        (5, 1, 2, 6, 6),
        (1, 1, 0, 4, 3),
        (1, 2, 0, 5, 4),
        (1, 2, 0, 6, 6),
    ],
)
def test_a_product_is_that_convolution(
    size: int, stride: int, padding: int, height: int, width: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, size, size, dtype=torch.float64, requires_grad=True)
    expected = nn.functional.conv2d(x, weight, None, stride, padding)
    slope = torch.randn_like(expected)

    found = Product.apply(x, weight, stride, padding)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    pairs = zip(
        gradients(found, (x, weight), slope), gradients(expected, (x, weight), slope), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def layer(slope_of: nn.Conv2d, x: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients of a convolution under autocast."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = slope_of(x)
    assert y.dtype == torch.bfloat16
    return (y, *gradients(y, (x, slope_of.weight), slope.to(y)))


@pytest.mark.parametrize("size", [1, 3])
def test_bf16_rounds_no_worse_than_the_convolution_does(size: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 128, size, padding=size // 2, bias=False)
    x, slope = torch.randn(4, 128, 3, 3), torch.randn(4, 128, 3, 3)
    exact = copy.deepcopy(conv).double()
    given = x.double().requires_grad_()
    truth = exact(given)
    expected = (truth, *gradients(truth, (given, exact.weight), slope.double()))
    ours = copy.deepcopy(conv)
    use_products(nn.Sequential(ours))
    assert isinstance(ours, ProductConv2d)

    for name, plain, product, right in zip(
        ("output", "of x", "of the weights"),
        layer(conv, x, slope),
        layer(ours, x, slope),
        expected,
        strict=True,
    ):
        error = (product.double() - right).abs().max()
        assert error <= 1.5 * (plain.double() - right).abs().max(), name


def test_large_maps_and_fp32_go_through_the_convolution_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False))
    use_products(network)
    monkeypatch.setattr(Product, "apply", pytest.fail)
    network(torch.randn(2, 8, 2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 8, 3, 3))  # 18 outputs, and 2 * 8 channels


def test_a_network_keeps_its_names_and_what_can_be_no_product_stays() -> None:
    network = create_model("resnext50_32x4d", num_classes=3)
    before = list(network.state_dict())
    use_products(network)
    assert list(network.state_dict()) == before
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert isinstance(module, ProductConv2d) == (module.groups == 1)
