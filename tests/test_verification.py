"""Claims hold for the networks as they are, fail for mutants, and come from somewhere else."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import resnets.verification
from resnets.cli.app import app
from resnets.errors import ConfigError, UnknownName
from resnets.models import BUILDERS, Network, create_model, list_models
from resnets.models.blocks import BasicBlock, PlainBlock
from resnets.models.specs import SPECS
from resnets.models.specs.classic import ConvNetSpec, NiNSpec, vgg_stages
from resnets.models.specs.residual import RESIDUAL, Shortcut, Stem, StrideOn
from resnets.models.stems import PadShortcut
from resnets.verification import CLAIMS, Verdict, matching, verify, verify_network
from resnets.verification.claims import Claim

HUGE = ("resnet1202", "resnet1202_option_b", "preact_resnet1001")


def on_meta(name: str, **changes: Any) -> Network:
    """The network of that row with some of its fields changed, without memory."""
    spec = dataclasses.replace(SPECS[name], **changes)
    with torch.device("meta"):
        return BUILDERS[type(spec)](spec, num_classes=spec.classes, in_channels=spec.input_size[0])


def failing(verdicts: list[Verdict]) -> set[str]:
    return {verdict.claim for verdict in verdicts if verdict.status == "FAIL"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in HUGE else ()) for name in list_models()],
)
def test_every_claim_holds(name: str) -> None:
    verdicts = verify(name)
    assert not failing(verdicts), "\n".join(map(repr, verdicts))
    assert any(verdict.claim == "parameters" for verdict in verdicts)


def test_every_claim_is_about_a_network_there_is_and_names_its_source() -> None:
    assert CLAIMS.keys() == set(list_models())
    assert all(claim.source for claims in CLAIMS.values() for claim in claims)


# What a mutant is made of: a change to a network that is otherwise the one of its name.


def add_bias(path: str) -> Callable[[Network], None]:
    def mutate(network: Network) -> None:
        layer = network.get_submodule(path)
        assert isinstance(layer, nn.Conv2d) and layer.bias is None
        layer.bias = nn.Parameter(torch.zeros(layer.out_channels, device="meta"))

    return mutate


def drop_last(path: str) -> Callable[[Network], None]:
    """Take the last block out of a stage."""

    def mutate(network: Network) -> None:
        stage = network.get_submodule(path)
        assert isinstance(stage, nn.Sequential)
        setattr(network, path, stage[:-1])

    return mutate


def swap_strides(first: str, second: str) -> Callable[[Network], None]:
    """Let the second layer have the stride of the first."""

    def mutate(network: Network) -> None:
        layers = network.get_submodule(first), network.get_submodule(second)
        layers[0].stride, layers[1].stride = layers[1].stride, layers[0].stride

    return mutate


def no_stride(path: str) -> Callable[[Network], None]:
    """Keep a stage at the size of the one before it."""

    def mutate(network: Network) -> None:
        for part in network.get_submodule(path).modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
            elif isinstance(part, PadShortcut):
                part.stride = 1

    return mutate


def become_plain(path: str) -> Callable[[Network], None]:
    """Leave the addition out of a block, and nothing else."""

    def mutate(network: Network) -> None:
        network.get_submodule(path).__class__ = PlainBlock

    return mutate


def without_pools(network: Network) -> None:
    """Keep all stages of a network at full size."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(part, name, nn.Identity())


def pool_largest(network: Network) -> None:
    """Let shortcuts take the largest of four pixels in place of their mean."""
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.AvgPool2d):
                setattr(part, name, nn.MaxPool2d(child.kernel_size, child.stride))


