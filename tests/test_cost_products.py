"""Products of all kinds of layers count, those of other people's networks and fused ones too."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from counterparts import counted_by_torch
from resnets.cost import measure
from resnets.errors import ConfigError


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x1_0", "inception_v3", "vit_b_16"])
def test_networks_of_others_are_measured_as_well(name: str) -> None:
    with torch.device("meta"):
        options = {"init_weights": False} if name == "inception_v3" else {}  # or it warns
        network = torchvision.models.get_model(name, **options)
    size = (3, 299, 299) if name == "inception_v3" else (3, 224, 224)
    cost = measure(network, size)
    assert 2 * cost.multiply_adds == counted_by_torch(network, size)


def test_transposed_and_grouped_convolutions_agree_with_torchs_counter() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2),
        nn.ConvTranspose2d(8, 6, 4, stride=2),
        nn.Conv2d(6, 6, (1, 5), stride=(2, 1), dilation=(1, 2)),
    )
    assert 2 * measure(model, (4, 20, 20)).multiply_adds == counted_by_torch(model, (4, 20, 20))


class OfPixels(nn.Module):
    """A layer for sequences, which reads the pixels of an image one behind the other."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(x, x, x)[0]
        if isinstance(self.layer, nn.Bilinear):
            return self.layer(x, x)
        found = self.layer(x)
        return found[0] if isinstance(found, tuple) else found


PIXELS, WIDTH, UNITS = 2 * 3, 16, 8
# Query, key, value and output; queries times keys, and weights times values (arXiv:1706.03762).
ATTENTION = 4 * PIXELS * WIDTH**2 + 2 * PIXELS**2 * WIDTH
SEQUENCES: list[tuple[Callable[[], nn.Module], int]] = [
    (lambda: nn.MultiheadAttention(WIDTH, 4, batch_first=True), ATTENTION),
    (
        lambda: nn.TransformerEncoderLayer(WIDTH, 4, 32, batch_first=True),
        ATTENTION + 2 * PIXELS * WIDTH * 32,
    ),
    # four gates, three, and one, each of the input and of the state
    (lambda: nn.LSTM(WIDTH, UNITS, batch_first=True), PIXELS * 4 * UNITS * (WIDTH + UNITS)),
    (
        lambda: nn.GRU(WIDTH, UNITS, batch_first=True, bidirectional=True),
        2 * PIXELS * 3 * UNITS * (WIDTH + UNITS),
    ),
    (lambda: nn.RNN(WIDTH, UNITS, batch_first=True), PIXELS * UNITS * (WIDTH + UNITS)),
]


@pytest.mark.parametrize(("layer", "multiply_adds"), SEQUENCES)
def test_attention_and_recurrence_count_on_the_cpu_as_on_meta(
    layer: Callable[[], nn.Module], multiply_adds: int
) -> None:
    model = OfPixels(layer())
    switches = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    assert measure(model, (WIDTH, 2, 3)).multiply_adds == multiply_adds
    assert switches == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert 2 * multiply_adds == counted_by_torch(model.to("meta"), (WIDTH, 2, 3))
    assert measure(model, (WIDTH, 2, 3)).multiply_adds == multiply_adds


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_product_that_is_not_known_is_a_mistake_and_not_nothing(device: str) -> None:
    with pytest.raises(ConfigError, match="Bilinear calls aten._trilinear"):
        measure(OfPixels(nn.Bilinear(WIDTH, WIDTH, 4)).to(device), (WIDTH, 2, 3))


@pytest.mark.parametrize("name", ["swin_v2_t", "convnext_tiny", "maxvit_t"])
def test_weights_that_only_scale_and_shift_are_no_product(name: str) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
    assert 2 * measure(network, (3, 224, 224)).multiply_adds == counted_by_torch(
        network, (3, 224, 224)
    )
