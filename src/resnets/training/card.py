"""What the sealed model says about itself (``model.json``)."""

import importlib.metadata
import platform
from typing import Any

import numpy as np
import torch

from resnets.config import Preprocess, TrainConfig
from resnets.data.sources import Dataset
from resnets.evaluation import Calibration, Scores
from resnets.models.specs import parse_name
from resnets.training.state import TrainingState


def model_card(
    config: TrainConfig,
    preprocess: Preprocess,
    dataset: Dataset,
    state: TrainingState,
    scores: Scores | None,
    calibration: Calibration | None,
    *,
    finished: bool,
    extended: list[list[int]],
    seconds: float,
) -> dict[str, Any]:
    """Everything an answer depends on, and where the model comes from; timm's keys on top.

    Args:
        extended: after which step a run went on to more, and how many steps were planned before.
    """
    best = state.best
    architecture, options = parse_name(config.model)
    return {
        "architecture": architecture,
        "options": options,
        "num_classes": len(dataset.classes),
        "label_names": list(dataset.classes),
        "input_size": list(preprocess.input_size),
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "preprocess": preprocess.to_dict(),
        "temperature": calibration.temperature if calibration else 1.0,
        "threshold": calibration.threshold if calibration else None,
        "calibration": calibration.to_dict() if calibration else None,
        "data": {"name": dataset.name, "source": dataset.source},
        "training": {
            "recipe": config.recipe,
            "finished": finished,
            "epochs": config.epochs,
            "extended": extended,
            "steps": state.step,
            "skipped": len(state.skipped),
            "best_step": best.step if best else state.step,
            "val_accuracy": best.accuracy if best else None,
            "seconds": round(seconds, 1),
            "seed": config.seed,
            "start_from": config.start_from or None,
            "freeze": config.freeze or None,
        },
        "scores": scores.to_dict() if scores else None,
        "versions": environment(config),
        "license": None,
    }


def environment(config: TrainConfig) -> dict[str, Any]:
    """What the bits of a result depend on beside the settings."""
    return {
        "resnets": importlib.metadata.version("resnets"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": importlib.metadata.version("pillow"),
        "python": platform.python_version(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": config.threads,
    }
