"""LeNet, AlexNet, VGG, NiN and GoogLeNet are what their papers, torchvision and a tutorial say."""

import copy
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from networks import relative_difference
from parity import assert_close, assert_same_numbers, randomise
from resnets.errors import ConfigError
from resnets.models import Network, create_model
from resnets.models.classic import ConvNet, codes
from resnets.models.googlenet import GoogLeNet, window_means
from resnets.models.specs.classic import CLASSIC, ConvNetSpec

SIZES = {
    "lenet5": 60_000,
    "tutorial_lenet5": 44_426,
    "alexnet2012": 60_965_224,
    "alexnet": 61_100_840,
    "tutorial_alexnet": 46_764_746,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "tutorial_vgg11": 22_332_682,
    "tutorial_vgg13": 22_517_194,
    "tutorial_vgg16": 27_826_890,
    "tutorial_vgg19": 33_136_586,
    "nin_cifar": 966_986,
    "nin_imagenet": 7_595_176,  # summed by hand from the zoo's layers
    "googlenet_2014": 13_378_280,
    "googlenet_2014:auxiliary=false": 6_998_552,
    "googlenet": 13_004_888,
    "googlenet:auxiliary=false": 6_624_904,
}
"""Trainable parameters: the papers', torchvision's, and those of the tutorial's code as printed."""
TWINS = {
    "alexnet": (71, 90),
    "vgg11": (33, 46),
    "vgg13": (33, 46),
    "vgg16": (33, 46),
    "vgg19": (33, 46),
    "vgg11_bn": (33, 46),
    "vgg13_bn": (33, 46),
    "vgg16_bn": (33, 46),
    "vgg19_bn": (33, 46),
    "googlenet:auxiliary=false": (65, 78),
}
"""Networks that torchvision has too, and the size of the images they are compared on."""
QUICK = ("googlenet:auxiliary=false",)


def on_meta(name: str, **options: Any) -> Network:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return create_model(name, **options)


def reference(name: str) -> nn.Module:
    name, _, option = name.partition(":")
    build: Callable[..., nn.Module] = getattr(torchvision.models, name)
    if name == "googlenet":
        return build(init_weights=False, aux_logits=not option)
    return build()


def twins(name: str) -> tuple[Network, nn.Module]:
    """Ours and torchvision's in float64 with the same random state, and without dropout."""
    with torch.device("meta"):
        ours, theirs = create_model(name), reference(name)
    return same_state(ours, theirs)


def same_state(ours: Network, theirs: nn.Module) -> tuple[Network, nn.Module]:
    theirs.double().to_empty(device="cpu")
    randomise(theirs)
    state = theirs.state_dict()  # the weights are shared, statistics are not
    statistics = {key: value.clone() for key, value in theirs.named_buffers()}
    ours.load_state_dict(state | statistics, assign=True)
    for module in itertools.chain(ours.modules(), theirs.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return ours, theirs


def trunk_of(network: Network) -> nn.Sequential:
    trunk = network.get_submodule("features")
    assert isinstance(trunk, nn.Sequential)
    return trunk


def drawn(name: str, **options: Any) -> Network:
    """A network in float64, evaluating, with no bias at zero."""
    network = create_model(name, seed=0, **options).double().eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0, 0.2)
    return network


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name: str) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == SIZES[name]


def test_every_row_is_held_to_a_size() -> None:
    assert CLASSIC.keys() == {name.partition(":")[0] for name in SIZES}


def test_alexnet_in_one_tower_has_the_size_of_the_papers_without_groups() -> None:
    spec = CLASSIC["alexnet2012"]
    assert isinstance(spec, ConvNetSpec)
    stages = tuple(tuple(conv._replace(groups=1) for conv in stage) for stage in spec.stages)
    with torch.device("meta"):
        whole = ConvNet(dataclasses.replace(spec, stages=stages), num_classes=1000, in_channels=3)
    assert sum(p.numel() for p in whole.parameters()) == 62_378_344


def test_lenet5_has_the_papers_size_layer_by_layer() -> None:
    sizes = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    children = dict(on_meta("lenet5").named_children())
    for name, size in sizes.items():
        assert sum(p.numel() for p in children[name].parameters()) == size, name
    assert not list(children["rbf"].parameters())


