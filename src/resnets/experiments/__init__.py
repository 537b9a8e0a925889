"""The papers' tables and figures, re-run: each is one call that continues where it stopped."""

from resnets.experiments.degradation import Degradation, Learned, degradation
from resnets.experiments.signals import LayerSignal, layer_signals

__all__ = ["Degradation", "LayerSignal", "Learned", "degradation", "layer_signals"]
