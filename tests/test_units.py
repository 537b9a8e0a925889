"""What single units see, answer and look for; and the colours in which values are shown."""

import numpy as np
import pytest
import torch
from torch import nn

from patches import CLASSES, PREPROCESS, batch_of, patched, trained
from resnets.errors import ConfigError, UnknownName
from resnets.explanation import Explainer, Units
from resnets.explanation.colours import diverging, overlay, ramp, scaled
from resnets.explanation.units import (
    Unit,
    activations_picture,
    box_of,
    field_of,
    filters_picture,
    find_unit,
    influence,
)
from resnets.models import Network, create_model


def positive(name: str) -> Network:
    """A network in which no two paths from a pixel to a unit cancel each other."""
    network = create_model(name, num_classes=2, seed=0).double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.abs_().div_(module.weight.sum(dim=(1, 2, 3), keepdim=True))
    return network


@pytest.mark.parametrize(
    ("name", "point", "row", "column"),
    [
        ("resnet20", "stem", 3, 0),
        ("resnet20", "layer1", 15, 20),
        ("resnet20", "layer2", 15, 16),
        ("resnet20", "layer3", 0, 7),
        ("plain20", "layer2", 8, 9),
    ],
)
def test_the_box_around_all_pixels_that_move_a_unit_is_its_receptive_field(
    name: str, point: str, row: int, column: int
) -> None:
    network, side = positive(name), 64
    unit = Unit(point, row, column)
    moved = influence(network, torch.rand(1, 3, side, side, dtype=torch.float64) + 0.5, unit)
    rows, columns = np.nonzero(moved)
    left, top, right, bottom = box_of(field_of(network, (3, side, side), point), unit)
    assert (rows.min(), rows.max() + 1) == (max(top, 0), min(bottom, side))
    assert (columns.min(), columns.max() + 1) == (max(left, 0), min(right, side))


def test_a_unit_is_named_by_point_and_place() -> None:
    network, image = create_model("resnet20", seed=0).eval(), torch.zeros(1, 3, 32, 32)
    assert find_unit(network, image, "layer3") == Unit("layer3", 4, 4)
    assert find_unit(network, image, "layer2:0,15") == Unit("layer2", 0, 15)
    with pytest.raises(ConfigError, match="layer3 has no unit 8,0") as beyond:
        find_unit(network, image, "layer3:8,0")
    assert "row of 0 to 7" in beyond.value.fix
    with pytest.raises(ConfigError, match="'layer3:1' names no unit"):
        find_unit(network, image, "layer3:1")
    with pytest.raises(UnknownName, match="layr"):
        find_unit(network, image, "layr:1,1")


def test_activations_are_shown_from_the_largest_on_one_scale() -> None:
    network, image = trained(), batch_of(patched(1)[0])
    with torch.no_grad():
        maps = network.features(image, at=["layer2"])["layer2"][0]
    drawn = np.asarray(activations_picture(network, image, "layer2"))
    first = maps[int(maps.amax(dim=(1, 2)).argmax())].numpy()
    factor = 3  # a map of 20x20 in tiles of at least 48, three pixels from the edge
    shown = drawn[3 : 3 + 20 * factor : factor, 3 : 3 + 20 * factor : factor]
    assert np.array_equal(shown, ramp(first / first.max()))


def test_filters_that_read_the_image_are_shown_in_its_colours() -> None:
    network = create_model("resnet20", seed=0).eval()
    drawn = np.asarray(filters_picture(network, torch.zeros(1, 3, 32, 32), "stem"))
    kernel = network.get_parameter("conv1.weight")[0].detach().permute(1, 2, 0).numpy()
    expected = np.round(255 * (0.5 + kernel / np.abs(kernel).max() / 2))
    assert np.array_equal(drawn[3 : 3 + 48 : 16, 3 : 3 + 48 : 16], expected)


def test_filters_inside_the_network_are_rows_of_outputs_and_columns_of_inputs() -> None:
    network = create_model("resnet20", seed=0).eval()
    drawn = np.asarray(filters_picture(network, torch.zeros(1, 3, 32, 32), "layer2"))
    kernels = network.get_parameter("layer2.0.conv1.weight").detach().numpy()[:16, :16]
    expected = diverging(kernels / np.abs(kernels).max())
    for output, inputs in ((0, 0), (2, 5), (15, 15)):
        top, left = output * 51 + 3, inputs * 51 + 3
        shown = drawn[top : top + 48 : 16, left : left + 48 : 16]
        assert np.array_equal(shown, expected[output, inputs])


def test_pictures_that_are_asked_for_are_drawn() -> None:
    explainer = Explainer(trained(), CLASSES, PREPROCESS)
    units = Units(explainer, "layer2:3,4", "layer3", "stem")
    assert [kind for kind, _ in units.of_network()] == ["filters-stem"]
    drawn = dict(units.of(patched(1)[0][0]))
    assert list(drawn) == ["receptive-field-layer2-3-4", "activations-layer3"]
    assert all(min(picture.size) > 200 for picture in drawn.values())
    assert not [*Units(explainer).of_network(), *Units(explainer).of(patched(1)[0][0])]


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L*, 0 to 100, of sRGB colours (..., 3)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def test_larger_values_are_lighter_at_an_even_pace() -> None:
    steps = np.diff(lightness(ramp(np.linspace(0, 1, 21))))
    assert steps.min() > 2 and steps.max() < 6
    assert np.array_equal(ramp(np.array([-1.0, 2.0])), ramp(np.array([0.0, 1.0])))
    below, above = lightness(diverging(np.linspace(-1, 1, 21))).reshape(-1)[[0, -1]]
    assert abs(below - above) < 8 and lightness(diverging(np.array(0.0))) > 90


def test_a_map_without_evidence_has_the_darkest_colour_everywhere() -> None:
    image = np.full((4, 5, 3), 128, np.uint8)
    assert not scaled(-np.ones((4, 5))).any()
    assert len(np.unique(overlay(image, -np.ones((4, 5))).reshape(-1, 3), axis=0)) == 1
    one_bright = np.zeros((4, 5))
    one_bright[1, 2] = 7
    assert scaled(one_bright).max() == 1
