"""What a network costs, counted by running it: nothing here knows an architecture.

Multiply-adds are those of convolutions and matrix products, without biases: what the ResNet paper
calls FLOPs (arXiv:1512.03385, Table 1), half of what counters of "FLOPs" elsewhere say. Activation
memory is four bytes for each value that a layer puts out, where it works in place as well; what
functions make between layers is not counted. All of it is for one image, in evaluation mode.

>>> import torch
>>> from resnets.models import create_model
>>> with torch.device("meta"):  # shapes without memory
...     cost = measure(create_model("resnet18"), (3, 224, 224))
>>> cost.multiply_adds
1814073344
"""

from resnets.cost.counts import BlockCost, Cost, LayerCost
from resnets.cost.fields import ReceptiveField
from resnets.cost.listing import ModelRow, model_rows
from resnets.cost.measuring import measure

__all__ = [
    "CONVENTION",
    "MULTIPLY_ADDS",
    "BlockCost",
    "Cost",
    "LayerCost",
    "ModelRow",
    "ReceptiveField",
    "measure",
    "model_rows",
]

MULTIPLY_ADDS = (
    "multiply-adds: of convolutions and linear layers, without biases, for one image; what the "
    "ResNet paper calls FLOPs"
)
CONVENTION = f"{MULTIPLY_ADDS}. Activation memory: the fp32 outputs of all layers."
"""What is counted, for whoever reads the numbers."""
