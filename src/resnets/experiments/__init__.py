"""The papers' tables and figures, re-run: each is one call that continues where it stopped."""

from resnets.experiments.degradation import Degradation, Learned, degradation
from resnets.experiments.shortcuts import shortcuts
from resnets.experiments.signals import LayerSignal, layer_signals
from resnets.experiments.table6 import table6
from resnets.experiments.tables import NetErrors

__all__ = [
    "Degradation",
    "LayerSignal",
    "Learned",
    "NetErrors",
    "degradation",
    "layer_signals",
    "shortcuts",
    "table6",
]