MUTANTS: list[tuple[str, Callable[[Network], None], set[str]]] = [
    ("resnet50", no_stride("layer3"), {"sides, conv1 to layer4", "strides", "multiply-adds"}),
    ("resnet18", no_stride("layer2"), {"sides, conv1 to layer4", "strides", "multiply-adds"}),
    ("resnet20", no_stride("layer3"), {"sides, conv1 to layer3", "strides"}),
    ("resnet50", swap_strides("layer2.0.conv2", "layer2.0.conv1"), {"strides", "multiply-adds"}),
    ("resnet50_v1", swap_strides("layer2.0.conv1", "layer2.0.conv2"), {"strides"}),
    ("preact_resnet50", swap_strides("layer4.0.conv2", "layer4.0.conv1"), {"strides"}),
    ("resnet34", drop_last("layer3"), {"layers", "parameters", "shortcuts", "multiply-adds"}),
    ("resnet56", drop_last("layer1"), {"layers", "parameters", "shortcuts"}),
    ("plain20", drop_last("layer2"), {"layers", "parameters"}),
    ("wide_resnet28_10", drop_last("layer2"), {"convolutions", "parameters", "shortcuts"}),
    ("preact_resnet164", drop_last("layer2"), {"layers", "parameters", "shortcuts"}),
    ("resnet50", add_bias("conv1"), {"parameters"}),
    ("resnet20", add_bias("layer2.0.conv1"), {"parameters"}),
    ("resnet34", add_bias("layer4.0.downsample.0"), {"parameters", "shortcut parameters"}),
    ("resnext50_32x4d", add_bias("layer3.1.conv2"), {"parameters"}),
    ("resnet34", become_plain("layer1.1"), {"shortcuts"}),
    ("resnet20", become_plain("layer3.2"), {"shortcuts"}),
    ("resnet50c", swap_strides("conv1.0", "conv1.3"), {"stem", "multiply-adds"}),
    ("resnet50d", swap_strides("conv1.0", "conv1.3"), {"stem", "multiply-adds"}),
    ("resnet50d", pool_largest, {"shortcut layers"}),
    ("highway19", without_pools, {"sides", "multiply-adds"}),
]


@pytest.mark.parametrize(("name", "mutate", "claims"), MUTANTS)
def test_a_mutant_fails_the_claim_it_breaks(
    name: str, mutate: Callable[[Network], None], claims: set[str]
) -> None:
    network = on_meta(name)
    assert not failing(verify_network(name, network))
    mutate(network)
    assert claims <= failing(verify_network(name, network))


ALEXNET, NIN = SPECS["alexnet2012"], SPECS["nin_cifar"]
assert isinstance(ALEXNET, ConvNetSpec) and isinstance(NIN, NiNSpec)
ONE_TOWER = tuple(
    tuple(convolution._replace(groups=1) for convolution in stage) for stage in ALEXNET.stages
)


