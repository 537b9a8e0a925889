"""One contract for every row of the table."""

import copy
import itertools
import math
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from networks import FAMILIES, calm, images, relative_difference, side_of
from resnets.errors import ConfigError, UnknownName
from resnets.models import Network, create_model, list_models
from resnets.models.specs import SPECS, spec_of


def shapes_of(name: str) -> list[torch.Size]:
    with torch.device("meta"):
        return [parameter.shape for parameter in create_model(name).parameters()]


SHAPES = {name: shapes_of(name) for name in SPECS}
SIZES = {name: sum(map(math.prod, shapes)) for name, shapes in SHAPES.items()}
LAYERS = {name: sum(len(shape) > 1 for shape in shapes) for name, shapes in SHAPES.items()}
DEEP = {name for name, layers in LAYERS.items() if layers > 210}
"""More than 200 layers, those of shortcuts aside."""
HEAVY = {name for name in SPECS if SIZES[name] > 30_000_000} | DEEP
SMALLEST = [
    min((name for name in SPECS if SPECS[name].family == family), key=lambda name: LAYERS[name])
    for family in FAMILIES
]


def each_name(*, left_out: set[str] = frozenset(), heavy_is_slow: bool = True) -> list[Any]:  # type: ignore[assignment]
    """Every name as a parameter; heavy ones are tried by ``make test-all``."""
    return [
        pytest.param(name, marks=pytest.mark.slow if heavy_is_slow and name in HEAVY else ())
        for name in SPECS
        if name not in left_out
    ]


@pytest.fixture(scope="module", params=each_name())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(name: str) -> Network:
    """Seed 0, evaluating, every residual scaled down."""
    return calm(create_model(name, seed=0)).eval()


@pytest.fixture(scope="module")
def expected(name: str, network: Network) -> dict[str, Tensor]:
    """Every point of the network, for the images that all tests share."""
    with torch.no_grad():
        return network.features(images(name))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_logits_have_one_column_per_class(name: str, network: Network) -> None:
    logits = network(images(name))
    assert logits.shape == (2, SPECS[name].classes)
    assert torch.isfinite(logits).all()


def test_features_name_every_point_shallow_to_deep(
    name: str, network: Network, expected: dict[str, Tensor]
) -> None:
    assert tuple(expected) == network.points
    assert network.points[-1] == "logits" and network.points[-2] in (
        "pooled",
        "hidden",
        "maps",
        "f6",
    )
    assert torch.equal(expected["logits"], network(images(name)))
    sides = [value.shape[-1] for value in expected.values() if value.dim() == 4]
    assert sides == sorted(sides, reverse=True), "no point is larger than the one before it"


def test_features_give_the_points_asked_for(
    name: str, network: Network, expected: dict[str, Tensor]
) -> None:
    first, middle = network.points[0], network.points[len(network.points) // 2]
    some = network.features(images(name), at=[middle, first])
    assert list(some) == list(dict.fromkeys([first, middle]))
    assert all(torch.equal(some[point], expected[point]) for point in some)


def test_the_head_reads_the_last_point_but_one(
    network: Network, expected: dict[str, Tensor]
) -> None:
    assert torch.equal(network.logits(expected[network.points[-2]]), expected["logits"])


def test_gradients_reach_every_parameter(name: str, network: Network) -> None:
    learner = copy.deepcopy(network).train()
    with torch.enable_grad():
        answers = learner.training_logits(images(name))
        losses = [w * F.cross_entropy(logits, torch.tensor([0, 1])) for w, logits in answers]
        torch.stack(losses).sum().backward()
    for key, parameter in learner.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, key


def test_weights_are_a_function_of_the_seed(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (create_model(name, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for (key, first), second, third in zip(
        one.named_parameters(), same.parameters(), other.parameters(), strict=True
    ):
        if first.dim() > 1:  # the others are batch norm's, or biases
            assert torch.equal(first, second) and not torch.equal(first, third), key


def test_weights_survive_safetensors(
    name: str, network: Network, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    with torch.device("meta"):
        loaded = create_model(name)
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    loaded.load_state_dict(state, assign=True)
    # another place in memory may mean another kernel, and another last bit
    assert relative_difference(loaded.eval()(images(name)), expected["logits"]) < 1e-6


def test_other_channels_and_class_counts_are_one_argument_away(name: str) -> None:
    channels = 1 if SPECS[name].input_size[0] == 3 else 3
    network = create_model(name, num_classes=7, in_channels=channels, seed=0).eval()
    assert network(images(name, channels=channels)).shape == (2, 7)


def test_without_a_head_its_input_comes_out(
    name: str, network: Network, expected: dict[str, Tensor]
) -> None:
    with torch.device("meta"):
        headless = create_model(name, num_classes=0).eval()
    state = network.state_dict()
    headless.load_state_dict({key: state[key] for key in headless.state_dict()}, assign=True)
    features = expected[network.points[-2]]
    features = features.mean(dim=(2, 3)) if features.dim() == 4 else features
    assert relative_difference(headless(images(name)), features) < 1e-6


def test_bfloat16_agrees_to_three_percent_of_the_largest_logit(
    name: str, network: Network, expected: dict[str, Tensor]
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(images(name))
    assert relative_difference(rough, expected["logits"]) < 0.03


def test_channels_last_agrees_to_float32_rounding(
    name: str, network: Network, expected: dict[str, Tensor]
) -> None:
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)
    pixels = images(name).contiguous(memory_format=torch.channels_last)
    assert relative_difference(twin(pixels), expected["logits"]) < 1e-5


def test_odd_sizes_work_or_the_smallest_that_does_is_told(name: str, network: Network) -> None:
    channels, (smallest, largest) = SPECS[name].input_size[0], SPECS[name].sides
    sizes = [(smallest, smallest), (smallest, largest or smallest + 17)]
    sizes += [(47, 38)] if smallest <= 38 and (largest or 47) >= 47 else []
    for height, width in sizes:
        answer = network(torch.zeros(1, channels, height, width))
        assert answer.shape == (1, SPECS[name].classes)
    wrong = [smallest - 1] if smallest > 1 else []
    for side in wrong + ([largest + 1] if largest else []):
        with pytest.raises(ConfigError, match=f"{side}x{side}") as caught:
            network(torch.zeros(1, channels, side, side))
        assert str(smallest) in caught.value.fix


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SMALLEST else pytest.mark.slow) for name in SPECS],
)
def test_torch_export_takes_every_network_with_any_batch_size(name: str) -> None:
    network = calm(create_model(name, seed=0)).eval()
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(network, (images(name),), dynamic_shapes=({0: batch},))
    for count in (1, 3):
        pixels = images(name, count=count)
        assert relative_difference(exported.module()(pixels), network(pixels)) < 1e-6


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SMALLEST else pytest.mark.slow)
        for name in SPECS
        if name not in DEEP
    ],
)
def test_torch_compile_takes_networks_whole(name: str) -> None:
    """Without a break in the graph; of the compiler's stages all but the code generation."""
    torch.compiler.reset()
    network = calm(create_model(name, seed=0)).eval()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert relative_difference(compiled(images(name)), network(images(name))) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_compiled_code_answers_as_the_network_does(name: str) -> None:
    torch.compiler.reset()
    network = calm(create_model(name, seed=0)).eval()
    compiled = torch.compile(network, fullgraph=True)
    assert relative_difference(compiled(images(name)), network(images(name))) < 1e-4


