"""The picture of a network shows what ran: stages, blocks once, and the shortcuts there are."""

import xml.etree.ElementTree as ET

import pytest
from torch import Tensor, nn

from resnets.cost import measure
from resnets.description import describe
from resnets.diagram import draw
from resnets.diagram.flow import Flow, Step, stages_of
from resnets.diagram.svg import Canvas
from resnets.models import list_models

SVG = "{http://www.w3.org/2000/svg}"


def flows(name: str) -> dict[str, list[tuple[Flow, int]]]:
    description = describe(name)
    stages = stages_of(description.network, description.cost)
    return {stage.name: list(stage.flows) for stage in stages}


def texts(picture: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(picture).iter(f"{SVG}text")]


def labels(steps: tuple[Step, ...]) -> list[str]:
    return [step.label for step in steps]


def test_a_residual_stage_has_a_projection_and_then_identities() -> None:
    stages = flows("resnet50_v1")
    assert list(stages) == ["stem", "layer1", "layer2", "layer3", "layer4", "pooled", "logits"]
    (first, once), (other, times) = stages["layer2"]  # arXiv:1512.03385, Table 1, conv3_x
    assert (once, times) == (1, 3)
    main, beside = first.branches
    assert labels(main) == ["1x1 conv, 128, /2", "3x3 conv, 128", "1x1 conv, 512"]
    assert labels(beside) == ["1x1 conv, 512, /2"]
    main, beside = other.branches
    assert labels(main) == ["1x1 conv, 128", "3x3 conv, 128", "1x1 conv, 512"]
    assert (beside, other.merge) == ((), "+")
    assert labels(stages["stem"][0][0].branches[0]) == ["7x7 conv, 64, /2", "3x3 max pool, /2"]


def test_option_a_pads_and_a_plain_network_has_no_shortcut() -> None:
    (first, _), (_, times) = flows("resnet20")["layer2"]
    assert times == 2
    assert labels(first.branches[1]) == ["zero padding, /2"]
    for stage in flows("plain20").values():
        assert all(not flow.merge and len(flow.branches) == 1 for flow, _ in stage)


@pytest.mark.parametrize(
    "name", ["preact_resnet18", "keras_resnet50v2", "se_resnet18", "resnet18d"]
)
def test_every_residual_block_has_one_shortcut(name: str) -> None:
    for stage, blocks in flows(name).items():
        if stage.startswith("layer"):
            assert all(flow.has_shortcut and flow.merge == "+" for flow, _ in blocks)


def test_an_inception_has_four_branches_side_by_side() -> None:
    ((flow, _),) = flows("googlenet_2014")["inception3a"]  # arXiv:1409.4842, Table 1
    assert [labels(branch) for branch in flow.branches] == [
        ["1x1 conv, 64"],
        ["1x1 conv, 96", "3x3 conv, 128"],
        ["1x1 conv, 16", "5x5 conv, 32"],
        ["3x3 max pool", "1x1 conv, 32"],
    ]
    assert flow.merge == "concat"


def test_a_mean_that_no_module_takes_is_drawn() -> None:
    (last,) = flows("nin_cifar")["logits"][0][0].branches  # arXiv:1312.4400, Section 3.2
    assert labels(last) == ["1x1 conv, 10", "global average pool"]
    assert labels(flows("googlenet")["pooled"][0][0].branches[0]) == ["global average pool"]
    assert labels(flows("lenet5")["c5"][0][0].branches[0]) == ["5x5 conv, 120"]


def test_a_dense_layer_keeps_its_input_beside_what_it_adds() -> None:
    stages = flows("densenet121")  # arXiv:1608.06993, Table 1
    for number, depth in enumerate((6, 12, 24, 16), 1):
        ((flow, times),) = stages[f"denseblock{number}"]
        assert times == depth
        assert labels(flow.branches[0]) == ["1x1 conv, 128", "3x3 conv, 32"]
        assert (flow.branches[1], flow.merge) == ((), "concat")


def test_a_highway_layer_mixes_transform_gate_and_input() -> None:
    (_, (flow, times)) = flows("highway19")["stage1"]
    assert (len(flow.branches), times) == (3, 5)
    assert sorted(map(len, flow.branches)) == [0, 1, 1]
    assert flow.merge == "mix"


@pytest.mark.parametrize(
    "name",
    ["resnet18", "preact_resnet164", "plain20", "vgg16", "googlenet", "densenet121", "lenet5"],
)
def test_the_picture_is_svg_with_every_stage_and_its_size(name: str) -> None:
    description = describe(name)
    picture = draw(description)
    shown = texts(picture)
    for stage in stages_of(description.network, description.cost):
        assert stage.name in shown
        assert " x ".join(map(str, description.cost.points[stage.name])) in shown
    assert f"input {' x '.join(map(str, description.cost.input_size))}" in shown
    assert "prefers-color-scheme: dark" in picture


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_can_be_drawn(name: str) -> None:
    assert texts(draw(describe(name)))


def test_a_deep_network_is_as_small_as_a_shallow_one() -> None:
    deep, shallow = draw(describe("resnet1202")), draw(describe("resnet32"))
    assert {"x 200", "x 199"} <= set(texts(deep))
    assert len(deep) == pytest.approx(len(shallow), rel=0.1)
    assert ET.fromstring(deep).get("height") == ET.fromstring(shallow).get("height")


def test_nothing_is_drawn_outside_the_picture() -> None:
    root = ET.fromstring(draw(describe("googlenet")))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert 0 <= x and x + float(box.get("width", 0)) <= width
        assert 0 <= y and y + float(box.get("height", 0)) <= height


def test_a_name_that_is_no_xml_is_escaped() -> None:
    canvas = Canvas()
    canvas.text(0, 0, 'a<b & "c" \x1b')
    picture = canvas.svg(10, 10, title="<title> & \"more\" 'quotes'", description="\x00")
    root = ET.fromstring(picture)
    assert texts(picture) == ['a<b & "c" \\x1b']
    assert root.findtext(f"{SVG}title") == root.get("aria-label") == "<title> & \"more\" 'quotes'"


class Doubled(nn.Module):
    """Adds its input to itself, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_a_shortcut_is_seen_in_any_module() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Doubled(), Doubled(), nn.Conv2d(4, 2, 1))
    stages = list(stages_of(network, measure(network, (3, 8, 8))))
    assert [stage.name for stage in stages] == ["0", "1", "2", "3"]
    assert [stage.flows[0][0].has_shortcut for stage in stages] == [False, True, True, False]