@pytest.mark.parametrize(
    ("name", "changes", "claims"),
    [
        ("resnet34", {"shortcut": "A"}, {"parameters", "shortcut parameters"}),
        ("resnet34", {"shortcut": "C"}, {"parameters", "shortcut parameters"}),
        ("resnet50d", {"shortcut": "B"}, {"shortcut layers"}),  # of the same size
        ("resnet18d", {"shortcut": "B"}, {"shortcut layers"}),
        ("preact_resnet50", {"stem": "bare"}, {"stem"}),
        ("resnet50", {"norm_layer": "group"}, {"norms", "stem", "residual"}),
        ("tutorial_resnet18_96", {"block": "basic"}, {"residual"}),
        ("resnet18", {"block": "tutorial"}, {"residual"}),
        ("resnet50", {"shortcut": "A"}, {"parameters", "shortcut parameters"}),
        ("resnet34_option_a", {"shortcut": "B"}, {"parameters", "shortcut parameters"}),
        ("resnet20", {"shortcut": "B"}, {"parameters", "shortcut parameters"}),
        ("preact_resnet164", {"shortcut": "B"}, {"parameters", "shortcut parameters"}),
        ("plain20", {"block": "basic", "shortcut": "A"}, {"shortcuts"}),  # of the same size
        ("resnet20", {"block": "plain", "shortcut": "none"}, {"shortcuts"}),
        ("resnet50", {"widths": (64, 128, 256, 504)}, {"channels, conv1 to layer4", "parameters"}),
        ("resnet20", {"widths": (16, 32, 72)}, {"channels, conv1 to layer3", "parameters"}),
        ("resnet20", {"stem_width": 24}, {"channels, conv1 to layer3", "parameters"}),
        ("resnet50", {"width_per_group": 60}, {"parameters", "weights, layer1.1"}),
        ("resnet50", {"block": "basic"}, {"layers", "weights, layer1.1"}),
        ("resnext50_32x4d", {"groups": 16}, {"parameters", "multiply-adds"}),
        ("resnet18", {"stem": "same"}, {"sides, conv1 to layer4", "multiply-adds"}),
        ("keras_resnet50v2", {"stride_in": "first"}, {"sides, conv1 to layer4", "strides"}),
        ("preact_resnet34", {"stride_on": "conv2"}, {"strides"}),
        ("resnet101", {"depths": (3, 4, 22, 3)}, {"layers", "parameters", "shortcuts"}),
        ("lenet5", {"connections": 16 * (tuple(range(6)),)}, {"parameters, c3", "parameters"}),
        ("alexnet2012", {"stages": ONE_TOWER}, {"parameters"}),
        ("vgg16", {"stages": vgg_stages(13)}, {"layers", "parameters", "multiply-adds"}),
        ("vgg19", {"batch_norm": True}, {"parameters"}),
        ("vgg11", {"pool": 3}, {"sides"}),
        ("nin_cifar", {"blocks": NIN.blocks[1:]}, {"layers", "sides", "parameters"}),
        ("googlenet_2014", {"kernel": 3}, {"parameters", "parameters that run"}),
        ("googlenet_2014", {"batch_norm": True}, {"parameters", "parameters that run"}),
        ("googlenet", {"auxiliary": False}, {"parameters"}),
        ("highway19", {"depths": (5, 5, 4)}, {"layers"}),
        ("highway32", {"widths": (32, 48, 72)}, {"parameters"}),
        ("densenet121", {"depths": (6, 12, 24, 15)}, {"layers", "parameters", "multiply-adds"}),
        ("densenet_bc_100_12", {"growth": 14}, {"parameters"}),
    ],
)
def test_a_row_with_a_wrong_field_fails_the_claim_it_breaks(
    name: str, changes: dict[str, Any], claims: set[str]
) -> None:
    assert claims <= failing(verify_network(name, on_meta(name, **changes)))


OTHERS: dict[str, tuple[Any, ...]] = {
    "shortcut": get_args(Shortcut),
    "stem": get_args(Stem),
    "stride_on": get_args(StrideOn),
    "groups": (2,),
    "width_per_group": (32,),
    "replace_stride_with_dilation": ((True, False, False),),
    "norm_layer": ("group",),
}
"""What an option may be instead."""
UNSEEN = {
    "zero_init_residual": "the weights at the start, of which no claim speaks",
    "drop_path": "nothing while evaluating",
}
"""Options that change what no claim can see, and what that is."""
SAME = {("tutorial_resnet18_96", "shortcut", "keras_v2")}
"""What is no other network: all shortcuts here that skip pixels also have new channels."""
SMALL = [name for name, spec in RESIDUAL.items() if sum(spec.depths) <= 16]
QUICK = {(RESIDUAL[name].block, RESIDUAL[name].shortcut): name for name in reversed(SMALL)}


def changed(name: str) -> Iterator[tuple[str, Network]]:
    """The networks that one option set otherwise makes of a row, where that can be.

    Of deep networks one for each option, of others all.
    """
    for option in RESIDUAL[name].options:
        others = () if option in UNSEEN else OTHERS[option]
        same = getattr(RESIDUAL[name], option)
        for value in others:
            if value == same or (name, option, value) in SAME:
                continue
            with contextlib.suppress(ConfigError):
                yield f"{option}={value}", on_meta(name, **{option: value})
                if name not in SMALL:
                    break


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK.values() else pytest.mark.slow)
        for name in RESIDUAL
    ],
)
def test_every_option_set_otherwise_fails_a_claim(name: str) -> None:
    for change, network in changed(name):
        try:
            verdicts = verify_network(name, network)
        except ConfigError:
            continue  # it cannot even take its own images
        assert failing(verdicts), f"nobody sees {change}"


class CalledOtherwise(BasicBlock):
    """A basic block whose shortcut has another name."""

    shortcut: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(residual + self.shortcut(x))


