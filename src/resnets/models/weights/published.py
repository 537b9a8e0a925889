"""torchvision's official weights, each as one record."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.config import Preprocess
from resnets.errors import ModelFileError, UnknownName
from resnets.models.specs import parse_name
from resnets.models.weights.record import sha256_of

V1, V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"
TORCHVISION = {
    **{f"resnet{n}": (f"resnet{n}", (V1,)) for n in (18, 34)},
    **{f"resnet{n}": (f"resnet{n}", (V2, V1)) for n in (50, 101, 152)},
    "resnext50_32x4d": ("resnext50_32x4d", (V2, V1)),
    "resnext101_32x8d": ("resnext101_32x8d", (V2, V1)),
    "resnext101_64x4d": ("resnext101_64x4d", (V1,)),
    "wide_resnet50_2": ("wide_resnet50_2", (V2, V1)),
    "wide_resnet101_2": ("wide_resnet101_2", (V2, V1)),
    **{f"vgg{n}{bn}": (f"vgg{n}{bn}", (V1,)) for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    "alexnet": ("alexnet", (V1,)),
    "googlenet": ("googlenet", (V1,)),
    **{f"densenet{n}": (f"densenet{n}", (V1,)) for n in (121, 161, 169, 201)},
}
"""Our name -> torchvision's, and its weights, newest first."""
LICENCE = "BSD-3-Clause; ImageNet's terms may apply"
"""Of torchvision, whose weights have no other unless their record names one."""
AMBIGUOUS = {134: "n02012849", 517: "n03126707", 638: "n03710637", 639: "n03710721"}
"""WordNet ids of the ImageNet classes that share a word: two cranes and two maillots."""
ROUNDING = 0.01
"""Megabytes by which a file may differ from the size that torchvision publishes."""


@dataclass(frozen=True, slots=True)
class Published:
    """An official weight file, and what its publisher says of it."""

    model: str
    """Our name."""
    name: str
    """torchvision's name for the weights, such as ``IMAGENET1K_V1``."""
    url: str
    sha256: str
    """The first digits."""
    megabytes: float
    preprocess: Preprocess
    classes: tuple[str, ...]
    accuracy: float
    licence: str

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    def trouble(self, path: Path) -> str:
        """What is wrong with a file that should be this one, or nothing."""
        size = path.stat().st_size
        if not (found := sha256_of(path)).startswith(self.sha256):
            return f"its SHA-256 begins with {found[:8]}, not {self.sha256} ({size:,} bytes)"
        if abs(size / 2**20 - self.megabytes) > ROUNDING:
            return f"it has {size:,} bytes, not {self.megabytes:,} MB"
        return ""


def available(name: str) -> list[str]:
    """What ``pretrained`` can be for a network beside files, newest first.

    >>> available("resnet50")
    ['torchvision:IMAGENET1K_V2', 'torchvision:IMAGENET1K_V1']
    """
    return [f"torchvision:{entry}" for entry in TORCHVISION.get(name, ("", ()))[1]]


def published(model: str, entry: str | None = None) -> Published:
    """The record of a network's weights, the newest by default.

    Raises ``ModelFileError`` for a network without any, ``UnknownName`` for an entry there is not.
    """
    name, _ = parse_name(model)
    if name not in TORCHVISION:
        raise ModelFileError(
            f"torchvision publishes no weights of {name}",
            fix=f"choose one of {', '.join(TORCHVISION)}, or give a file",
        )
    builder, entries = TORCHVISION[name]
    entry = entry or entries[0]
    if entry not in entries:
        listing = f"{name} has {', '.join(entries)}"
        raise UnknownName(f"torchvision weights of {name}", entry, entries, listing=listing)
    from torchvision.models import get_model_weights

    weights = get_model_weights(builder)[entry]
    return Published(
        model=name,
        name=entry,
        url=weights.url,
        sha256=weights.url.rpartition("-")[2].partition(".")[0],
        megabytes=weights.meta["_file_size"],
        preprocess=_preprocess(weights, builder),
        classes=unambiguous(weights.meta["categories"]),
        accuracy=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
        licence=weights.meta.get("license", LICENCE),
    )


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 classes of ILSVRC 2012, in the order of their WordNet ids."""
    from torchvision.models import ResNet18_Weights

    return unambiguous(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def unambiguous(words: list[str]) -> tuple[str, ...]:
    """ImageNet's words, with the WordNet id where two classes share one."""
    count = Counter(words)
    return tuple(
        f"{word} {AMBIGUOUS[index]}" if count[word] > 1 else word
        for index, word in enumerate(words)
    )


def _preprocess(weights: Any, builder: str) -> Preprocess:
    told = weights.transforms()
    (crop,), (resize,) = told.crop_size, told.resize_size
    mean, std = tuple(told.mean), tuple(told.std)
    if builder == "googlenet":  # whose first step, there and not here, is to normalise anew
        mean, std = (0.5,) * 3, (0.5,) * 3
    return Preprocess(
        input_size=(3, crop, crop),
        interpolation=told.interpolation.value,
        crop_pct=crop / resize,
        mean=mean,
        std=std,
    )
