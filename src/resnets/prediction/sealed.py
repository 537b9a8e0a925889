"""A sealed model opened with PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from resnets.checkpoint import read_sealed
from resnets.engines import Engine
from resnets.engines.folding import round_weights, without_norms
from resnets.engines.mirrored import Mirrored
from resnets.engines.pytorch import TorchEngine
from resnets.errors import ModelFileError, ResnetsError
from resnets.machine import usable_device
from resnets.models import create_model
from resnets.prediction.card import read_card
from resnets.prediction.classifier import MEAN_IMAGE, Classifier

DIFFERENCES = 5
"""Of the tensors that do not fit, an error tells so many."""


def open_sealed(
    path: str | Path,
    *,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    tta: Literal["none", "flip"] = "none",
) -> Classifier:
    """Open a sealed model, one with its batch norms folded too, or the run folder around it.

    Args:
        tta: flip: answer with the mean over each image and its mirror image.

    Raises ``ModelFileError``, and ``ConfigError`` for a device that is not there.
    """
    device = usable_device(device)
    sealed = read_sealed(path)
    weights = dict(sealed.weights)
    mean_image = weights.pop(MEAN_IMAGE, None)
    try:
        classes, preprocess = read_card(sealed.card)
        options = sealed.card.get("options", {}) | {
            "num_classes": len(classes),
            "in_channels": preprocess.input_size[0],
        }
        with torch.device("meta"):  # the weights follow; first ones would cost time and randomness
            model = create_model(sealed.card["architecture"], **options)
        without_norms(model, sealed.card.get("folded", {}))
        if sealed.card.get("export", {}).get("precision") == "bf16":
            round_weights(model)
            precision = "bf16"
    except Exception as cause:  # whatever the card holds, it raises what it leads to
        why = cause.problem if isinstance(cause, ResnetsError) else repr(cause)
        raise ModelFileError(
            f"{sealed.path}: model.json does not describe a model we can build: {why}",
            fix="open it with the version of resnets that wrote it, or train again",
        ) from cause
    expected = {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()}
    if preprocess.mean_image:
        expected[MEAN_IMAGE] = (preprocess.input_size, torch.float32)
    check_weights(sealed.weights, expected, where=sealed.path)
    model.load_state_dict(weights, strict=True, assign=True)
    model.to(memory_format=torch.channels_last)
    engine: Engine = TorchEngine(model, device, precision)
    return Classifier(
        network=model,
        engine=Mirrored(engine) if tta == "flip" else engine,
        classes=classes,
        preprocess=preprocess,
        mean_image=mean_image,
        card=sealed.card,
        path=sealed.path,
    )


def check_weights(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    *,
    where: object,
) -> None:
    """Raise ``ModelFileError`` unless all tensors are there, fit and hold possible numbers.

    Args:
        expected: shape and type of each by its name.
        where: what holds them, for the message.
    """
    found = {name: (tuple(t.shape), t.dtype) for name, t in weights.items()}
    wrong = [
        f"{name}: {_told(found.get(name))} instead of {_told(expected.get(name))}"
        for name in [*expected, *(found.keys() - expected.keys())]
        if found.get(name) != expected.get(name)
    ]
    if not wrong:
        wrong = [
            f"{name} holds impossible numbers"
            for name, tensor in weights.items()
            if not torch.isfinite(tensor).all()
            or (name.endswith("running_var") and tensor.min() < 0)
        ]
    if wrong:
        more = f"; and {len(wrong) - DIFFERENCES} more" if len(wrong) > DIFFERENCES else ""
        raise ModelFileError(
            f"{where}: the weights do not fit: {'; '.join(wrong[:DIFFERENCES])}{more}",
            fix="restore it from a copy, or train again",
        )


def _told(tensor: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return f"{str(tensor[1]).removeprefix('torch.')} {tensor[0]}" if tensor else "nothing"