@pytest.mark.parametrize("name", [*TWINS, "googlenet"])
def test_parameters_have_torchvisions_names_order_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), reference(name)
    shapes = [(key, value.shape) for key, value in ours.state_dict().items()]
    assert shapes == [(key, value.shape) for key, value in theirs.state_dict().items()]
    children = [key for key, _ in ours.named_children()]
    assert children == [key for key, _ in theirs.named_children()]
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict(), assign=True, strict=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TWINS],
)
def test_outputs_gradients_and_statistics_are_torchvisions(name: str) -> None:
    assert_same_numbers(*twins(name), sides=TWINS[name])


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "vgg16"])
def test_networks_with_narrow_hidden_layers_are_torchvisions(name: str) -> None:
    """In a tenth of the time that the 103 million weights of VGG's first hidden layer take."""
    spec = CLASSIC[name]
    assert isinstance(spec, ConvNetSpec)
    with torch.device("meta"):
        narrow = dataclasses.replace(spec, hidden=(16, 16))
        ours = ConvNet(narrow, num_classes=1000, in_channels=3)
        theirs = reference(name)
        classifier = theirs.get_submodule("classifier")
        wide = [(k, m) for k, m in classifier.named_children() if isinstance(m, nn.Linear)]
        features = wide[0][1].in_features
        for (place, _), width in zip(wide, (16, 16, 1000), strict=True):
            setattr(classifier, place, nn.Linear(features, width))
            features = width
    assert_same_numbers(*same_state(ours, theirs), sides=TWINS[name])


def test_googlenets_auxiliary_heads_are_torchvisions() -> None:
    ours, theirs = twins("googlenet")
    images = torch.randn(2, 3, 65, 78, dtype=torch.float64)
    expected = theirs.train()(images)
    found = ours.train().training_logits(images)
    assert [weight for weight, _ in found] == [1.0, 0.3, 0.3]
    answers = [expected.logits, expected.aux_logits2, expected.aux_logits1]
    for (_, mine), its in zip(found, answers, strict=True):
        assert_close(mine, its, "logits")
    pulls = [torch.randn_like(its) for its in answers]
    torch.autograd.backward([mine for _, mine in found], pulls)
    torch.autograd.backward(answers, pulls)
    for (key, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and its.grad is not None, key
        assert_close(mine.grad, its.grad, key)


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_auxiliary_heads_speak_in_training_only(name: str) -> None:
    network = create_model(name, num_classes=5, seed=0)
    images = torch.randn(2, 3, 64, 64)
    assert [logits.shape for _, logits in network.training_logits(images)] == [(2, 5)] * 3
    assert network(images).shape == (2, 5)
    ((weight, logits),) = network.eval().training_logits(images)
    assert weight == 1 and torch.equal(logits, network(images))
    for without in (on_meta(name, auxiliary=False), on_meta(name, num_classes=0)):
        assert not [key for key in without.state_dict() if key.startswith("aux")]
        assert len(without.train().training_logits(images.to("meta"))) == 1


def test_auxiliary_heads_read_the_papers_windows_and_take_any_map() -> None:
    x = torch.randn(2, 3, 14, 14)
    assert torch.equal(window_means(x), F.avg_pool2d(x, 5, 3))  # Section 5
    for height, width in itertools.product((1, 2, 3, 4, 7, 15), repeat=2):
        means = window_means(torch.ones(1, 2, height, width))
        assert torch.equal(means, torch.ones(1, 2, 4, 4))
    for side in (31, 40):  # the smallest image, and one that leaves few pixels
        network = create_model("googlenet_2014", num_classes=2, seed=0)
        answers = network.training_logits(torch.randn(2, 3, side, side))
        torch.stack([logits for _, logits in answers]).sum().backward()
        assert all(p.grad is not None for p in network.parameters())


GOOGLENET_TABLE = {
    "conv1": (64, 112),
    "maxpool1": (64, 56),
    "conv3": (192, 56),
    "maxpool2": (192, 28),
    "inception3a": (256, 28),
    "inception3b": (480, 28),
    "maxpool3": (480, 14),
    "inception4a": (512, 14),
    "inception4b": (512, 14),
    "inception4c": (512, 14),
    "inception4d": (528, 14),
    "inception4e": (832, 14),
    "maxpool4": (832, 7),
    "inception5a": (832, 7),
    "inception5b": (1024, 7),
}
"""Channels and side of each output (arXiv:1409.4842, Table 1)."""


@pytest.mark.parametrize("name", ["googlenet", "googlenet_2014"])
def test_googlenets_points_have_the_papers_sizes(name: str) -> None:
    points = on_meta(name).eval().features(torch.empty(1, 3, 224, 224, device="meta"))
    for point, (channels, side) in GOOGLENET_TABLE.items():
        assert points[point].shape == (1, channels, side, side), point
    assert points["pooled"].shape == (1, 1024)
    assert points["logits"].shape == (1, 1000)


POINTS = {
    "lenet5": [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,)],
    "tutorial_lenet5": [(6, 12, 12), (16, 4, 4), (84,), (10,)],
    "alexnet2012": [(96, 27, 27), (256, 13, 13), (256, 6, 6), (4096,), (1000,)],
    "alexnet": [(64, 27, 27), (192, 13, 13), (256, 6, 6), (4096,), (1000,)],
    "tutorial_alexnet": [(96, 27, 27), (256, 11, 11), (256, 5, 5), (4096,), (10,)],
    "vgg16": [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7), (4096,),
              (1000,)],
    "tutorial_vgg11": [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7),
                       (512,), (10,)],
    "nin_cifar": [(96, 16, 16), (192, 8, 8), (192, 8, 8), (10,)],
    "nin_imagenet": [(96, 27, 27), (256, 13, 13), (384, 6, 6), (1024, 6, 6), (1000,)],
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_points_have_the_sizes_that_the_sources_print(name: str) -> None:
    network = on_meta(name).eval()
    points = network.features(torch.empty(2, *network.spec.input_size, device="meta"))
    assert [tuple(value.shape[1:]) for value in points.values()] == POINTS[name]


