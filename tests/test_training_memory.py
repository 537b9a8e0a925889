"""Less memory for the same result: recomputed activations, batches in parts, and what fits."""

import ctypes
import dataclasses
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks import calm, images
from resnets import machine
from resnets.config import TrainConfig
from resnets.data import from_arrays
from resnets.data.augmentation import Augmentation
from resnets.data.loader import Batch
from resnets.errors import ConfigError
from resnets.models import create_model
from resnets.models.checkpointing import Stage, checkpoint_activations
from resnets.models.specs import SPECS
from resnets.training import memory
from resnets.training.loop import Task, add_gradients, augmented, parts, take_step
from resnets.training.memory import StepMemory, step_memory, with_parts
from resnets.training.preparing import state_of
from resnets.training.run import train
from resnets.training.scoring import build_network
from resnets.training.setup import preprocess_of
from resnets.training.stopping import StopWatch
from resnets.training.tricks import balanced_weights
from runs import dataset, fit, pictures, same_state

CLASSES = 4


def resolved(**settings: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "model": "resnet20",
        "image_size": 16,
        "batch_size": 8,
        "epochs": 1,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.25),
        "precision": "fp32",
        "channels_last": False,
        "device": "cpu",
        "threads": 1,
        "workers": 0,
    }
    return TrainConfig(**(values | settings))


def task_of(config, **others):
    return Task(config, preprocess_of(config), Augmentation.of(config), CLASSES, **others)


def batch_of(config, step):
    generator = torch.Generator().manual_seed(step)
    shape = (config.batch_size, 3, config.image_size, config.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Batch(pixels, torch.randint(CLASSES, (len(pixels),), generator=generator))


def trained(config, steps):
    """Every tensor of a run after some steps: weights, statistics, momenta, average; its loss."""
    task = task_of(config)
    state = state_of(task, build_network(task), 1.0)
    for step in range(steps):
        take_step(task, state, batch_of(config, step), 0.05, StopWatch(lambda: None))
    return state.to_file(0.0, {})[0], state.loss_sum


# Recomputed activations

TEN_STEPS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16", "channels_last": True},
    "drop-path": {"model": "resnet20:drop_path=0.5", "precision": "bf16", "ema_decay": 0.9},
    "groups of blocks": {"model": "resnet110", "batch_size": 4},
    "in parts": {"micro_batch": 3, "mixup": 0.5, "flip": True, "crop": "pad4"},
}


@pytest.mark.parametrize("settings", TEN_STEPS.values(), ids=TEN_STEPS)
def test_ten_steps_have_the_same_bits_with_recomputed_activations(settings):
    plain, loss = trained(resolved(**settings), 10)
    again, same = trained(resolved(**settings, checkpoint_activations=True), 10)
    assert plain.keys() == again.keys() and loss == same
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    counts = [v for name, v in plain.items() if name.endswith("num_batches_tracked")]
    per_step = 3 if "micro_batch" in settings else 1
    assert counts and all(int(count) % 10 == 0 for count in counts)
    assert int(plain["model.bn1.num_batches_tracked"]) == 10 * per_step


ONE_OF_EACH = [
    "resnet20",
    "plain20",
    "preact_resnet18",
    "keras_resnet50v2",
    "se_resnet18",
    "tutorial_resnet34_32",
    "resnet50:drop_path=0.3",
    "highway19",
    "densenet_bc_100_12:drop_rate=0.2",
    "googlenet",
]


def gradients(network, pixels, labels):
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        answers = network.training_logits(pixels)
    losses = [weight * F.cross_entropy(logits.float(), labels) for weight, logits in answers]
    torch.stack(losses).sum().backward()
    tensors = {name: parameter.grad for name, parameter in network.named_parameters()}
    return tensors | dict(network.named_buffers())


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_kind_of_block_recomputes_to_the_same_gradients(name):
    pixels, labels = images(name.partition(":")[0]), torch.tensor([0, 1])
    plain, again = (calm(create_model(name, num_classes=CLASSES, seed=0)) for _ in range(2))
    assert checkpoint_activations(again)
    expected = gradients(plain, pixels, labels)
    found = gradients(again, pixels, labels)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


class HeapUse(ctypes.Structure):
    """What ``mallinfo2`` of glibc 2.33 returns."""

    _fields_ = [(f"field{place}", ctypes.c_size_t) for place in range(10)]


