"""Weight files: where they are, what goes with them, and whose names they use.

``read_weights`` reads a source, ``fit_weights`` makes what it read the state of a network.
"""

from resnets.models.weights.fitting import fit_weights, held_sizes, load_weights
from resnets.models.weights.published import available
from resnets.models.weights.record import Weights
from resnets.models.weights.sources import default_weights_dir, read_weights

__all__ = [
    "Weights",
    "available",
    "default_weights_dir",
    "fit_weights",
    "held_sizes",
    "load_weights",
    "read_weights",
]