def test_a_shortcut_is_found_by_what_it_does_whatever_it_is_called() -> None:
    network = create_model("resnet20_option_b")
    for block in list(network.modules()):
        if isinstance(block, BasicBlock):
            block.add_module("shortcut", block._modules.pop("downsample"))
            block.__class__ = CalledOtherwise
    assert not any("downsample" in name for name, _ in network.named_modules())
    assert not failing(verify_network("resnet20_option_b", network))


def test_frozen_layers_are_seen_and_stay_frozen() -> None:
    network = create_model("resnet20_option_b").requires_grad_(False)
    assert not failing(verify_network("resnet20_option_b", network))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_another_network_under_the_name_fails() -> None:
    verdicts = verify_network("lenet5", on_meta("resnet20"))
    assert {"parameters", "parameters, c3"} <= failing(verdicts)
    assert "no c3" in {verdict.computed for verdict in verdicts}


def test_verifying_leaves_a_network_as_it_was() -> None:
    network = create_model("resnet20", seed=0).train()
    network.get_submodule("bn1").eval()  # as a frozen one
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    assert not failing(verify_network("resnet20", network))
    assert modes == [part.training for part in network.modules()]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


# The comparison itself, and the command.


@pytest.mark.parametrize(
    ("printed", "within", "computed", "holds"),
    [
        ("0.27M", 0.0, 269_722, True),
        ("0.27M", 0.0, 275_001, False),
        ("19.4M", 0.0, 19_421_274, True),
        ("19.4M", 0.0, 19_451_000, False),
        ("3.8e9", 0.03, 3_857_973_248, True),  # loosely rounded by the paper
        ("3.8e9", 0.0, 3_857_973_248, False),
        ("10.2M", 0.02, 10_327_706, True),
        ("10.2M", 0.02, 10_410_000, False),
        (269_722, 0.0, 269_722, True),
        (269_722, 0.0, 269_723, False),
        ((112, 56), 0.0, (112, 56), True),
        ((112, 56), 0.0, (112, 28), False),
    ],
)
def test_a_number_holds_at_the_precision_it_is_printed_in(
    printed: Any, within: float, computed: Any, holds: bool
) -> None:
    claim = Claim(about="parameters", expected=printed, source="here", within=within)
    assert claim.holds(computed) is holds


def test_published_results_are_noted_with_their_source() -> None:
    (note,) = [verdict for verdict in verify("resnet20") if verdict.status == "NOTE"]
    assert note.expected == "8.75 % error on CIFAR-10" and note.computed is None
    assert note.source == "arXiv:1512.03385, Table 6"


def test_patterns_name_each_network_once_in_the_tables_order() -> None:
    assert matching(["resnet5*", "resnet50"]) == list_models("resnet5*")
    with pytest.raises(UnknownName, match="did you mean 'resnet50'"):
        matching(["resnet20", "resnet-50"])


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["verify", *arguments])


def test_the_command_prints_a_line_for_each_claim_and_a_summary() -> None:
    done = command("resnet20", "plain20")
    verdicts = [*verify("resnet20"), *verify("plain20")]
    *lines, summary = done.stdout.splitlines()
    assert done.exit_code == 0
    told = [line for line in lines if line.startswith((" PASS", " FAIL", " NOTE"))]
    for verdict, line in zip(verdicts, told, strict=True):
        parts = (verdict.status, verdict.claim, verdict.expected, verdict.computed, verdict.source)
        assert all(part in line for part in parts if part), line
    assert summary.startswith(f"{len(verdicts) - 1} claims hold, 0 do not")


def test_the_command_exits_1_where_a_claim_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Claim(about="parameters", expected=269_723, source="nowhere")
    monkeypatch.setitem(resnets.verification.CLAIMS, "resnet20", [wrong])
    done = command("resnet20", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and (told["pass"], told["fail"]) == (0, 1)
    assert told["verdicts"] == [
        {
            "name": "resnet20",
            "claim": "parameters",
            "source": "nowhere",
            "expected": "269,723",
            "computed": "269,722",
            "status": "FAIL",
        }
    ]


def test_a_typo_is_answered_with_the_right_name() -> None:
    done = command("resnet-50")
    assert done.exit_code == 2 and "did you mean 'resnet50'" in done.stderr