def heap_in_use():
    """Bytes that this process has asked for and not given back."""
    count = ctypes.CDLL(None).mallinfo2
    count.restype = HeapUse
    now = count()
    return now.field7 + now.field4  # of the heap ("uordblks"), and of maps of their own ("hblkhd")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc counts the heap")
def test_a_stage_keeps_the_inputs_of_groups_of_blocks_alone():
    runs = []

    class Squashed(nn.Module):
        def forward(self, x):
            runs.append(self)
            return torch.tanh(torch.tanh(x))

    stage = Stage(*(Squashed() for _ in range(100)))
    x = torch.ones(2**17, requires_grad=True)
    size, kept = x.nbytes, []
    for recomputes in (True, False, True):  # the first call imports modules
        runs.clear()
        stage.recomputes = recomputes
        before = heap_in_use()
        output = stage(x)
        kept.append((heap_in_use() - before) / size)
        output.sum().backward()
    # two maps of each block; or the outputs of groups of sqrt(100) / 2 blocks
    assert kept[1:] == pytest.approx([200, 20], abs=2)
    assert sorted(map(id, runs)) == sorted([*map(id, stage), *map(id, stage)])


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "nin_cifar", "lenet5"])
def test_networks_without_blocks_have_none(name):
    with torch.device("meta"):
        assert not checkpoint_activations(create_model(name))


def test_a_run_says_that_recomputing_has_no_effect_without_blocks():
    config = resolved(model="vgg11", image_size=32, checkpoint_activations=True)
    reasons: list[str] = []
    with_parts(config, {"checkpoint_activations": True}, reasons, classes=2)
    assert reasons == ["checkpoint_activations has no effect: vgg11 has no blocks"]


CONTINUED: dict[str, Any] = {
    "validation": 0.0,
    "warmup": 0.0,
    "schedule": "constant",
    "batch_size": 8,
}
"""Under these settings one epoch, extended to two, is two epochs."""


def test_a_run_may_go_on_with_recomputed_activations(tmp_path):
    whole = fit(dataset(), out=tmp_path / "whole", epochs=2, **CONTINUED)
    fit(dataset(), out=tmp_path / "half", epochs=1, **CONTINUED)
    longer = {"epochs": 2, "extend": True, "checkpoint_activations": True}
    run = fit(dataset(), out=tmp_path / "half", **CONTINUED, **longer)
    assert "checkpoint_activations = true" in (run.path / "config.toml").read_text()
    assert same_state(whole.path, run.path)


# Batches in parts


def test_parts_are_the_batch_in_order_and_as_equal_as_can_be():
    for count in range(1, 70):
        for most in [None, *range(2, 80)]:
            found = parts(count, most)
            assert [i for part in found for i in range(count)[part]] == list(range(count))
            sizes = [part.stop - part.start for part in found]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 2 or count == 1, "batch norm has something to average over"
            assert most is None or max(sizes) <= most or most + 1 == max(sizes) == 3


