"""The first state of a run: its optimizer takes the step that the formula says."""

import pytest
import torch
from torch import Tensor

from resnets.config import Preprocess, TrainConfig
from resnets.data.augmentation import Augmentation
from resnets.models import create_model
from resnets.training.loop import Task
from resnets.training.preparing import state_of


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_optimizer_takes_momentum_steps_in_any_memory_format(
    memory_format: torch.memory_format, nesterov: bool
) -> None:
    config = TrainConfig(
        steps=3, learning_rate=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01
    )
    task = Task(config, Preprocess(input_size=(3, 16, 16)), Augmentation(), classes=10)
    network = create_model("resnet20:shortcut=B", seed=0).to(memory_format=memory_format)
    state = state_of(task, network, steps_per_epoch=1)
    weights = {name: value.detach().clone() for name, value in network.named_parameters()}
    velocity: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in weights.items()}
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        state.optimizer.zero_grad()
        network(images.to(memory_format=memory_format)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            slope = parameter.grad + config.weight_decay * weights[name]
            velocity[name] = config.momentum * velocity[name] + slope
            ahead = slope + config.momentum * velocity[name] if nesterov else velocity[name]
            weights[name] = weights[name] - config.learning_rate * ahead
        state.optimizer.step()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.detach(), weights[name], rtol=1e-4, atol=1e-6)
