"""Costs are those that a second counter, the papers and closed formulas give."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from counterparts import counted_by_torch
from resnets.cost import ReceptiveField, listing, measure, model_rows
from resnets.errors import ConfigError, UnknownName
from resnets.models import create_model, list_models
from resnets.models.specs import SPECS

# The sums over the layers of the papers' tables. ResNets: arXiv:1512.03385, Table 1 and, for the
# stride of v1.5, torchvision's placement. VGG: arXiv:1409.1556, Table 1, column E.
EXACT = {
    "resnet18": 1_814_073_344,
    "resnet34": 3_663_761_408,
    "resnet50_v1": 3_857_973_248,
    "resnet101_v1": 7_570_194_432,
    "resnet152_v1": 11_282_415_616,
    "resnet50": 4_089_184_256,
    "plain34": 3_644_493_824,
    "vgg19": 19_632_062_464,
}

# As printed in units of 10^9: arXiv:1512.03385, Table 1 and Figure 3.
PRINTED = {
    "resnet18": 1.8,
    "resnet34": 3.6,
    "resnet50_v1": 3.8,
    "resnet101_v1": 7.6,
    "resnet152_v1": 11.3,
    "plain34": 3.6,
    "vgg19": 19.6,
}

SAMPLE = [
    "resnet20",
    "resnet34_option_c",
    "resnet50",
    "resnet50d",
    "plain20",
    "preact_resnet18",
    "keras_resnet50v2",
    "resnext50_32x4d",
    "wide_resnet16_8",
    "resnet8_pooled",
    "se_resnet18",
    "tutorial_resnet18_96",
    "lenet5",
    "alexnet2012",
    "vgg11_bn",
    "nin_cifar",
    "googlenet",
    "googlenet_2014",
    "highway19",
    "densenet_bc_100_12",
]


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(("name", "multiply_adds"), EXACT.items())
def test_multiply_adds_are_the_papers(name: str, multiply_adds: int) -> None:
    assert measure(on_meta(name), (3, 224, 224)).multiply_adds == multiply_adds
    if name in PRINTED:  # its rounding is loose
        assert multiply_adds / 1e9 == pytest.approx(PRINTED[name], rel=0.03)


def agrees_with_torch(name: str) -> None:
    network, size = on_meta(name), SPECS[name].input_size
    cost = measure(network, size)
    assert 2 * cost.multiply_adds == counted_by_torch(network, size)
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert sum(block.multiply_adds for block in cost.blocks) == cost.multiply_adds
    assert sum(block.activation_bytes for block in cost.blocks) == cost.activation_bytes
    counted = sum(row.parameters for row in cost.rows)
    auxiliary = sum(p.numel() for n, p in network.named_parameters() if n.startswith("aux"))
    assert counted == sum(block.parameters for block in cost.blocks) == cost.parameters - auxiliary


@pytest.mark.parametrize("name", SAMPLE)
def test_multiply_adds_agree_with_torchs_counter(name: str) -> None:
    agrees_with_torch(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_multiply_adds_of_all_agree_with_torchs_counter(name: str) -> None:
    agrees_with_torch(name)


def test_a_network_with_weights_costs_the_same_and_is_left_as_it_was() -> None:
    network = create_model("resnet20")
    network.get_submodule("layer1").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    cost = measure(network, (3, 32, 32))
    assert cost == measure(on_meta("resnet20"), (3, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


class Functional(nn.Module):
    """One convolution used three times, once by a function, and a linear layer without module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.weight = nn.Parameter(torch.zeros(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(self.conv(self.conv(x)), self.conv.weight, stride=2, padding=1)
        return F.linear(x.mean((2, 3)), self.weight)


def test_every_run_of_a_layer_counts_and_its_parameters_once() -> None:
    cost = measure(Functional(), (4, 8, 8))
    told = [(row.name, row.kind, row.parameters, row.multiply_adds) for row in cost.rows]
    one = 4 * 8 * 8 * 4 * 9
    rest = 4 * 4 * 4 * 4 * 9 + 10 * 4
    assert told == [
        ("conv", "Conv2d", 4 * 4 * 9 + 4, one),
        ("conv", "Conv2d", 0, one),
        ("", "Functional", 40, rest),
    ]
    assert cost.parameters == 4 * 4 * 9 + 4 + 40
    assert cost.multiply_adds == 2 * one + rest


def test_activation_memory_is_what_all_layers_put_out_in_fp32() -> None:
    # Section 4.2: 1 + 2n layers of 16 x 32 x 32, 2n of 32 x 16 x 16, 2n of 64 x 8 x 8, n = 3, each
    # with batch norm and ReLU; two shortcuts with padding; the mean and the logits.
    maps = 3 * (7 * 16 * 32 * 32 + 6 * 32 * 16 * 16 + 6 * 64 * 8 * 8)
    values = maps + 32 * 16 * 16 + 64 * 8 * 8 + 64 + 10
    assert measure(on_meta("resnet20"), (3, 32, 32)).activation_bytes == 4 * values
    half = on_meta("resnet20").bfloat16()
    assert measure(half, (3, 32, 32)).activation_bytes == 4 * values


def test_blocks_are_the_stem_the_residual_blocks_and_the_head() -> None:
    blocks = measure(on_meta("resnet50"), (3, 224, 224)).blocks
    depths = (3, 4, 6, 3)  # arXiv:1512.03385, Table 1
    residual = [f"layer{s}.{n}" for s, depth in enumerate(depths, 1) for n in range(depth)]
    assert [block.name for block in blocks] == ["stem", *residual, "pooled", "logits"]
    by_name = {block.name: block for block in blocks}
    assert by_name["layer1.1"].parameters == 69_632 + 2 * (64 + 64 + 256)  # Section 4.1, and norms
    assert by_name["layer3.5"].output_shape == (1024, 14, 14)
    assert by_name["pooled"].output_shape == (2048,)


def test_shapes_at_the_points_are_those_of_features() -> None:
    network: Any = on_meta("densenet121")
    maps = network.eval().features(torch.empty(1, 3, 224, 224, device="meta"), at=network.points)
    expected = {point: tuple(value.shape[1:]) for point, value in maps.items()}
    assert measure(network, (3, 224, 224)).points == expected


def test_inceptions_and_dense_layers_are_blocks() -> None:
    blocks = measure(on_meta("googlenet"), (3, 224, 224)).blocks
    assert sum(block.kind == "Inception" for block in blocks) == 9
    blocks = measure(on_meta("densenet121"), (3, 224, 224)).blocks
    assert sum(block.kind == "DenseLayer" for block in blocks) == 6 + 12 + 24 + 16
    assert sum(block.kind == "Transition" for block in blocks) == 3


@pytest.mark.parametrize("size", [(3, 0, 32), (3, 32), (1, 32, 32), (3, 32, 1.5)])
def test_a_size_that_cannot_be_is_a_mistake(size: Any) -> None:
    with pytest.raises(ConfigError, match="x".join(map(str, size))):
        measure(on_meta("resnet20"), size)
    with pytest.raises(ConfigError, match="10x10"):
        measure(nn.Conv2d(3, 8, 11, device="meta"), (3, 10, 10))


def chain(*windows: tuple[int, int, int, int]) -> nn.Sequential:
    """Convolutions of (kernel, stride, padding, dilation)."""
    return nn.Sequential(*(nn.Conv2d(1, 1, k, s, p, d) for k, s, p, d in windows))


@pytest.mark.parametrize(
    "windows",
    [
        [(3, 1, 1, 1)] * 5,
        [(7, 2, 3, 1), (3, 2, 1, 1), (3, 1, 1, 1)],
        [(3, 1, 0, 2), (5, 3, 2, 1), (2, 2, 0, 1), (3, 1, 4, 4)],
    ],
)
def test_a_chain_sees_what_the_formula_says(windows: list[tuple[int, int, int, int]]) -> None:
    # size = 1 + sum over layers of (k - 1) d times the strides before; start of the usual
    # arithmetic: 0.5 + sum of ((k - 1) d / 2 - p) times the strides before
    size, stride, start = 1, 1, 0.5
    for k, s, p, d in windows:
        size, start, stride = (
            size + (k - 1) * d * stride,
            start + ((k - 1) * d / 2 - p) * stride,
            stride * s,
        )
    cost = measure(chain(*windows), (1, 100, 100))
    expected = ReceptiveField((size, size), (stride, stride), (start, start))
    assert cost.receptive_field == cost.rows[-1].receptive_field == expected


def test_resnet50_sees_what_its_layers_add_up_to() -> None:
    # 7x7 and pool: 11 at stride 4; then per 3x3 twice the stride it reads: 3 at 4, and in each
    # later stage of v1.5 the first at the stage's input stride, the others at its own
    expected = 11 + 3 * 2 * 4 + 2 * (4 + 3 * 8) + 2 * (8 + 5 * 16) + 2 * (16 + 2 * 32)
    field = measure(on_meta("resnet50"), (3, 224, 224)).receptive_field
    assert (field.size, field.stride) == ((expected, expected), (32, 32))


def positive(network: nn.Module) -> nn.Module:
    """In float64, each layer's output growing with each of its inputs, so that nothing cancels."""
    network = network.double().eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(torch.rand_like(value) + 0.5)
            if value.dim() > 1:
                value.div_(value[0].numel())
            if "gate" in name:  # of a highway layer: nearly half open
                value.mul_(1e-3)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # whose gradient would show one pixel of many
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, pool)
    return network


def seen(run: Callable[[Tensor], Tensor], side: int, channels: int, unit: tuple[int, int]) -> Any:
    """First and last row, then column, of the pixels that one unit of a map depends on."""
    images = torch.ones(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    row, column = unit
    run(images)[0, :, row, column].sum().backward()
    assert images.grad is not None
    read = images.grad[0].ne(0).any(0)
    spans = [read.any(axis).nonzero() for axis in (1, 0)]
    return [(int(span[0]), int(span[-1])) for span in spans]


def expected_span(field: ReceptiveField, unit: tuple[int, int], side: int) -> Any:
    """The same from size, stride and start, within the image."""
    spans = []
    for axis in (0, 1):
        centre = field.start[axis] + unit[axis] * field.stride[axis]
        low = int(centre - field.size[axis] / 2)
        spans.append((max(0, low), min(side, low + field.size[axis]) - 1))
    return spans


@pytest.mark.parametrize(
    ("name", "point", "side"),
    [
        ("resnet20", "layer3", 112),
        ("plain20", "layer3", 112),
        ("resnet34", "layer2", 131),
        ("resnet50_v1", "layer2", 131),
        ("resnet18d", "layer3", 180),
        ("preact_resnet18", "layer3", 180),
        ("keras_resnet50v2", "layer2", 131),
        ("tutorial_resnet18_96", "layer2", 121),
        ("se_resnet18", "layer2", 100),
        ("resnet18:norm_layer=group", "layer1", 64),
        ("resnet50:replace_stride_with_dilation=[true, true, true]", "layer2", 140),
        ("vgg11", "stage3", 100),
        ("alexnet2012", "stage3", 227),
        ("nin_cifar", "maps", 75),
        ("googlenet", "inception3b", 170),
        ("googlenet_2014", "inception3b", 170),
        ("highway19", "stage2", 64),
        ("densenet121", "transition1", 100),
        ("lenet5", "s4", 32),
    ],
)
def test_a_unit_sees_the_pixels_that_its_gradient_reaches(name: str, point: str, side: int) -> None:
    network: Any = create_model(name, seed=0)
    channels = network.spec.input_size[0]
    cost = measure(network, (channels, side, side))
    block = [block for block in cost.blocks if block.point == point][-1]
    positive(network)

    def run(images: Tensor) -> Tensor:
        return network.features(images, at=[point])[point]

    middle = (block.output_shape[1] // 2, block.output_shape[2] // 2)
    for unit in (middle, (0, 0), (block.output_shape[1] - 2, 1)):
        expected = expected_span(block.receptive_field, unit, side)
        assert seen(run, side, channels, unit) == expected


def test_slices_pads_and_uneven_windows_are_followed() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(1, 2, (1, 7), padding=(0, 3))
            self.tall = nn.Conv2d(2, 2, (5, 1), stride=(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            x = F.pad(x, (3, 0, 1, 2))[:, :, 1:, 1::2]
            x = torch.cat([self.wide(x), x, x], 1)[:, 1:3]
            return F.avg_pool2d(self.tall(x), (3, 2), 2, 1)

    network, side = Uneven(), 41
    (row,) = [block for block in measure(Wrapped(network), (1, side, side)).blocks]
    positive(network)
    for unit in ((5, 4), (0, 0)):
        expected = expected_span(row.receptive_field, unit, side)
        assert seen(network, side, 1, unit) == expected


class Wrapped(nn.Module):
    """A module around another, which so becomes a block."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path))
    return tmp_path / "sizes.json"


def test_the_list_counts_each_network_at_its_own_size(cache: Path) -> None:
    (row,) = model_rows("resnet18")
    assert (row.parameters, row.multiply_adds) == (11_689_512, EXACT["resnet18"])
    assert (row.input_size, row.family) == ((3, 224, 224), "ResNet")
    assert "1512.03385" in row.source
    for row in model_rows("plain*"):
        cost = measure(on_meta(row.name), row.input_size)
        assert (row.parameters, row.multiply_adds) == (cost.parameters, cost.multiply_adds)
    (row,) = model_rows("googlenet")
    assert row.parameters == 13_004_888  # arXiv:1409.4842 in torchvision's form, both heads


def test_sizes_are_counted_once_for_each_state_of_the_code(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = model_rows("resnet2*")
    held = json.loads(cache.read_text())
    monkeypatch.setattr(listing, "create_model", None)  # now nothing can be counted
    assert model_rows("resnet2*") == rows
    monkeypatch.undo()
    for damaged in ("", "{", '{"of": 1}', json.dumps(held | {"of": "other code"})):
        monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: cache.parent)
        cache.write_text(damaged)
        assert model_rows("resnet2*") == rows
        assert json.loads(cache.read_text()) == held


def test_a_cache_that_cannot_be_written_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "file" / "below")
    )
    assert [row.name for row in model_rows("resnet18")] == ["resnet18"]


def test_a_pattern_that_nothing_matches_is_a_mistake() -> None:
    with pytest.raises(UnknownName, match="resnet-18"):
        model_rows("resnet-18")
