"""Foreign names -> ours: one table for the weight files that people have.

Our names are torchvision's, so most files need nothing but the loss of a prefix.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnets.errors import ModelFileError

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""Of DataParallel and weight averages, of torch.compile, of Lightning, of mmpretrain."""
COUNTERS = ("n_averaged", "total_ops", "total_params")
"""Entries of state dicts that are no weights: of torch's weight averages, and of thop."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A part of a foreign name and what stands there in ours."""

    pattern: str
    ours: str | Callable[[re.Match[str]], str]
    whose: str


CIFAR, V2, VGG = "public CIFAR ResNets", "timm's resnetv2", "timm's VGG"
RULES = (
    Rule(r"^linear\.", "fc.", CIFAR),
    Rule(r"\.shortcut\.([01])\.", r".downsample.\1.", CIFAR),
    Rule(r"^stem\.conv\.", "conv1.", V2),
    Rule(r"^stages\.(\d+)\.blocks\.", lambda match: f"layer{int(match[1]) + 1}.", V2),
    Rule(r"^(layer\d+\.\d+)\.norm(\d)\.", r"\1.bn\2.", V2),
    Rule(r"^(layer\d+\.\d+\.downsample)\.conv\.", r"\1.0.", V2),
    Rule(r"\.se_module\.", ".se.", "older SE-ResNets"),
    Rule(r"\.(norm|conv)\.([12])\.(?=[a-z_]+$)", r".\1\2.", "torchvision's first DenseNets"),
    Rule(r"^pre_logits\.fc1\.", "classifier.0.", VGG),
    Rule(r"^pre_logits\.fc2\.", "classifier.3.", VGG),
)


def translate(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors by our names, and a sentence for each thing that was recognised.

    Our own names stay as they are. Raises ``ModelFileError`` where two tensors would get one name.
    """
    counted: Counter[str] = Counter()
    renamed: dict[str, Tensor] = {}
    head = "classifier.6." if any("pre_logits." in name for name in tensors) else "fc."
    rules = (*RULES, Rule(r"^head\.fc\.", head, "timm and mmpretrain"))
    for name, tensor in tensors.items():
        if name.rpartition(".")[2] in COUNTERS:
            continue
        ours = _without_prefixes(name, counted)
        for rule in rules:
            ours, changed = re.subn(rule.pattern, rule.ours, ours)
            counted[f"names of {rule.whose}"] += changed
        if ours in renamed:
            raise ModelFileError(
                f"two tensors of the file would be called {ours}, one of them is {name}",
                fix="save the network's state dict alone, without anything beside it",
            )
        renamed[ours] = tensor
    notes = [f"{what}: {count:,}" for what, count in counted.items() if count]
    shaped = any(".downsample." in name or ".conv3." in name for name in renamed)
    if counted[f"names of {CIFAR}"] and "layer2.0.conv2.weight" in renamed and not shaped:
        renamed = _new_channels_last(renamed)
        notes.append("channels put in our order: these pad shortcuts on both sides (option A)")
    return renamed, notes


def _new_channels_last(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for option A that puts new channels last, from weights for half of them on each side.

    The widely used CIFAR ResNets pad a shortcut's channels on both sides. The order of channels
    is free as long as all that write and read a stage's sum agree on it, so the same function
    comes out.
    """
    ordered = dict(tensors)
    before: Tensor | None = None  # where each channel of the stage before stood
    for stage in itertools.count(1):
        blocks = [name for name in tensors if name.startswith(f"layer{stage}.")]
        if not blocks:
            break
        width = len(tensors[f"layer{stage}.0.conv2.weight"])
        old = torch.arange(width) if before is None else before
        side = (width - len(old)) // 2
        here = torch.cat([old + side, torch.arange(side), torch.arange(width - side, width)])
        for name in blocks:
            _, block, layer, _ = name.split(".")
            if layer == "conv1":  # reads the sum
                ordered[name] = tensors[name][:, old if block == "0" else here]
            elif layer in ("conv2", "bn2") and tensors[name].ndim:  # writes to it
                ordered[name] = tensors[name][here]
        before = here
    if before is not None:
        ordered["fc.weight"] = tensors["fc.weight"][:, before]
    return ordered


def _without_prefixes(name: str, counted: Counter[str]) -> str:
    while prefix := next((each for each in PREFIXES if name.startswith(each)), None):
        name = name.removeprefix(prefix)
        counted[f"names without their prefix {prefix}"] += 1
    return name
