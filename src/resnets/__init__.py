"""The life of a residual-network classifier, one part per step.

    data -> models -> training -> evaluation -> prediction

>>> import torch, resnets
>>> model = resnets.create_model("resnet20")
>>> model(torch.zeros(1, 3, 32, 32)).shape
torch.Size([1, 10])

The same words mean the same thing in every part:

* image: ``(H, W, 3)`` uint8 RGB, upright, as read from a file;
  batch: ``(N, C, H, W)`` float32 after preprocessing.
* label: ``(N,)`` int64, an index into the class names.
* logits: ``(N, classes)``, what a network returns; a probability sums to one.
* step: one optimizer update; epoch: one pass over the training images.
* accuracy and probability are fractions in files and calls, percent where people read.

Names listed in ``__all__`` are public; everything else may move between versions.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnets.config import Preprocess, TrainConfig
    from resnets.data import from_arrays, from_torch, open_dataset
    from resnets.errors import ResnetsError
    from resnets.evaluation import Scores
    from resnets.models import create_model, list_models
    from resnets.prediction import Classifier, Prediction, load
    from resnets.training import Run, train

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Prediction",
    "Preprocess",
    "ResnetsError",
    "Run",
    "Scores",
    "TrainConfig",
    "create_model",
    "from_arrays",
    "from_torch",
    "list_models",
    "load",
    "open_dataset",
    "train",
]

_HOMES = {
    "Classifier": "prediction",
    "Prediction": "prediction",
    "Preprocess": "config",
    "ResnetsError": "errors",
    "Run": "training",
    "Scores": "evaluation",
    "TrainConfig": "config",
    "create_model": "models",
    "from_arrays": "data",
    "from_torch": "data",
    "list_models": "models",
    "load": "prediction",
    "open_dataset": "data",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Resolve a public name on first use, so that importing the package stays free of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'resnets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"resnets.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
