"""Labels go by name: a data set's classes put in the order of a model's."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from resnets.data.listing import class_name, told
from resnets.data.sources import Dataset
from resnets.errors import DataError, did_you_mean


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with labels that index ``classes``, matched by name.

    Classes without an image are told in the notes, split by split. Raises ``DataError`` for an
    image of a class that is not in ``classes``.
    """
    position = {class_name(name): index for index, name in enumerate(classes)}
    new = np.array([position.get(class_name(name), -1) for name in dataset.classes], np.int64)
    used = np.unique(np.concatenate([split.labels for split in dataset.splits.values()]))
    if unknown := [dataset.classes[index] for index in used if new[index] < 0]:
        hint = did_you_mean(unknown[0], classes) or f"it knows {told(map(repr, classes))}; "
        raise DataError(
            f"{dataset.name} has images of a class the model does not know: "
            f"{told(map(repr, unknown))}",
            fix=f"{hint}name the class as the model has it, or take its images out",
        )
    splits, notes = {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        splits[name] = dataclasses.replace(split, labels=new[split.labels])
        there = set(splits[name].labels.tolist())
        missing = [label for index, label in enumerate(classes) if index not in there]
        note = f"{name} has no image of {told(map(repr, missing))}"
        if missing and note not in notes:  # the data set may have said so itself
            notes.append(note)
    return dataclasses.replace(dataset, classes=tuple(classes), splits=splits, notes=tuple(notes))
