"""Image in, ranked labels out: ``load(path)`` opens a model as a ``Classifier``.

Sealed models are opened by PyTorch, exported ones without it.
"""

from resnets.prediction.answers import FilePrediction, Prediction
from resnets.prediction.classifier import MEAN_IMAGE, Classifier, evaluate_together
from resnets.prediction.files import find_images
from resnets.prediction.opening import ENGINES, EngineName, is_model, load

__all__ = [
    "ENGINES",
    "MEAN_IMAGE",
    "Classifier",
    "EngineName",
    "FilePrediction",
    "Prediction",
    "evaluate_together",
    "find_images",
    "is_model",
    "load",
]
