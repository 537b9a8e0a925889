"""Maps of evidence against formulas, captum, scipy, loops, and patches at known places."""

import sys

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from scipy.ndimage import gaussian_filter  # type: ignore[attr-defined]  # made at import
from torch import Tensor, nn

import resnets.explanation.faithfulness as scoring
from networks import images as any_images
from patches import CLASSES, PREPROCESS, batch_of, patched, trained
from resnets.config import Preprocess
from resnets.errors import ConfigError, MissingExtra, UnknownName
from resnets.explanation import (
    METHODS,
    Explainer,
    grad_cam,
    integrated_gradients,
    occlusion,
)
from resnets.explanation.faithfulness import blurred, faithfulness
from resnets.explanation.maps import find_point, point_shapes
from resnets.explanation.sanity import (
    LIMIT,
    correlation_with_random,
    randomised,
    rank_correlation,
)
from resnets.models import Network, create_model

POOLED_AND_LINEAR = ["resnet18", "resnet20", "resnet50", "resnet50d", "resnext50_32x4d", "plain20"]
ENERGY = 0.6
"""Of a map, at least, in the patch; a map that knows nothing has its share of the area, 0.3."""


@pytest.fixture(scope="module")
def network() -> Network:
    torch.set_num_threads(1)
    return trained()


@pytest.fixture(scope="module")
def patches() -> tuple[Tensor, Tensor, np.ndarray]:
    """Batch, labels and masks of images that have a patch, half a dozen."""
    images, labels, masks = patched(8, seed=9)
    there = masks.any(axis=(1, 2))
    return batch_of(images[there]), torch.from_numpy(labels[there]), masks[there]


@pytest.fixture(scope="module")
def explainer(network: Network) -> Explainer:
    return Explainer(network, CLASSES, PREPROCESS)


# Grad-CAM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POOLED_AND_LINEAR)
def test_grad_cam_before_the_mean_is_the_class_activation_map(name: str) -> None:
    # CAM (arXiv:1512.04150, Eq. 2) weighs the last maps by the class's row of the linear layer;
    # the gradient of a mean over h * w places is that row over h * w.
    network = create_model(name, num_classes=5, seed=0).double().eval()
    images = any_images(name, count=3).double()
    classes, last = torch.tensor([0, 4, 2]), network.points[-3]
    with torch.no_grad():
        maps = network.features(images, at=[last])[last]
    weight = network.get_parameter("fc.weight").detach()[classes]
    area = maps.shape[2] * maps.shape[3]
    expected = torch.einsum("nk,nkhw->nhw", weight, maps).clamp(min=0) / area
    found = grad_cam(network, images, classes, at=last)
    assert area > 1 and expected.max() > 0
    assert (found - expected).abs().max() <= 1e-6 * expected.max()


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("resnet20", "layer1"),
        ("resnet20", "layer3"),
        ("resnet18", "layer2"),
        ("resnet50", "layer3"),
        ("preact_resnet18", "layer3"),
        ("se_resnet18", "layer4"),
        ("googlenet", "inception4a"),
    ],
)
def test_grad_cam_is_captums(name: str, point: str) -> None:
    network = create_model(name, num_classes=5, seed=0).double().eval()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # captum's hooks want it so
    images, classes = any_images(name, count=1).double().repeat(5, 1, 1, 1), torch.arange(5)
    layer = network.get_submodule(point)
    expected = LayerGradCam(network, layer).attribute(images, classes, relu_attributions=True)
    found = grad_cam(network, images, classes, at=point)
    assert expected.max() > 0
    torch.testing.assert_close(found, expected[:, 0].detach(), rtol=1e-9, atol=1e-12)


def test_a_point_that_the_next_layer_overwrites_is_explained_as_it_was() -> None:
    network = create_model("nin_cifar", num_classes=4, seed=0).double().eval()
    images, classes = any_images("nin_cifar", count=1).double(), torch.tensor([2])
    for point, shape in point_shapes(network, images).items():
        if len(shape) == 3:
            found = grad_cam(network, images, classes, at=point)
            assert found.shape == (1, *shape[1:]) and torch.isfinite(found).all()


