"""Images with labels: ``open_dataset(folder, table or name)`` -> named classes, named splits.

open_dataset -> read_images -> hold_out -> loader
"""

from resnets.data.datasets import hold_out, open_dataset, without_validation
from resnets.data.memory import from_arrays, from_torch
from resnets.data.reading import read_images
from resnets.data.sources import (
    ArrayImages,
    Dataset,
    FileImages,
    Images,
    LeftOut,
    ListImages,
    Split,
)

__all__ = [
    "ArrayImages",
    "Dataset",
    "FileImages",
    "Images",
    "LeftOut",
    "ListImages",
    "Split",
    "from_arrays",
    "from_torch",
    "hold_out",
    "open_dataset",
    "read_images",
    "without_validation",
]