def test_forward_keeps_no_point_alive() -> None:
    network = create_model("resnet20").eval()
    seen: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    layer1 = network.get_submodule("layer1")
    layer1.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
    network.get_submodule("fc").register_forward_hook(
        lambda *call: alive.append(seen[-1]() is not None)
    )
    network(images("resnet20"))
    network.features(images("resnet20"), at=["layer2"])  # stops before the head
    network.features(images("resnet20"), at=["layer1", "logits"])
    assert alive == [False, True]


def test_a_point_that_is_not_there_is_answered_with_the_nearest() -> None:
    network = create_model("resnet20")
    with pytest.raises(UnknownName, match="did you mean 'layer3'") as caught:
        network.features(images("resnet20"), at=["layer4"])
    assert "stem, layer1, layer2, layer3, pooled, logits" in caught.value.fix
    assert list(network.features(images("resnet20"), at="layer3")) == ["layer3"]
    assert network.features(images("resnet20"), at=[]) == {}


def test_a_typo_is_answered_with_the_right_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        create_model("resnet-50")


@pytest.mark.parametrize(
    "mistake",
    [
        {"num_classes": -1},
        {"num_classes": 2.5},
        {"num_classes": True},
        {"in_channels": 0},
        {"seed": -1},
        {"initialisation": "xaver"},
    ],
)
def test_nonsense_is_refused_by_its_name(mistake: dict[str, Any]) -> None:
    ((setting, value),) = mistake.items()
    with pytest.raises(ConfigError, match=f"{setting}={value!r}"):
        create_model("resnet20", **mistake)


def test_a_seeded_network_is_put_on_the_default_device() -> None:
    with torch.device("meta"):
        assert next(create_model("resnet20", seed=0).parameters()).is_meta
    assert next(create_model("resnet20", seed=0).parameters()).device.type == "cpu"


def test_names_are_listed_in_the_tables_order_by_shell_pattern() -> None:
    assert list_models() == list(SPECS)
    assert list_models("resnet1*") == [name for name in SPECS if name.startswith("resnet1")]
    assert list_models("resnet?0") == ["resnet50", "resnet20"]
    assert list_models("lstm*") == []


def test_every_row_names_its_source_and_its_family() -> None:
    assert len(list_models()) == len(set(list_models()))
    for name, spec in SPECS.items():
        assert spec.source and spec.family, name
        assert spec.note.endswith(".") or not spec.note, name
        assert side_of(spec) >= spec.sides[0]
        if spec.family == "tutorial":
            assert "Departs" in spec.note, name
    assert set(itertools.chain(*(spec.options for spec in SPECS.values())))
    assert spec_of("resnet50") is SPECS["resnet50"]