def test_the_network_and_its_gradients_are_left_as_they_were(
    network: Network, patches: tuple[Tensor, Tensor, np.ndarray]
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():  # asked from where gradients are off
        grad_cam(network, *patches[:2], at="layer2")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    gradients = {id(p): p.grad for p in network.parameters()}
    grad_cam(network, *patches[:2], at="layer2")
    assert all(p.grad is gradients[id(p)] for p in network.parameters())
    assert not network.training


def test_the_point_is_the_last_map_of_more_than_one_place() -> None:
    network = create_model("resnet18", num_classes=3, seed=0).eval()
    assert find_point(network, torch.zeros(1, 3, 64, 64), None) == "layer4"
    assert find_point(network, torch.zeros(1, 3, 32, 32), None) == "layer3"  # layer4 is 1x1
    assert find_point(network, torch.zeros(1, 3, 64, 64), "layer1") == "layer1"
    with pytest.raises(UnknownName, match="no point named 'layer5'") as unknown:
        find_point(network, torch.zeros(1, 3, 64, 64), "layer5")
    assert "did you mean 'layer" in unknown.value.fix
    for point in ("pooled", "logits"):
        with pytest.raises(ConfigError, match=f"{point} has no map"):
            find_point(network, torch.zeros(1, 3, 64, 64), point)


# Integrated gradients and occlusion ---------------------------------------------------------------


def test_integrated_gradients_sum_to_the_difference_of_the_logits(
    network: Network, patches: tuple[Tensor, Tensor, np.ndarray]
) -> None:
    # Completeness, arXiv:1703.01365, Proposition 1.
    batch, labels, _ = patches
    maps = integrated_gradients(network, batch[:2], labels[:2], steps=200)
    with torch.no_grad():
        logits = network(batch[:2]) - network(torch.zeros_like(batch[:2]))
    expected = logits.gather(1, labels[:2, None])[:, 0]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), expected, rtol=0.02, atol=0)


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel() -> None:
    last = nn.Linear(3 * 4 * 4, 5)
    linear = nn.Sequential(nn.Flatten(), last).double()
    images, classes = torch.randn(2, 3, 4, 4).double(), torch.tensor([4, 1])
    found = integrated_gradients(linear, images, classes, steps=8)  # type: ignore[arg-type]
    expected = (last.weight[classes].view(2, 3, 4, 4) * images).sum(dim=1)
    torch.testing.assert_close(found, expected.detach())


def test_occlusion_is_the_fall_of_the_logit_averaged_over_squares(
    network: Network, patches: tuple[Tensor, Tensor, np.ndarray]
) -> None:
    batch, labels, _ = patches
    image, label = batch[:1], int(labels[0])
    side, step = 6, 3  # 40 / 7, rounded up, and half of it
    total, count = np.zeros((40, 40)), np.zeros((40, 40))
    starts = range(0, 40 - side + step, step)  # the last one is cut off at the border
    with torch.no_grad():
        whole = network(image)[0, label]
        for top in starts:
            for left in starts:
                hidden = image.clone()
                hidden[:, :, top : top + side, left : left + side] = 0
                place = (slice(top, top + side), slice(left, left + side))
                total[place] += float(whole - network(hidden)[0, label])
                count[place] += 1
    found = occlusion(network, image, torch.tensor([label]))[0].numpy()
    np.testing.assert_allclose(found, total / count, rtol=1e-3, atol=1e-3)


def test_methods_that_need_captum_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        """A path on which captum is not installed."""

        @staticmethod
        def find_spec(name: str, *any: object) -> None:
            if name == "captum":
                raise ModuleNotFoundError(name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without, *sys.meta_path])
    network, image = create_model("resnet20", seed=0).eval(), torch.zeros(1, 3, 32, 32)
    with pytest.raises(MissingExtra) as missing:
        occlusion(network, image, torch.tensor([0]))
    assert "resnets[explain]" in missing.value.fix
    assert grad_cam(network, image, torch.tensor([0]), at="layer3").shape == (1, 8, 8)


# Where the evidence is known ----------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_evidence_lies_in_the_patch_that_makes_the_class(
    explainer: Explainer, method: str
) -> None:
    images, labels, masks = patched(8, seed=9)
    for image, label, mask in zip(images, labels, masks, strict=True):
        if CLASSES[label] != "none":
            found = explainer.explain(image, method=method, steps=4)
            assert found.evidence[0].label == CLASSES[label]
            energy = np.maximum(found.enlarged(), 0)
            assert energy[mask].sum() >= ENERGY * energy.sum() > 0
            assert 0.25 < mask.mean() < 0.35


def test_the_class_asked_for_stands_beside_the_likeliest_other(explainer: Explainer) -> None:
    image, expected = patched(1)[0][0], CLASSES[0]
    top = explainer.explain(image, steps=4)
    assert top.evidence[0].label == expected and top.at == "layer3"
    asked = explainer.explain(image, label="blue", steps=4)
    assert [each.label for each in asked.evidence] == ["blue", expected]
    assert np.array_equal(asked.evidence[1].map, top.evidence[0].map)
    with torch.no_grad():
        probabilities = torch.softmax(explainer.network(batch_of(image[None])), 1)[0]
    assert top.evidence[0].probability == pytest.approx(float(probabilities[0]), abs=1e-6)
    second = int(probabilities.argsort(descending=True)[1])
    assert top.evidence[1].label == CLASSES[second]


