"""What the fast recipes are made of: orthogonal steps, whitened stems, alternating flips, sizes."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from resnets.checkpoint import read_sealed
from resnets.config import Preprocess, TrainConfig
from resnets.data import from_arrays
from resnets.data.augmentation import Augmentation
from resnets.data.loader import MemoryBatches, Order
from resnets.errors import ConfigError
from resnets.models import create_model
from resnets.training import loop, preparing
from resnets.training.muon import COEFFICIENTS, Muon, muon_groups, orthogonal
from resnets.training.schedules import input_side, learning_rate
from resnets.training.setup import resolve
from resnets.training.whitening import LEAST, first_convolution, whiten
from runs import dataset, fit

PREPROCESS = Preprocess(input_size=(3, 16, 16))
ALL: dict[str, Any] = {
    "model": "resnet20:stem=whitened",
    "optimizer": "muon",
    "schedule": "linear",
    "whiten": True,
    "alternate_flips": True,
    "image_size": 32,
    "start_size": 24,
    "ema_decay": 0.0,
}


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16)])
def test_a_step_keeps_the_singular_vectors_and_evens_the_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    a, b, c = COEFFICIENTS
    wanted = values / (values.norm() + 1e-7)
    for _ in range(3):
        wanted = a * wanted + b * wanted**3 + c * wanted**5
    torch.testing.assert_close(orthogonal(matrix), left @ torch.diag(wanted) @ right)
    assert orthogonal(matrix, rounds=8).svd().S.sub(1).abs().max() < 0.5


def test_torchs_muon_takes_the_same_direction() -> None:
    """Of a matrix, in its five rounds of bf16, from weights of the norm that ours has."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(12, 40, generator=generator)
    start *= 12**0.5 / start.norm()
    theirs, ours = nn.Parameter(start.clone()), nn.Parameter(start[..., None, None].clone())
    optimizers = [
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, momentum=0.9, nesterov=True),
        Muon([{"params": [ours], "orthogonal": True}], lr=0.1, momentum=0.9, nesterov=True),
    ]
    theirs.grad = torch.randn(12, 40, generator=generator)
    ours.grad = theirs.grad[..., None, None].clone()
    for optimizer in optimizers:
        optimizer.step()
    steps = [(after.detach().flatten(1) - start).flatten() for after in (theirs, ours)]
    assert nn.functional.cosine_similarity(steps[0], steps[1], dim=0) > 0.97


