"""Our networks under torchvision's detector and segmenter: its numbers, and losses that fall."""

import importlib.util
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from resnets.models import Network, create_model

EXAMPLE = Path(__file__).parents[1] / "examples" / "backbone.py"
LEVELS = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


@pytest.fixture(scope="module")
def backbone() -> Any:
    """The example, as a module."""
    spec = importlib.util.spec_from_file_location("backbone", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Draw every weight and every statistic, so that none can hide behind 0 or 1."""
    for name, value in network.state_dict().items():
        if value.dim() > 1:
            fan_out = value.shape[0] * value[0, 0].numel()
            value.normal_(0, (2 / fan_out) ** 0.5)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.uniform_(-1, 1)


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """The same names in the same order, each to 1e-9 of the reference's largest value."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        largest = expected.abs().max()
        assert torch.isfinite(largest) and largest > 0, name
        assert (ours[name] - expected).abs().max() <= 1e-9 * largest, name


def loaded(ours: nn.Module, theirs: nn.Module, *, inside: str = "") -> nn.Module:
    """Ours in float64 with their state; their names get ``inside`` behind the first word."""
    state = {
        name.replace("backbone.", f"backbone.{inside}", 1): value
        for name, value in theirs.state_dict().items()
    }
    ours.double().load_state_dict(state)
    return ours.eval()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
@pytest.mark.parametrize("wrapped_by", ["the example", "torchvision"])
@torch.no_grad()
def test_pyramids_over_ours_and_over_torchvisions_are_equal(
    backbone: Any, norm: Callable[[int], nn.Module], wrapped_by: str
) -> None:
    ours = create_model("resnet50", num_classes=0, norm_layer=norm)
    reference = torchvision.models.resnet50(norm_layer=norm)
    theirs = BackboneWithFPN(reference, LEVELS, [256, 512, 1024, 2048], 256).double().eval()
    randomise(theirs)
    pyramid = (
        backbone.Pyramid(ours)
        if wrapped_by == "the example"
        else BackboneWithFPN(ours, LEVELS, [256, 512, 1024, 2048], 256)
    )
    images = torch.randn(2, 3, 70, 97, dtype=torch.float64)
    assert_equal(loaded(pyramid, theirs)(images), theirs(images))


def test_faster_rcnn_takes_torchvisions_weights_and_gives_its_losses(backbone: Any) -> None:
    theirs = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=160
    ).double()
    ours = backbone.detector(create_model("resnet50", num_classes=0), size=96).double()
    ours.load_state_dict(theirs.state_dict())
    anchors = theirs.rpn.anchor_generator
    ours.rpn.anchor_generator, ours.roi_heads.fg_bg_sampler = (
        anchors,
        theirs.roi_heads.fg_bg_sampler,
    )
    scene = next(backbone.scenes(1, 96))
    targets = [{"boxes": scene.boxes.double(), "labels": scene.labels}]

    def losses(model: nn.Module) -> dict[str, Tensor]:
        torch.manual_seed(0)  # boxes are drawn
        return model([scene.image.double()], targets)

    with torch.no_grad():
        assert_equal(losses(ours), losses(theirs))


@torch.no_grad()
def test_deeplab_over_ours_and_torchvisions_are_equal(backbone: Any) -> None:
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4).double().eval()
    randomise(theirs)
    network = create_model("resnet50", num_classes=0, replace_stride_with_dilation=backbone.DILATED)
    ours = loaded(backbone.segmenter(network), theirs, inside="body.")
    images = torch.randn(1, 3, 65, 80, dtype=torch.float64)
    assert_equal(ours(images), theirs(images))


@pytest.mark.parametrize("dilated", list(product([False, True], repeat=3)))
@torch.no_grad()
def test_dilated_forms_have_torchvisions_numbers(dilated: tuple[bool, bool, bool]) -> None:
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=list(dilated)).double().eval()
    randomise(theirs)
    ours = create_model("resnet50", replace_stride_with_dilation=dilated).double().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 46, 61, dtype=torch.float64)
    maps: dict[str, Tensor] = {}
    for stage in LEVELS:
        theirs.get_submodule(stage).register_forward_hook(
            lambda module, given, made, stage=stage: maps.update({stage: made})
        )
    expected = theirs(images)
    assert_equal(ours.features(images, at=[*LEVELS, "logits"]), maps | {"logits": expected})


def small(**options: Any) -> Network:
    return create_model("resnet18", num_classes=0, seed=0, **options)


def assert_learns(losses: list[float]) -> None:
    """The last third is well below the first loss."""
    last = losses[-(len(losses) // 3) :]
    assert all(loss < 0.8 * losses[0] for loss in last), losses


def test_a_detector_learns_the_made_set(backbone: Any) -> None:
    torch.manual_seed(0)
    model = backbone.detector(small(), size=64)
    assert_learns(backbone.train_detector(model, size=64, steps=6))


def test_a_segmenter_learns_the_made_set(backbone: Any) -> None:
    torch.manual_seed(0)
    network = create_model(
        "resnet50", num_classes=0, seed=0, replace_stride_with_dilation=backbone.DILATED
    )
    assert_learns(backbone.train_segmenter(backbone.segmenter(network), size=32, steps=6))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_example_learns_as_it_is_run(
    backbone: Any, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(EXAMPLE), task])
    backbone.main()
    assert_learns([float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()])


def test_made_scenes_say_where_their_rectangles_are(backbone: Any) -> None:
    for scene in backbone.scenes(3, 64):
        left, top, right, bottom = scene.boxes[-1].int().tolist()  # the one on top
        assert (scene.mask[top:bottom, left:right] == scene.labels[-1]).all()
        assert set(scene.mask.unique().tolist()) <= {0, *scene.labels.tolist()}
        colour = backbone.COLOURS[scene.labels[-1] - 1]
        assert torch.equal(scene.image[:, top, left], colour)