def test_the_picture_shows_the_crop_that_the_network_saw() -> None:
    network = create_model("lenet5", num_classes=1, seed=0).eval()
    grey = Preprocess(input_size=network.spec.input_size, mean=(0.5,), std=(0.5,))
    explainer = Explainer(network, ("only",), grey)
    image = np.zeros((60, 100, 3), np.uint8)
    image[:, 20:80] = 200  # what the middle square shows
    found = explainer.explain(image, steps=4)
    assert found.image.shape == (*network.spec.input_size[1:], 3)
    assert (found.image[:, 1:-1] == 200).all()  # beside it the black shines in
    assert len(found.evidence) == 1 and found.evidence[0].probability == 1


# Deletion and insertion ---------------------------------------------------------------------------


def test_deletion_and_insertion_are_those_of_a_loop(
    network: Network, patches: tuple[Tensor, Tensor, np.ndarray]
) -> None:
    image, label = patches[0][:1], int(patches[1][0])
    evidence = torch.rand(image.shape[-2:])
    order = sorted(range(1600), key=lambda place: -float(evidence.flatten()[place]))
    found = faithfulness(network, image, evidence, label, steps=20)
    for curve, area, start, end in (
        (found.deleting, found.deletion, image, torch.zeros_like(image)),
        (found.inserting, found.insertion, blurred(image), image),
    ):
        now, expected = start.clone(), []
        for step in range(21):
            with torch.no_grad():
                expected.append(float(torch.softmax(network(now).double(), 1)[0, label]))
            for place in order[80 * step : 80 * (step + 1)]:
                row, column = divmod(place, 40)
                now[0, :, row, column] = end[0, :, row, column]
        np.testing.assert_allclose(curve, expected, atol=1e-5)
        assert area == pytest.approx(np.trapezoid(expected, dx=1 / 20), abs=1e-5)
    assert found.deleting[0] == pytest.approx(found.inserting[-1], abs=1e-6)


def test_the_blur_is_scipys(patches: tuple[Tensor, Tensor, np.ndarray]) -> None:
    image = patches[0][:1].double()
    sigma = scoring.BLUR * 40
    expected = gaussian_filter(
        image.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, 3, 3)
    )
    np.testing.assert_allclose(blurred(image).numpy(), expected, atol=1e-9)


def test_a_map_of_the_patch_scores_better_than_its_opposite(
    network: Network, patches: tuple[Tensor, Tensor, np.ndarray]
) -> None:
    for image, label, mask in zip(*patches, strict=True):
        right = torch.from_numpy(mask.astype(np.float32))
        good = faithfulness(network, image[None], right, int(label))
        bad = faithfulness(network, image[None], -right, int(label))
        assert good.deletion < bad.deletion and good.insertion > bad.insertion


# Random weights -----------------------------------------------------------------------------------


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for high in (3, 1000):  # with many ties and with few
        one, other = rng.integers(0, high, (2, 9, 11))
        expected = scipy.stats.spearmanr(one.ravel(), other.ravel()).statistic
        assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)
    flat = np.zeros((9, 11))
    assert rank_correlation(flat, flat) == 1 and rank_correlation(flat, one) == 0


@pytest.mark.parametrize("method", METHODS)
def test_random_weights_change_the_maps(explainer: Explainer, method: str) -> None:
    found = explainer.explain(patched(2)[0][1], method=method, check=True, steps=4)
    for each in found.evidence:
        assert each.correlation is not None and each.correlation < LIMIT and each.passed
    assert found.passed


def test_a_map_that_shows_the_image_whatever_the_weights_fails_the_check(
    network: Network,
    patches: tuple[Tensor, Tensor, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def edges(images: Tensor, classes: Tensor) -> Tensor:
        """An edge detector, the paper's example of a map that explains nothing."""
        return (images[:, :, 1:, 1:] - images[:, :, :-1, :-1]).abs().sum(dim=1)

    monkeypatch.setattr("resnets.explanation.sanity.map_of", lambda *any: edges)
    image, label = patches[0][:1], int(patches[1][0])
    (evidence,) = edges(image, patches[1][:1])
    found = correlation_with_random("occlusion", network, image, label, evidence, at="")
    assert found == pytest.approx(1) and found > LIMIT


@pytest.mark.parametrize(
    "name", ["resnet110", "nin_cifar", "densenet_bc_100_12", "preact_resnet18"]
)
def test_a_random_network_has_other_weights_and_finite_answers(name: str) -> None:
    network, image = create_model(name, num_classes=3, seed=5).eval(), any_images(name, count=1)
    drawn = torch.get_rng_state()
    one, same, other = (randomised(network, image, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), drawn)
    for key, value in network.named_parameters():
        if value.dim() > 1:
            assert not torch.equal(value, one.get_parameter(key))
            assert torch.equal(one.get_parameter(key), same.get_parameter(key))
            assert not torch.equal(one.get_parameter(key), other.get_parameter(key))
    with torch.no_grad():
        assert torch.isfinite(one(image)).all() and one(image).std() > 1e-4
    assert not any(module.training for module in one.modules())
    assert F.softmax(one(image), 1).max() < 1