@pytest.mark.parametrize("name", CLASSIC)
def test_sides_are_exactly_those_that_work(name: str) -> None:
    network = on_meta(name).eval()
    channels = network.spec.input_size[0]
    smallest, largest = network.spec.sides
    beyond = largest or smallest + 9
    for height, width in ((smallest, beyond), (beyond, smallest), (smallest + 1, beyond - 1)):
        logits = network(torch.empty(1, channels, height, width, device="meta"))
        assert logits.shape == (1, network.spec.classes)
    middle = smallest + 1
    for side in [smallest - 1] + ([largest + 1] if largest else []):
        for height, width in ((side, side), (side, middle), (middle, side)):
            x = torch.empty(1, channels, height, width, device="meta")
            with pytest.raises(ConfigError, match=f"{height}x{width}"):
                network(x)
            with pytest.raises(RuntimeError):  # what would happen without the check
                for point in network.points:
                    x = getattr(network, point)(x)


TABLE_I = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""
"""LeCun et al. 1998: which map of S2 (a row) is read by which map of C3 (a column)."""


def squash(x: Tensor) -> Tensor:
    return 1.7159 * torch.tanh(2 / 3 * x)


def subsampled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    four = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    return squash(four * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1))


def plain_lenet5(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """LeCun et al. 1998, Section II.B, from its sentences."""
    x = squash(F.conv2d(x, state["c1.0.weight"], state["c1.0.bias"]))
    x = subsampled(x, state["s2.0.weight"], state["s2.0.bias"])
    kernels = iter(state["c3.0.weight"])
    columns = list(zip(*TABLE_I.split(), strict=True))
    maps = []
    for column, bias in zip(columns, state["c3.0.bias"], strict=True):
        read = [x[:, i : i + 1] for i, mark in enumerate(column) if mark == "X"]
        maps.append(sum(F.conv2d(one, next(kernels)[None, None]) for one in read) + bias)
    assert next(kernels, None) is None
    x = subsampled(squash(torch.cat(maps, 1)), state["s4.0.weight"], state["s4.0.bias"])
    x = squash(F.conv2d(x, state["c5.0.weight"], state["c5.0.bias"]))[..., 0, 0]
    x = squash(x @ state["f6.1.weight"].T + state["f6.1.bias"])
    return torch.stack([-((x - code) ** 2).sum(1) for code in state["rbf.codes"]], 1)


def test_the_partial_connections_are_sixty() -> None:
    assert TABLE_I.count("X") == 60


def plain_tutorial_lenet5(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """What the tutorial's text says: sigmoids, and the largest of each 2x2."""
    for index in (0, 3):
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        x = 1 / (1 + torch.exp(-F.conv2d(x, weight, bias)))
        x = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
    x = x.reshape(len(x), -1)
    for index in (0, 2, 4):
        x = x @ state[f"classifier.{index}.weight"].T + state[f"classifier.{index}.bias"]
        x = x if index == 4 else 1 / (1 + torch.exp(-x))
    return x


def over_the_border(x: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Windows of 3x3, 2 apart, cut off where the map ends."""
    rows = range(0, max(1, x.shape[2] - 1), 2)
    columns = range(0, max(1, x.shape[3] - 1), 2)
    windows = [[reduce(x[:, :, i : i + 3, j : j + 3]) for j in columns] for i in rows]
    return torch.stack([torch.stack(row, -1) for row in windows], -2)


def maximum(x: Tensor) -> Tensor:
    return x.amax((2, 3))


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def plain_nin_cifar(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """arXiv:1312.4400, Eq. 2 and Fig. 2, as the authors' files make it."""

    def layer(x: Tensor, name: str, padding: int = 0) -> Tensor:
        x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)
        return x.clamp(min=0)

    x = layer(layer(layer(x, "stage1.0", 2), "stage1.2"), "stage1.4")
    x = over_the_border(x, maximum)
    x = layer(layer(layer(x, "stage2.0", 2), "stage2.2"), "stage2.4")
    x = over_the_border(x, mean)
    x = layer(layer(layer(x, "maps.0", 1), "maps.2"), "classifier")
    return mean(x)


def plain_response_norm(x: Tensor) -> Tensor:
    """Krizhevsky et al. 2012, Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75."""
    normed = []
    for i in range(x.shape[1]):
        near = x[:, max(0, i - 2) : i + 3]
        normed.append(x[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75)
    return torch.stack(normed, 1)


def plain_alexnet2012(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Krizhevsky et al. 2012, Section 3.5: two towers that meet in the third convolution."""

    def layer(x: Tensor, index: int, *, towers: int, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        parts = zip(x.chunk(towers, 1), weight.chunk(towers), bias.chunk(towers), strict=True)
        maps = [F.conv2d(one, w, b, stride, padding) for one, w, b in parts]
        return torch.cat(maps, 1).clamp(min=0)

    x = plain_response_norm(layer(x, 0, towers=1, stride=4))
    x = F.max_pool2d(x, 3, 2)
    x = plain_response_norm(layer(x, 4, towers=2, padding=2))
    x = F.max_pool2d(x, 3, 2)
    x = layer(x, 8, towers=1, padding=1)
    x = layer(x, 10, towers=2, padding=1)
    x = layer(x, 12, towers=2, padding=1)
    x = F.max_pool2d(x, 3, 2).reshape(len(x), -1)
    for index in (0, 3, 6):
        x = x @ state[f"classifier.{index}.weight"].T + state[f"classifier.{index}.bias"]
        x = x if index == 6 else x.clamp(min=0)
    return x


def plain_googlenet_2014(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """arXiv:1409.4842, Table 1 and Fig. 3."""

    def layer(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2).clamp(min=0)

    def pool(x: Tensor) -> Tensor:
        return over_the_border(x, maximum)

    x = plain_response_norm(pool(layer(x, "conv1", stride=2)))
    x = plain_response_norm(layer(layer(x, "conv2"), "conv3"))
    x = pool(x)
    for place in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        x = pool(x) if place in ("4a", "5a") else x
        name = f"inception{place}"
        assert state[f"{name}.branch3.1.conv.weight"].shape[-1] == 5
        branches = [layer(x, f"{name}.branch1")]
        for branch in ("branch2", "branch3"):
            branches.append(layer(layer(x, f"{name}.{branch}.0"), f"{name}.{branch}.1"))
        branches.append(layer(F.max_pool2d(x, 3, 1, padding=1), f"{name}.branch4.1"))
        x = torch.cat(branches, 1)
    return mean(x) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize(
    ("name", "formula", "sides"),
    [
        ("lenet5", plain_lenet5, (32, 32)),
        ("tutorial_lenet5", plain_tutorial_lenet5, (28, 28)),
        ("nin_cifar", plain_nin_cifar, (32, 32)),
        ("nin_cifar", plain_nin_cifar, (21, 30)),
        ("alexnet2012", plain_alexnet2012, (227, 240)),
        ("googlenet_2014:auxiliary=false", plain_googlenet_2014, (64, 79)),
    ],
)
def test_networks_without_a_reference_follow_their_formula(
    name: str, formula: Callable[[Tensor, dict[str, Tensor]], Tensor], sides: tuple[int, int]
) -> None:
    network = drawn(name)
    x = torch.randn(2, network.spec.input_size[0], *sides, dtype=torch.float64)
    with torch.no_grad():
        assert relative_difference(network(x), formula(x, network.state_dict())) < 1e-12


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("alexnet2012", "Linear ReLU Dropout Linear ReLU Dropout Linear"),
        ("tutorial_alexnet", "Dropout Linear ReLU Dropout Linear ReLU Dropout Linear"),
        ("tutorial_vgg11", "Linear ReLU Dropout Linear ReLU Dropout Linear"),
        ("tutorial_lenet5", "Linear Sigmoid Linear Sigmoid Linear"),
    ],
)
def test_dropout_is_where_the_source_has_it(name: str, kinds: str) -> None:
    network = on_meta(name)
    layers = list(network.get_submodule("classifier").children())
    assert [type(layer).__name__ for layer in layers] == kinds.split()
    assert network.get_submodule(network.head) is layers[-1]
    dropped = isinstance(trunk_of(network)[-1], nn.Dropout2d)
    assert dropped == name.startswith("tutorial_vgg")


def test_codes_are_distinct_and_about_half_the_bits_apart() -> None:
    few = torch.tensor(codes(10, 84))
    apart = (few[:, None] != few).sum(2)[~torch.eye(10, dtype=torch.bool)]
    assert few.abs().eq(1).all() and 35 <= apart.min() and apart.max() <= 49
    assert len(set(map(tuple, codes(5000, 84)))) == 5000
    assert codes(3, 84) == codes(5000, 84)[:3], "a code does not depend on how many there are"


def test_the_output_codes_of_lenet5_are_fixed_and_kept_with_the_weights() -> None:
    network = create_model("lenet5", num_classes=26, seed=0)
    assert network.state_dict()["rbf.codes"].shape == (26, 84)
    assert "rbf.codes" not in dict(network.named_parameters())
    assert create_model("lenet5", num_classes=0)(torch.zeros(1, 1, 32, 32)).shape == (1, 84)


def test_features_is_a_call_and_a_child() -> None:
    network = create_model("vgg11", num_classes=3, seed=0, dropout=0.0)
    images = torch.randn(1, 3, 32, 32)
    assert list(network.features(images, at=["stage2"])) == ["stage2"]
    assert torch.equal(network.features(images)["logits"], network(images))
    first = network.get_submodule("features.0")
    assert isinstance(first, nn.Conv2d) and trunk_of(network)[0] is first
    stage1 = trunk_of(network)[:3](images)  # as torchvision's
    assert torch.equal(stage1, network.features(images, at=["stage1"])["stage1"])
    called = torch.func.functional_call(network, dict(network.named_parameters()), (images,))
    assert torch.equal(called, network(images))


def test_a_copy_has_its_own_trunk_and_a_replaced_layer_is_used() -> None:
    network = create_model("tutorial_lenet5", seed=0)
    images = torch.randn(2, 1, 28, 28)
    before = network(images)
    twin = copy.deepcopy(network)
    trunk_of(twin)[0] = nn.Conv2d(1, 6, 5)
    assert torch.equal(network(images), before)
    assert not torch.equal(twin(images), before)
    assert torch.equal(twin.features(images)["logits"], twin(images))


def test_dropout_is_an_option_where_there_is_some() -> None:
    network = create_model("nin_cifar", dropout=0.0, seed=0)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.train()(images), network.eval()(images))
    assert isinstance(create_model("googlenet:dropout=0.5", num_classes=2), GoogLeNet)
    with pytest.raises(ConfigError, match="dropout=1.5"):
        create_model("alexnet", dropout=1.5)
    with pytest.raises(ConfigError, match="this network has none"):
        create_model("tutorial_lenet5", dropout=0.5)
