"""Features of a frozen network: computed once for each image, kept, and trained on.

A file of the cache holds the features that one frozen network gives under one preprocessing, each
under its image's SHA-256. So a changed image is computed anew and nothing else is, and other
weights, another preprocessing or another kind of device have a file of their own. Batches are
always full, so that the bits of a feature do not depend on which others were missing.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import safetensors.torch
import torch
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.loader import Batch, Order
from resnets.data.sources import Split
from resnets.errors import CannotGoOn, UnreadableImage
from resnets.evaluation import run_over
from resnets.models import Network
from resnets.prediction import MEAN_IMAGE
from resnets.sealing import make_folder, write_durably

log = logging.getLogger("resnets")
BATCH = 64
MOST_BYTES = 2 * 2**30
"""What the cache may hold; beyond it the files that were used longest ago are removed."""


@dataclass(frozen=True)
class FeatureBatches:
    """Batches of features (N, ...) in place of pixels, in the order the images would have."""

    features: Tensor
    labels: np.ndarray
    order: Order
    batch_size: int

    def starting_at(self, step: int) -> Generator[Batch, None, None]:
        """Endless batches from ``step`` on."""
        labels = torch.from_numpy(self.labels)
        while True:
            chosen = torch.from_numpy(self.order.window(step, self.batch_size).samples)
            yield Batch(self.features[chosen], labels[chosen])
            step += 1


def default_cache_dir() -> Path:
    """Where features are kept: a folder of the user's cache."""
    return Path(platformdirs.user_cache_dir("resnets")) / "features"


def cached_features(
    network: Network,
    split: Split,
    preprocess: Preprocess,
    mean_image: Tensor | None = None,
    *,
    folder: Path | None = None,
    tell: Callable[[int], None] = lambda images: None,
) -> Tensor:
    """What the head reads of every image of a split, (N, ...) float32 on the CPU.

    Args:
        network: computes in fp32 and is put into evaluation mode meanwhile; its head is not used.
        split: read, with its digests.
        folder: of the cache; ``default_cache_dir()``.
        tell: told how many images more are done.

    Raises ``CannotGoOn`` for an image that can no longer be read.
    """
    folder = folder or default_cache_dir()
    assert split.digests is not None  # noqa: S101
    key = _key(network, preprocess, mean_image)
    known = _read(folder, key)
    missing = np.array([i for i, digest in enumerate(split.digests) if digest not in known], int)
    tell(len(split) - len(missing))
    if len(missing):
        part = split.take(missing)
        assert part.digests is not None  # noqa: S101
        rows = _computed(network, part, preprocess, mean_image, tell)
        try:
            for digest, row in zip(part.digests, rows, strict=True):
                known[digest] = row
        finally:  # also when it is stopped half-way
            _write(folder, key, known)
    return torch.stack([known[digest] for digest in split.digests])


def _computed(
    network: Network,
    split: Split,
    preprocess: Preprocess,
    mean_image: Tensor | None,
    tell: Callable[[int], None],
) -> Iterator[Tensor]:
    point = network.points[-2]
    device = next(network.parameters()).device
    modes = [(module, module.training) for module in network.modules()]
    network.eval()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        filled = images[torch.arange(BATCH) % len(images)]
        filled = filled.to(device, memory_format=torch.channels_last)
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found = network.features(filled, at=[point])[point]
        return found[: len(images)].float().cpu()

    for row in run_over(run, split.images, preprocess, mean_image=mean_image, batch_size=BATCH):
        if isinstance(row, UnreadableImage):
            raise CannotGoOn(row.problem, fix="put the file back as it was")
        yield row
        tell(1)
    for module, training in modes:
        module.training = training


def _key(network: Network, preprocess: Preprocess, mean_image: Tensor | None) -> str:
    """A name for everything but the image that its features depend on."""
    digest = hashlib.sha256(json.dumps(preprocess.to_dict(), sort_keys=True).encode())
    device = next(network.parameters()).device.type
    digest.update(f"{device} {network.spec}".encode())
    state = {name: v for name, v in network.state_dict().items() if not _in_head(network, name)}
    if mean_image is not None:
        state[MEAN_IMAGE] = mean_image
    for name, value in state.items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _in_head(network: Network, name: str) -> bool:
    return name.startswith(network.head + ".")


def _read(folder: Path, key: str) -> dict[str, Tensor]:
    """The features kept under a key; a damaged file counts as none."""
    for path in folder.glob(f"{key}-*.safetensors"):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest()[:16] == path.stem.rpartition("-")[2]:
            path.touch()
            return safetensors.torch.load(data)
    return {}


def _write(folder: Path, key: str, features: dict[str, Tensor]) -> None:
    """Keep features in place of what was under the key before, where that can be done."""
    data = safetensors.torch.save({name: value.clone() for name, value in features.items()})
    if len(data) > MOST_BYTES:
        return
    path = folder / f"{key}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
    try:
        make_folder(folder)
        write_durably(path, data)
    except CannotGoOn as trouble:  # the next run computes them again
        log.warning("features are not kept: %s", trouble.problem)
        return
    others = [other for other in folder.glob("*.safetensors") if other != path]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    total = len(data)
    for other in others:
        total += other.stat().st_size
        if other.name.startswith(key) or total > MOST_BYTES:
            other.unlink(missing_ok=True)
