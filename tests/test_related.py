"""Highway networks and DenseNet are what their papers and torchvision say."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from networks import relative_difference
from parity import assert_same_numbers, randomise
from resnets.errors import ConfigError
from resnets.models import Network, create_model
from resnets.models.related import HighwayLayer
from resnets.models.specs.related import RELATED

SIZES = {
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet_bc_100_12": 769_162,
}
HIGHWAY = {"highway19": (19, 2.3e6), "highway32": (32, 1.25e6)}
"""Layers and parameters (arXiv:1512.03385, Table 6)."""
TWINS = ["densenet121", "densenet161", "densenet169", "densenet201"]


def on_meta(name: str) -> Network:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return create_model(name)


def reference(name: str) -> nn.Module:
    build: Callable[..., nn.Module] = getattr(torchvision.models, name)
    return build()


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    assert size(on_meta(name)) == SIZES[name]


def test_every_row_is_held_to_a_size() -> None:
    assert RELATED.keys() == SIZES.keys() | HIGHWAY.keys()


@pytest.mark.parametrize("name", HIGHWAY)
def test_highway_reconstructions_have_the_layers_and_come_within_five_percent(name: str) -> None:
    layers, published = HIGHWAY[name]
    network = on_meta(name)
    assert abs(size(network) / published - 1) < 0.05
    highways = [m for m in network.modules() if isinstance(m, HighwayLayer)]
    others = [
        m
        for key, m in network.named_modules()
        if isinstance(m, (nn.Conv2d, nn.Linear)) and not key.endswith((".transform", ".gate"))
    ]
    assert len(highways) + len(others) == layers
    assert "reconstruction" in network.spec.note.lower()


@pytest.mark.parametrize("name", TWINS)
def test_parameters_have_torchvisions_names_order_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), reference(name)
    shapes = [(key, value.shape) for key, value in ours.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in theirs.state_dict().items()]
    names = [key for key, _ in ours.named_modules()]
    assert names == [key for key, _ in theirs.named_modules()]
    ours.load_state_dict(theirs.state_dict(), assign=True, strict=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == TWINS[0] else pytest.mark.slow) for name in TWINS],
)
def test_outputs_gradients_and_statistics_are_torchvisions(name: str) -> None:
    theirs = reference(name).double()
    randomise(theirs)
    ours = create_model(name).double()
    ours.load_state_dict(theirs.state_dict())
    assert_same_numbers(ours, theirs, sides=(65, 78))


def test_densenets_points_have_the_papers_sizes() -> None:
    points = on_meta("densenet121").eval().features(torch.empty(1, 3, 224, 224, device="meta"))
    assert {name: tuple(value.shape[1:]) for name, value in points.items()} == {
        "stem": (64, 56, 56),
        "denseblock1": (256, 56, 56),  # 64 + 6 * 32
        "transition1": (128, 28, 28),
        "denseblock2": (512, 28, 28),  # 128 + 12 * 32
        "transition2": (256, 14, 14),
        "denseblock3": (1024, 14, 14),  # 256 + 24 * 32
        "transition3": (512, 7, 7),
        "denseblock4": (1024, 7, 7),  # 512 + 16 * 32
        "norm5": (1024, 7, 7),
        "pooled": (1024,),
        "logits": (1000,),
    }


def test_the_cifar_networks_halve_their_maps_twice() -> None:
    for name in ("densenet_bc_100_12", "highway19", "highway32"):
        points = on_meta(name).eval().features(torch.empty(1, 3, 32, 32, device="meta"))
        sides = {value.shape[-1] for value in points.values() if value.dim() == 4}
        assert sides == {32, 16, 8}, name


@pytest.mark.parametrize("name", RELATED)
def test_sides_are_exactly_those_that_work(name: str) -> None:
    network = on_meta(name).eval()
    smallest, largest = network.spec.sides
    assert largest is None
    for height, width in itertools.product((smallest, smallest + 1, smallest + 9), repeat=2):
        logits = network(torch.empty(1, 3, height, width, device="meta"))
        assert logits.shape == (1, network.spec.classes)
    for height, width in ((smallest - 1, smallest), (smallest, smallest - 1)):
        x = torch.empty(1, 3, height, width, device="meta")
        with pytest.raises(ConfigError, match=f"{height}x{width}"):
            network(x)
        with pytest.raises(RuntimeError):  # what would happen without the check
            for point in network.points:
                x = getattr(network, point)(x)


def plain_highway19(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """arXiv:1505.00387, Eq. 3: from what comes in towards what the layer makes of it."""

    def conv(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    for stage in (1, 2, 3):
        first = 0 if stage == 1 else 1
        if first:
            x = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
        x = conv(x, f"stage{stage}.{first}").clamp(min=0)
        for layer in range(first + 2, first + 7):
            name = f"stage{stage}.{layer}"
            made = conv(x, f"{name}.transform").clamp(min=0)
            x = x + (made - x) / (1 + torch.exp(-conv(x, f"{name}.gate")))
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def plain_densenet_bc(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """arXiv:1608.06993, Section 3: BN-ReLU-1x1-BN-ReLU-3x3, concatenation, compression by half."""

    def activated(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"features.{name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-5) ** 0.5 * weight + bias).clamp(min=0)

    def conv(x: Tensor, name: str, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"features.{name}.weight"], padding=padding)

    x = conv(x, "conv0", 1)
    for block in (1, 2, 3):
        for layer in range(1, 17):
            name = f"denseblock{block}.denselayer{layer}"
            made = conv(activated(x, f"{name}.norm1"), f"{name}.conv1")
            made = conv(activated(made, f"{name}.norm2"), f"{name}.conv2", 1)
            x = torch.cat([x, made], 1)
        if block < 3:
            x = conv(activated(x, f"transition{block}.norm"), f"transition{block}.conv")
            x = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).mean(0)
    x = activated(x, "norm5").mean((2, 3))
    return x @ state["classifier.weight"].T + state["classifier.bias"]


@pytest.mark.parametrize(
    ("name", "formula"),
    [("highway19", plain_highway19), ("densenet_bc_100_12", plain_densenet_bc)],
)
def test_networks_without_a_reference_follow_their_formula(
    name: str, formula: Callable[[Tensor, dict[str, Tensor]], Tensor]
) -> None:
    network = create_model(name, seed=0).double().eval()
    randomise(network)
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        assert relative_difference(network(x), formula(x, network.state_dict())) < 1e-12


@pytest.mark.parametrize(("name", "bias"), [("highway19", -2), ("highway32", -3)])
def test_gates_begin_nearly_closed(name: str, bias: float) -> None:
    for initialisation in ("he", "xavier"):
        network = create_model(name, seed=0, initialisation=initialisation)
        gates = [p for key, p in network.named_parameters() if key.endswith(".gate.bias")]
        assert gates and all(gate.eq(bias).all() for gate in gates)
    layer = next(m for m in create_model(f"{name}:gate_bias=-40").modules()
                 if isinstance(m, HighwayLayer))  # fmt: skip
    x = torch.rand(1, layer.gate.in_channels, 5, 5)
    torch.testing.assert_close(layer(x), x)  # a closed gate carries


def test_dropout_in_dense_layers_is_an_option() -> None:
    network = create_model("densenet_bc_100_12", drop_rate=0.5, seed=0)
    plain = create_model("densenet_bc_100_12", seed=0)
    images = torch.randn(2, 3, 8, 8)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(network.eval()(images), plain.eval()(images))
    assert not torch.equal(network.train()(images), plain.train()(images))
    with pytest.raises(ConfigError, match="drop_rate=1"):
        create_model("densenet_bc_100_12", drop_rate=1.0)