@pytest.mark.parametrize("targets", ["labels", "shares"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["nin_cifar", "lenet5"])
def test_without_batch_norm_the_parts_add_up_to_the_step_of_the_whole_batch(
    name, weighted, targets
):
    spec = SPECS[name]
    side = spec.input_size[1] if spec.sides[1] else 32
    pixels = torch.randn(
        (7, spec.input_size[0], side, side), generator=torch.Generator().manual_seed(1)
    ).double()
    labels = torch.tensor([0, 1, 1, 3, 2, 3, 3])
    weights = balanced_weights([1, 2, 1, 3]).double() if weighted else None
    wanted = labels
    if targets == "shares":
        wanted = 0.7 * F.one_hot(labels, CLASSES) + 0.3 * F.one_hot(labels.flip(0), CLASSES)
        wanted = wanted.double()

    def without_dropout():
        network = create_model(name, num_classes=CLASSES, seed=0).double()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return network

    plain = without_dropout()
    logits = plain(pixels)
    loss = F.cross_entropy(logits, wanted, weight=weights, label_smoothing=0.1)
    loss.backward()
    for micro_batch in (None, 2, 3, 6):
        network = without_dropout()
        config = resolved(batch_size=7, micro_batch=micro_batch, label_smoothing=0.1)
        task = task_of(config, class_weights=weights)
        found, correct = add_gradients(task, network, pixels, wanted, labels)
        assert found.item() == pytest.approx(loss.item(), rel=1e-12)
        assert int(correct) == int((logits.argmax(1) == labels).sum())
        for (key, one), other in zip(network.named_parameters(), plain.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None
            largest = other.grad.abs().max()
            assert (one.grad - other.grad).abs().max() <= 1e-12 * largest, key


def test_batch_norm_takes_in_the_mean_of_each_part():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(3, momentum=0.5)
            self.fc = nn.Linear(3, CLASSES)

        def training_logits(self, x):
            return [(1.0, self.fc(self.bn(x)))]

    inputs = torch.arange(15, dtype=torch.float64).reshape(5, 3) ** 1.5
    labels = torch.tensor([0, 1, 2, 3, 0])
    network: Any = Normed().double()
    add_gradients(task_of(resolved(micro_batch=3)), network, inputs, labels, labels)
    first, second = inputs[:2].mean(0), inputs[2:].mean(0)
    assert torch.allclose(network.bn.running_mean, 0.25 * first + 0.5 * second, rtol=1e-14)
    assert int(network.bn.num_batches_tracked) == 2


def test_the_network_sees_the_same_images_in_parts_as_at_once(monkeypatch):
    seen: dict[int | None, list[torch.Tensor]] = {None: [], 3: []}
    for micro_batch in (None, 3):
        config = resolved(
            micro_batch=micro_batch, crop="pad4", flip=True, erasing=0.5, mixup=0.4, cutmix=0.4
        )
        task = task_of(config)
        network = build_network(task)
        network.register_forward_pre_hook(
            lambda module, inputs, micro_batch=micro_batch: seen[micro_batch].append(*inputs)
        )
        state = state_of(task, network, 1.0)
        for step in range(3):
            take_step(task, state, batch_of(config, step), 0.0, StopWatch(lambda: None))
        expected = augmented(task, *_inputs(config, 2))[0]
        assert torch.equal(torch.cat(seen[micro_batch])[-8:], expected)
    assert [len(part) for part in seen[3]] == [2, 3, 3] * 3
    assert torch.equal(torch.cat(seen[None]), torch.cat(seen[3]))


def _inputs(config, step):
    from resnets.data.loader import step_seed

    batch = batch_of(config, step)
    return batch.pixels.float(), batch.labels, step_seed(config.seed, step)


def test_a_run_in_parts_continues_to_the_same_bits_and_says_what_batch_norm_sees(tmp_path, capsys):
    settings: dict[str, Any] = {
        "micro_batch": 3,
        "epochs": 2,
        "auto_augment": "trivial",
        **CONTINUED,
    }
    whole = train(dataset(), out=tmp_path / "whole", threads=1, **settings)
    told = capsys.readouterr().err
    assert "batches of 8 go in parts of at most 3, and batch norm averages over a part" in told
    fit(dataset(), out=tmp_path / "half", **(settings | {"epochs": 1}))
    run = fit(dataset(), out=tmp_path / "half", **settings, extend=True)
    assert same_state(whole.path, run.path)
    assert "micro_batch = 3" in (run.path / "config.toml").read_text()


def test_parts_as_large_as_the_batch_are_told_to_have_no_effect(tmp_path, capsys):
    train(dataset(), out=tmp_path / "run", threads=1, epochs=1, batch_size=8, micro_batch=8)
    assert "micro_batch has no effect: a batch has 8 images" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="micro_batch=1"):
        TrainConfig(micro_batch=1)


# What fits

MB = 2**20


@pytest.mark.parametrize(
    ("free", "expected"),
    [(100_000, None), (3_200, 32), (2_000, 24), (1_000, 12), (310, 2)],
)
def test_the_batch_is_cut_into_the_fewest_equal_parts_that_fit(monkeypatch, free, expected):
    def measured(config, classes):
        return StepMemory(fixed=100 * MB, per_image=50 * MB, free=free * MB)

    monkeypatch.setattr(memory, "step_memory", measured)
    reasons: list[str] = []
    config = with_parts(resolved(batch_size=96), {"micro_batch": "auto"}, reasons, classes=CLASSES)
    assert config.batch_size == 96
    assert config.micro_batch == expected
    assert "50.0 MB for each image" in reasons[0] and "free" in reasons[0]
    assert ("batch norm averages over a part" in reasons[-1]) == (expected is not None)
    if expected:
        used = 100 * MB + memory.MORE_COPIES * 272_474 * 4 + 50 * MB * expected
        assert used <= memory.USED * free * MB
        fewer = -(-96 // (-(-96 // expected) - 1)) if expected < 96 else 96
        assert used + 50 * MB * (fewer - expected) > memory.USED * free * MB


def test_memory_too_small_for_two_images_is_an_error_that_names_what_helps(monkeypatch):
    monkeypatch.setattr(
        memory, "step_memory", lambda *given: StepMemory(100 * MB, 50 * MB, 200 * MB)
    )
    with pytest.raises(ConfigError, match=r"no two images fit(.|\n)*--checkpoint-activations"):
        with_parts(resolved(), {"micro_batch": "auto"}, [], classes=CLASSES)


def test_a_system_that_tells_no_memory_is_told_to_be_given_a_number(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    with pytest.raises(ConfigError, match="tells nothing"):
        step_memory(resolved(), CLASSES)


@pytest.mark.slow
@pytest.mark.skipif(machine.available_memory() is None, reason="memory is read off Linux")
def test_the_line_through_two_small_steps_is_that_of_the_network():
    config = resolved(model="resnet56", image_size=32, batch_size=4096)
    found = step_memory(config, CLASSES)
    # two convolutions in each of nine blocks, and the stem's; kept before and after each norm
    values = 2 * 32 * 32 * (16 * 19 + 16 / 2 * 18 + 16 / 4 * 18)
    assert 0.9 < found.per_image / (4 * values) < 2
    weights = 4 * 853_018 * 3  # with gradients and momenta
    assert weights < found.fixed < 500 * MB
    recomputing = dataclasses.replace(config, checkpoint_activations=True)
    assert step_memory(recomputing, CLASSES).per_image < 0.7 * found.per_image


@pytest.mark.slow
@pytest.mark.skipif(machine.available_memory() is None, reason="memory is read off Linux")
def test_batch_size_auto_keeps_the_recipes_batch_and_records_the_part(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 800 * MB)
    monkeypatch.setattr(memory, "USED", 0.5)
    data = from_arrays(pictures(160, 48), classes=("left", "right"))
    options: dict[str, Any] = {"out": tmp_path / "run", "model": "resnet20", "image_size": 96}
    options |= {"recipe": "paper-cifar", "steps": 1, "validation": 0.0, "precision": "fp32"}
    run = fit(data, **options, batch_size="auto")
    config = TrainConfig(**TrainConfig.keys_in(run.path / "config.toml"))
    assert config.batch_size == 128
    assert config.micro_batch is not None and 2 <= config.micro_batch < 128
    asked = json.loads((run.path / "data.json").read_text())["asked"]
    assert asked["micro_batch"] == "auto" and "batch_size" not in asked
    monkeypatch.setattr(memory, "step_memory", lambda *given: pytest.fail("measured again"))
    assert fit(data, **options, batch_size="auto").path == run.path
    explicit: dict[str, Any] = {"out": tmp_path / "again", "micro_batch": config.micro_batch}
    assert same_state(run.path, fit(data, **(options | explicit)).path)


def test_a_containers_limit_is_what_is_left_of_it(tmp_path, monkeypatch):
    (tmp_path / "limit").write_text(f"{900 * MB}\n")
    (tmp_path / "used").write_text(f"{300 * MB}\n")
    monkeypatch.setattr(machine, "_kilobytes", lambda path, key: 2_000 * 1024)
    places = [("no", "file"), (str(tmp_path / "limit"), str(tmp_path / "used"))]
    monkeypatch.setattr(machine, "MEMORY_LIMITS", places)
    assert machine.available_memory() == 600 * MB
    (tmp_path / "limit").write_text("max\n")
    assert machine.available_memory() == 2_000 * MB


@pytest.mark.gpu
def test_what_fits_on_a_gpu_is_measured_there():
    config = resolved(device="cuda", batch_size=512, image_size=32)
    found = step_memory(config, CLASSES)
    free, _ = torch.cuda.mem_get_info()
    assert 0.5 * free < found.free <= torch.cuda.get_device_properties(0).total_memory
    torch.cuda.reset_peak_memory_stats()
    task = task_of(config)
    state = state_of(task, build_network(task), 1.0)
    for step in range(3):
        take_step(task, state, batch_of(config, step), 0.0, StopWatch(lambda: None))
    taken = torch.cuda.max_memory_reserved()
    assert taken == pytest.approx(found.fixed + 512 * found.per_image, rel=0.3)
