"""Training images as the network saw them, for a person to look at."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.augmentation import Augmentation
from resnets.data.loader import step_seed
from resnets.data.manifest import reopen
from resnets.data.sources import Split
from resnets.errors import CannotGoOn, DataError
from resnets.prediction import load
from resnets.report import read_run, write_report
from resnets.training.loop import Task, augmented
from resnets.training.preparing import batches_of

SAMPLES = 16


def first_images(task: Task, split: Split, most: int = SAMPLES) -> list[np.ndarray]:
    """Images of the first batch after all augmentation, (H, W, 3) uint8; none if one is gone.

    The batch is made again, as a function of the seed, and not taken from the training.
    """
    alone = replace(task, config=replace(task.config, workers=0))
    try:
        with closing(batches_of(alone, split, None).starting_at(0)) as stream:
            batch = next(stream)
    except (CannotGoOn, OSError):
        return []
    seed = step_seed(task.config.seed, 0)
    images, _ = augmented(task, batch.pixels.float(), batch.labels, seed, mirrored=batch.mirrored)
    return list(visible(images[:most], task.preprocess, task.mean_image))


def visible(images: Tensor, preprocess: Preprocess, mean_image: Tensor | None) -> np.ndarray:
    """(N, H, W, 3) uint8 of normalised (N, C, H, W): ``normalise`` undone, for showing."""
    if mean_image is not None:
        images = images + mean_image
    shape = (1, -1, 1, 1)
    mean, std = (torch.tensor(v).view(shape) for v in (preprocess.mean, preprocess.std))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def report_again(
    path: str | Path, *, out: Path | None = None, data_dir: Path | None = None
) -> Path:
    """Draw a run's report anew, with pictures and samples where its data can still be read.

    Raises what ``write_report`` does.
    """
    run = read_run(path)
    try:
        dataset = reopen(run.manifest, data_dir)
    except DataError:
        return write_report(path, out=out)
    samples: list[np.ndarray] = []
    if split := dataset.splits.get("train"):
        classifier = load(path)
        task = Task(
            config=run.config,
            preprocess=classifier.preprocess,
            augmentation=Augmentation.of(run.config),
            classes=len(classifier.classes),
            mean_image=classifier.mean_image,
        )
        samples = first_images(task, split)
    return write_report(path, out=out, dataset=dataset, samples=samples)
