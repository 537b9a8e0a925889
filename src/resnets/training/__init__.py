"""Training: data and settings in, a run folder with a sealed model out."""

from resnets.training.recipes import RECIPES
from resnets.training.run import Run, train

__all__ = ["RECIPES", "Run", "train"]
