"""Foreign checkpoints -> a sealed model."""

import dataclasses
import importlib.metadata
import json
import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resnets.checkpoint import seal
from resnets.config import Interpolation, Preprocess
from resnets.data.listing import told
from resnets.errors import ConfigError
from resnets.models import create_model
from resnets.models.network import check_sides
from resnets.models.specs import parse_name, spec_of
from resnets.models.weights import Weights, fit_weights, held_sizes, read_weights
from resnets.models.weights.fitting import check_same_network
from resnets.models.weights.foreign import KERAS
from resnets.prediction import MEAN_IMAGE
from resnets.sealing import make_folder


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A sealed model that was made of foreign weights."""

    path: Path
    """Its folder."""
    model: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    parameters: int
    sha256: str | None
    """Of the file the weights came from."""
    notes: tuple[str, ...]
    """What was recognised in that file."""


def import_model(
    source: str | Path,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    crop_pct: float | None = None,
    interpolation: Interpolation | None = None,
    bgr: bool = False,
    licence: str | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Imported:
    """Seal foreign weights together with all that an answer depends on.

    What the source says of itself (torchvision, the hub, a folder with a card) need not be given.

    Args:
        source: as for ``resnets.models.weights.read_weights``.
        out: the new folder; by default ``imported/`` and the source's name.
        model: the network's name, with options.
        classes: the class of each output, in order.
        mean: of the training's normalisation, in [0, 1]; one for each channel, or one for all.
        std: likewise.
        image_size: side of the network's input; by default the network's own.
        crop_pct: the crop's share of the resized image's shorter side; by default 1.
        interpolation: of the resize; by default bilinear.
        bgr: whether the weights expect blue first, as Caffe's and those of Keras's v1 ResNets; the
            first convolution is turned round, so that the sealed model reads RGB like any other.
        licence: of the weights.

    Raises ``ConfigError`` for what is missing or does not go together, ``ModelFileError`` for
    weights that cannot be read or do not fit; nothing is written then.
    """
    folder = Path(out) if out is not None else Path("imported") / _short(str(source), model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already", fix="choose another folder with --out")
    weights = read_weights(source, model=model, cache_dir=cache_dir, progress=progress)
    name = model or weights.model
    if name is None:
        raise ConfigError(
            f"{source} does not say whose weights it holds",
            fix="add --model NAME; `resnets models` lists the names",
        )
    check_same_network(weights, spec_of(name))
    with torch.device("meta"):  # shapes are enough
        outputs, channels = held_sizes(weights.tensors, create_model(name))
        network = create_model(name, num_classes=outputs, in_channels=channels)
    state = fit_weights(weights.tensors, network, replace_head=False)
    chosen = _classes(classes or weights.classes, outputs, str(source))
    size = (channels or network.spec.input_size[0], *network.spec.input_size[1:])
    preprocess = _preprocess(
        weights.preprocess,
        size if image_size is None else (size[0], image_size, image_size),
        {"mean": mean, "std": std, "crop_pct": crop_pct, "interpolation": interpolation},
        resized=image_size is not None,
        fix=_normalisation(str(source), name),
    )
    check_sides(network.spec, *preprocess.input_size[1:])
    if bgr:
        first = next(key for key, tensor in state.items() if tensor.ndim == 4)
        state[first] = state[first].flip(1)
    if preprocess.mean_image:
        state[MEAN_IMAGE] = weights.tensors[MEAN_IMAGE]
    make_folder(folder.parent)
    seal(folder, state, _card(name, chosen, preprocess, weights, licence))
    return Imported(
        path=folder,
        model=name,
        classes=chosen,
        preprocess=preprocess,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        sha256=weights.sha256,
        notes=(*weights.notes, *_renamed(weights.classes, chosen)),
    )


def read_classes(text: str) -> list[str]:
    """Class names of a file, one a line or as a JSON list, or of a text with commas between them.

    Raises ``ConfigError`` for a file that is neither.
    """
    path = Path(text)
    if not path.is_file():
        if "," not in text:
            raise ConfigError(
                f"no file {text} with class names", fix="give a file, or names as in cat,dog"
            )
        return [name.strip() for name in text.split(",")]
    try:
        content = path.read_text(encoding="utf-8-sig")  # Windows may begin with a mark
        if path.suffix.lower() == ".json":
            names = json.loads(content)
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
            raise ConfigError(f"{path} is no JSON list of names", fix='write ["cat", "dog"]')
    except (OSError, ValueError) as cause:
        raise ConfigError(
            f"{path} cannot be read as class names: {cause}", fix="write one name a line, in UTF-8"
        ) from cause
    return [line.strip() for line in content.splitlines() if line.strip()]


def _short(source: str, model: str | None) -> str:
    """A folder's name for a source.

    >>> _short("hf-hub:timm/resnet50.a1_in1k@main", None), _short("a/model_best.pth.tar", None)
    ('resnet50.a1_in1k', 'model_best')
    """
    kind, _, rest = source.partition(":")
    if kind == "torchvision":
        return (model or kind).replace(":", "-")
    if kind == "hf-hub":
        return rest.partition("@")[0].rpartition("/")[2]
    return Path(source.removesuffix(".tar")).stem


def _classes(names: Sequence[str] | None, outputs: int | None, source: str) -> tuple[str, ...]:
    if names is None:
        raise ConfigError(
            f"{source} does not name its {outputs:,} classes",
            fix="add --classes with a file of one name a line, or names as in cat,dog",
        )
    if len(names) != outputs:
        raise ConfigError(
            f"{len(names):,} classes are named, the weights have {outputs} outputs",
            fix="name one class for each output, in their order",
        )
    if twice := [name for name, count in Counter(names).items() if count > 1 or not name]:
        raise ConfigError(
            f"the class {twice[0]!r} is empty or named twice", fix="give each class its own name"
        )
    return tuple(names)


def _renamed(before: tuple[str, ...] | None, now: tuple[str, ...]) -> list[str]:
    """A sentence where the source names its classes otherwise."""
    if before is None or before == now:
        return []
    return [f"the classes {told(map(repr, before))} are called {told(map(repr, now))} from now on"]


def _normalisation(source: str, model: str) -> str:
    """What to add for weights that do not say how their images were normalised."""
    if source.lower().endswith(KERAS):  # keras.applications' preprocess_input: "tf" and "caffe"
        flags = "--mean 0.5 --std 0.5"
        if not model.startswith("keras_"):
            flags = "--bgr --mean 0.48502,0.45795,0.4076 --std 0.00392157"
        return f"for images that went through Keras's preprocess_input add {flags}"
    return (
        "add --mean and --std as in training, such as --mean 0.485,0.456,0.406 "
        "--std 0.229,0.224,0.225, or --mean 0 --std 1 for none"
    )


def _preprocess(
    held: Preprocess | None,
    input_size: tuple[int, int, int],
    given: dict[str, Any],
    *,
    resized: bool,
    fix: str,
) -> Preprocess:
    """The source's preprocessing, changed by what was given."""
    values = {key: value for key, value in given.items() if value is not None}
    if held is None and not {"mean", "std"} <= values.keys():
        raise ConfigError(
            "nothing says how images were normalised when these weights were trained",
            fix=fix,
        )
    for key in {"mean", "std"} & values.keys():
        each = tuple(values[key])
        values[key] = each * input_size[0] if len(each) == 1 else each
    for key in {"mean", "std"} & values.keys():
        if not all(math.isfinite(number) for number in values[key]):
            raise ConfigError(f"the {key} {values[key]} is not finite", fix="give numbers")
    if max(*values.get("mean", (0,)), *values.get("std", (0,))) > 1:
        raise ConfigError(
            "mean and std are not those of pixels between 0 and 1: "
            f"{values.get('mean')}, {values.get('std')}",
            fix="divide mean and std by 255",
        )
    if held is None:
        return Preprocess(input_size=input_size, **values)
    if resized:
        values["input_size"] = input_size
    return dataclasses.replace(held, **values)


def _card(
    name: str,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    weights: Weights,
    licence: str | None,
) -> dict[str, Any]:
    """``model.json``: what an answer depends on, and where the weights come from."""
    architecture, options = parse_name(name)
    return {
        "architecture": architecture,
        "options": options,
        "num_classes": len(classes),
        "label_names": list(classes),
        "input_size": list(preprocess.input_size),
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_pct,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "preprocess": preprocess.to_dict(),
        "data": None,
        "training": None,
        "origin": {
            "source": weights.origin,
            "sha256": weights.sha256,
            "recognised": list(weights.notes),
            "published_accuracy": weights.accuracy,
        },
        "scores": None,
        "versions": {
            "resnets": importlib.metadata.version("resnets"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "license": licence or weights.licence,
    }