def test_convolutions_take_orthogonal_steps_and_the_rest_is_sgd() -> None:
    model = create_model("resnet20", seed=0)
    groups = muon_groups(model, 5e-4, norm_and_bias=False, share=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["orthogonal"] == ("conv" in names.pop(id(parameter)))
    assert not names, "every parameter is in one group"
    assert [group["weight_decay"] for group in groups[1:]] == [5e-4, 0.0]


def test_a_step_of_muon_changes_the_rates_share_of_the_weights() -> None:
    weight = nn.Parameter(torch.randn(16, 4, 3, 3, generator=torch.Generator().manual_seed(2)))
    optimizer = Muon([{"params": [weight], "orthogonal": True}], lr=0.1, momentum=0.9)
    weight.grad = 1e6 * torch.randn_like(weight)
    before = weight.detach() * 4 / weight.detach().norm()
    optimizer.step()
    assert 0.07 < float((weight.detach() - before).norm() / before.norm()) < 0.12


def test_whitened_patches_are_uncorrelated_with_variance_one() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(200, 3, 8, 8, generator=generator)
    images = nn.functional.avg_pool2d(images, 3, 1) + images.mean(1, keepdim=True)[..., 1:-1, 1:-1]
    convolution = nn.Conv2d(3, 24, 2, bias=False)
    whiten(convolution, images.split(64))
    answers = convolution(images).detach()
    torch.testing.assert_close(answers[:, 0::2], -answers[:, 1::2])
    rows = answers[:, 0::2].permute(0, 2, 3, 1).reshape(-1, 12)
    moments = rows.T @ rows / len(rows)
    assert (moments - torch.eye(12)).abs().max() < 0.1 + LEAST
    assert (moments - torch.diag(moments.diag())).abs().max() < 1e-3


def test_alternating_flips_mirror_each_image_in_every_other_epoch() -> None:
    split = dataset(40).splits["train"]
    order = Order(5, split.labels)
    batches = MemoryBatches(
        split, PREPROCESS, Augmentation(flip=True, alternate_flips=True), order, len(split)
    )
    stream = batches.starting_at(0)
    seen = []
    for step in range(4):
        mirrored = next(stream).mirrored
        assert mirrored is not None
        by_image = np.empty(len(split), bool)
        by_image[order.window(step, len(split)).samples] = mirrored.numpy()
        seen.append(by_image)
    assert (seen[0] == seen[2]).all() and (seen[0] != seen[1]).all() and (seen[1] == seen[3]).all()
    assert 0.2 < seen[0].mean() < 0.8
    again = next(batches.starting_at(3)).mirrored
    assert again is not None, "a run that goes on draws nothing anew"
    assert (again.numpy() == seen[3][order.window(3, len(split)).samples]).all()


def test_flips_that_are_told_are_those_made() -> None:
    images = torch.rand(6, 3, 4, 4)
    told = torch.tensor([True, False, True, True, False, False])
    moved = Augmentation(flip=True, alternate_flips=True).move_batch(
        images, torch.Generator().manual_seed(0), told
    )
    assert torch.equal(moved[told], images[told].flip(-1))
    assert torch.equal(moved[~told], images[~told])


def test_the_linear_schedule_and_the_sizes_follow_progress() -> None:
    config = TrainConfig(epochs=1, learning_rate=0.4, schedule="linear", warmup=0.2, start_size=24)
    rates = [learning_rate(config, 1, Fraction(tenth, 10)) for tenth in (0, 2, 6, 10)]
    assert rates == pytest.approx([0.04, 0.4, 0.2, 0.0])
    assert [input_side(config, Fraction(tenth, 10)) for tenth in (0, 4, 5, 10)] == [
        *(24, 24, None, None)
    ]


def test_the_network_gets_what_the_settings_say(tmp_path: Path, monkeypatch: Any) -> None:
    """Small images first, those mirrored that are due, and each group its rate."""
    seen: list[tuple[int, float, float]] = []
    moved: list[torch.Tensor | None] = []
    true_gradients, true_move = loop.add_gradients, Augmentation.move_batch

    def move(self: Augmentation, images: Any, generator: Any, mirrored: Any = None) -> Any:
        moved.append(mirrored)
        return true_move(self, images, generator, mirrored)

    class Watched(Muon):
        def step(self, closure: Any = None) -> Any:
            rates = [group["lr"] for group in self.param_groups]
            seen.append((sides[-1], rates[0], rates[1]))
            return super().step(closure)

    sides: list[int] = []

    def gradients(task: Any, model: Any, inputs: torch.Tensor, *how: Any) -> Any:
        sides.append(inputs.shape[-1])
        return true_gradients(task, model, inputs, *how)

    monkeypatch.setattr(preparing, "Muon", Watched)
    monkeypatch.setattr(loop, "add_gradients", gradients)
    monkeypatch.setattr(Augmentation, "move_batch", move)
    rates = {"learning_rate": 0.1, "orthogonal_rate": 0.05}
    fit(dataset(24), out=tmp_path / "run", epochs=4, batch_size=8, flip=True, **ALL, **rates)
    assert [side for side, *_ in seen] == sorted(side for side, *_ in seen)
    assert {side for side, *_ in seen} == {24, 32}
    for _, orthogonal_rate, rate in seen:
        assert orthogonal_rate == pytest.approx(rate / 2)
    of_steps = [told for told in moved if told is not None]
    assert len(of_steps) >= len(seen) and any(told.any() for told in of_steps)


@pytest.mark.parametrize(
    ("model", "settings", "match"),
    [
        ("resnet20", {"whiten": True}, "16 kernels; to whiten it needs at least 54"),
        ("vgg11", {"optimizer": "muon"}, "no convolution that a norm follows"),
        ("lenet5", {"start_size": 24}, "start_size=24: lenet5"),
        ("resnet20", {"start_size": 64}, "start_size=64: resnet20 trains at 32"),
    ],
)
def test_what_a_network_cannot_have_is_refused_by_name(
    model: str, settings: dict[str, Any], match: str
) -> None:
    size = {} if model == "lenet5" else {"image_size": 32}
    with pytest.raises(ConfigError, match=match):
        resolve({"model": model, **size, **settings}, dataset(24))


def test_a_smaller_batch_takes_smaller_orthogonal_steps() -> None:
    config, _ = resolve({"model": "resnet20", "optimizer": "muon"}, dataset(24))
    assert config.orthogonal_rate / 0.24 == pytest.approx(config.learning_rate / 0.2, rel=0.02)


def test_images_sorted_by_class_whiten_as_shuffled_ones(tmp_path: Path) -> None:
    """Of a large set only some are looked at, but some of every class."""
    images = np.zeros((4_000, 8, 8, 3), np.uint8)
    generator = np.random.default_rng(0)
    images[:2_000] = generator.integers(0, 255, (2_000, 1, 1, 3))  # flat, and then noise
    images[2_000:] = generator.integers(0, 255, (2_000, 8, 8, 3))
    labels = np.repeat([0, 1], 2_000)
    found = []
    for order in (np.arange(4_000), generator.permutation(4_000)):
        data = from_arrays((images[order], labels[order]), classes=("flat", "noise"))
        config, _ = resolve({"model": "resnet20:stem=whitened", "whiten": True}, data)
        task = preparing.task_of(config, data, None, None)
        network = create_model(config.model)
        preparing.whiten_stem(task, network, data.splits["train"])
        found.append(first_convolution(network).weight[::2].detach().flatten(1))
    both = [rows.T @ rows for rows in found]  # the inverse covariance, whatever the signs
    assert (both[0] - both[1]).norm() < 0.1 * both[1].norm()


def test_a_run_whitens_its_stem_and_leaves_it(tmp_path: Path) -> None:
    run = fit(dataset(24), out=tmp_path / "run", epochs=2, batch_size=8, **ALL)
    kernels = read_sealed(run.path).weights["conv1.0.weight"]
    assert kernels.shape == (24, 3, 2, 2)
    assert torch.equal(kernels[0::2], -kernels[1::2]), "as it was whitened"


@pytest.mark.parametrize("recipe", ["speedrun-cifar10", "quick-cifar10"])
def test_a_fast_recipe_learns_what_is_plain_to_see(recipe: str, tmp_path: Path) -> None:
    settings = {"batch_size": 20, "steps": 60, "flip": False}  # a mirror image is the other class
    run = fit(dataset(120, 32), out=tmp_path / "run", recipe=recipe, **settings)
    sealed = read_sealed(run.path)
    assert sealed.card["architecture"] == "resnet8_pooled"
    assert sealed.card["scores"]["accuracy"]["value"] == 1.0


def test_the_block_of_one_convolution_adds_it_to_what_it_reads() -> None:
    network = create_model("resnet8_pooled", seed=0).eval()
    maps = torch.randn(2, 64, 15, 15, generator=torch.Generator().manual_seed(0))
    block = network.get_submodule("layer2.0")
    convolution, norm = block.get_submodule("conv1"), block.get_submodule("bn1")
    step = [block.get_submodule(f"downsample.{place}") for place in range(4)]
    between = step[3](step[2](nn.functional.max_pool2d(step[0](maps), 2)))
    assert between.shape == (2, 256, 7, 7)
    torch.testing.assert_close(block(maps), (between + norm(convolution(between))).relu())


@pytest.mark.parametrize("name", ["resnet8_pooled:shortcut=B", "resnet20:shortcut=pooled"])
def test_pooled_steps_and_their_blocks_are_not_parted(name: str) -> None:
    with pytest.raises(ConfigError, match="leave shortcut out"):
        create_model(name)
