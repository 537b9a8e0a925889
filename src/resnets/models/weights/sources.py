"""Where weights come from: torchvision, the Hugging Face hub, a file, a folder."""

import json
import os
import re
from pathlib import Path
from typing import Any, get_args

import safetensors
import safetensors.torch

from resnets.config import CropMode, Interpolation, Preprocess
from resnets.console import Progress
from resnets.errors import ConfigError, ModelFileError, ResnetsError, require
from resnets.models.downloading import download
from resnets.models.specs import SPECS, parse_name, spec_name
from resnets.models.weights.foreign import KERAS, PICKLES, kept_before, read_foreign
from resnets.models.weights.keras import from_keras, is_keras
from resnets.models.weights.names import translate
from resnets.models.weights.published import imagenet_classes, published
from resnets.models.weights.record import Weights, sha256_of

SAFE = ".safetensors"
WEIGHTS, CARDS = "model.safetensors", ("model.json", "config.json")
"""Of a folder: a sealed model's card, or a model's of the hub."""
TIMM = {
    **{f"seresnet{n}": f"se_resnet{n}" for n in (18, 34, 50, 101, 152)},
    **{f"resnetv2_{n}": f"preact_resnet{n}:stem=bare" for n in (18, 34, 50, 101, 152)},
    "resnet50_gn": "resnet50:norm_layer=group",
}
"""timm's name for an architecture -> ours, where they differ."""


def read_weights(
    source: str | Path,
    *,
    model: str | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Weights:
    """Read weights and what goes with them, downloading what is not there.

    Args:
        source: ``torchvision`` for the newest official weights, ``torchvision:NAME`` for those of
            that name, ``hf-hub:OWNER/NAME[@REVISION]``, a file (.safetensors; .pt, .pth, .th or
            .ckpt of PyTorch; .h5 or .keras of Keras), or a folder: a sealed model, a run folder,
            or a ``model.safetensors`` beside the ``config.json`` of timm.
        model: whose weights; torchvision's need it.
        cache_dir: where downloads and what became of foreign files are kept; by default
            ``default_weights_dir()``, and for the hub its own folder.
        progress: whether a download is told on standard error.

    Raises ``ModelFileError`` for what cannot be had or read, ``ConfigError`` for a source that is
    none, ``MissingExtra`` where the source needs an extra.
    """
    kind, _, rest = str(source).partition(":")
    if kind == "torchvision":
        if model is None:
            raise ConfigError("torchvision has weights of many networks", fix="name the network")
        with Progress(quiet=not progress) as bar:
            return _from_torchvision(model, rest or None, _folder(cache_dir), bar)
    if kind == "hf-hub":
        return _from_hub(rest, cache_dir)
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path, str(path))
    if not path.is_file():
        raise ModelFileError(
            f"no weights at {source}",
            fix="give a file or a folder that is there, torchvision, or hf-hub:OWNER/NAME",
        )
    return _from_file(path, _folder(cache_dir))


def default_weights_dir() -> Path:
    """RESNETS_WEIGHTS_DIR, or ``weights`` in this user's cache folder."""
    import platformdirs

    if folder := os.environ.get("RESNETS_WEIGHTS_DIR"):
        return Path(folder).expanduser()
    return Path(platformdirs.user_cache_dir("resnets", appauthor=False)) / "weights"


def _folder(cache_dir: Path | None) -> Path:
    return Path(os.path.abspath(os.path.expanduser(cache_dir or default_weights_dir())))


def _from_torchvision(model: str, entry: str | None, folder: Path, progress: Progress) -> Weights:
    import torch

    record = published(model, entry)
    read = kept_before(record.sha256, folder, origin=record.url)
    if read is None:
        path = folder / record.file
        theirs = Path(torch.hub.get_dir()) / "checkpoints" / record.file
        if not path.is_file() and theirs.is_file() and not record.trouble(theirs):
            path = theirs  # torchvision fetched it before
        if not path.is_file():
            home = record.url.removesuffix(record.file)
            path = download(
                record.url,
                path,
                check=record.trouble,
                progress=progress,
                fix="connect to the network and type the command again, or put "
                f"{record.file} from {home} into {folder}",
            )
        if trouble := record.trouble(path):
            raise ModelFileError(
                f"{path} is not torchvision's file: {trouble}",
                fix="remove it and type the command again, which downloads it",
            )
        read = read_foreign(path, folder, origin=record.url)
        if path.parent == folder:  # what it became is kept instead
            path.unlink()
    tensors, notes = translate(read[0])
    return Weights(
        tensors=tensors,
        origin=record.url,
        sha256=record.sha256,
        model=record.model,
        preprocess=record.preprocess,
        classes=record.classes,
        accuracy=record.accuracy,
        licence=record.licence,
        notes=(*read[1], *notes),
    )


def _from_hub(text: str, cache_dir: Path | None) -> Weights:
    hub = require("huggingface_hub", extra="hub")
    errors = require("huggingface_hub.errors", extra="hub")
    name, _, revision = text.partition("@")
    paths = []
    try:
        for file in ("config.json", WEIGHTS):
            path = hub.hf_hub_download(
                name,
                file,
                revision=revision or None,
                cache_dir=cache_dir,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
            paths.append(_whole(Path(path)))
    except errors.RemoteEntryNotFoundError as cause:
        raise ModelFileError(
            f"hf-hub:{name} has no {file}",
            fix="choose a repository with one; pickles of the hub are not opened by name, but a "
            "downloaded file can be",
        ) from cause
    except errors.RepositoryNotFoundError as cause:
        raise ModelFileError(
            f"no repository {name} on the hub, or none for everyone to see",
            fix="check the name; timm's are listed on huggingface.co/timm",
        ) from cause
    except (OSError, ValueError) as cause:
        words = " ".join(str(cause).split()) or type(cause).__name__
        raise ModelFileError(
            f"hf-hub:{name} could not be downloaded: {words}",
            fix="connect to the network and type the command again, or put config.json and "
            f"{WEIGHTS} from huggingface.co/{name} into a folder, and give that folder",
        ) from cause
    return _from_folder(paths[0].parent, f"hf-hub:{text}")


def _whole(path: Path) -> Path:
    """A file of the hub's cache whose bytes are those of its name, where that is their hash."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
        blob.unlink()
        path.unlink()
        raise OSError(f"the bytes of {path.name} were not those that the hub promised, now removed")
    return path


def _from_file(path: Path, folder: Path) -> Weights:
    name = path.name.lower()
    model: str | None = None
    notes: tuple[str, ...] = ()
    if name.endswith(SAFE):
        tensors = _safe(path)
    elif name.endswith((*PICKLES, *KERAS)):
        tensors, notes = read_foreign(path, folder)
    else:
        raise ModelFileError(
            f"{path} has none of the endings {', '.join((SAFE, *PICKLES, *KERAS))}",
            fix="rename it if it is one of these files",
        )
    if is_keras(tensors):
        tensors, model = from_keras(tensors)
        recognised = [f"a Keras ResNet: our {model}"]
    else:
        tensors, recognised = translate(tensors)
    return Weights(
        tensors=tensors,
        origin=str(path),
        sha256=sha256_of(path),
        model=model if model is None or parse_name(model)[0] in SPECS else None,
        notes=(*notes, *recognised),
    )


def _from_folder(path: Path, origin: str) -> Weights:
    homes = (path, path / "model")  # of the model itself, and a run's
    places = [(home / card, home / WEIGHTS) for home in homes for card in CARDS]
    found = next((pair for pair in places if all(file.is_file() for file in pair)), None)
    if found is None:
        raise ModelFileError(
            f"{path} holds no {WEIGHTS} beside a {' or '.join(CARDS)}",
            fix="give a weight file, a sealed model or a run folder",
        )
    card_file, weights_file = found
    sums = card_file.with_name("SHA256SUMS")
    if sums.is_file() and f"{sha256_of(weights_file)}  {WEIGHTS}" not in sums.read_text("utf-8"):
        raise ModelFileError(
            f"{weights_file} is damaged: its SHA-256 is not the one in {sums.name}",
            fix="restore it from a copy, or train again",
        )
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        said = _said(card)
    except (ValueError, TypeError, KeyError, AttributeError, ResnetsError) as cause:
        why = cause.problem if isinstance(cause, ResnetsError) else repr(cause)
        raise ModelFileError(
            f"{card_file} does not describe a model: {why}",
            fix="give the weight file alone, and say whose it is",
        ) from cause
    tensors, notes = translate(_safe(weights_file))
    return Weights(
        tensors=tensors, origin=origin, sha256=sha256_of(weights_file), notes=tuple(notes), **said
    )


def _safe(path: Path) -> dict[str, Any]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as cause:
        raise ModelFileError(
            f"{path} is no file of safetensors: {cause}", fix="get the file again"
        ) from cause


def _said(card: dict[str, Any]) -> dict[str, Any]:
    """What a card says of a model: ours, or timm's in either of its two forms."""
    if "preprocess" in card:  # a sealed model
        return {
            "model": spec_name(card["architecture"], card["options"]),
            "preprocess": Preprocess.from_dict(card["preprocess"]),
            "classes": tuple(card["label_names"]),
            "licence": card.get("license"),
        }
    values = card.get("pretrained_cfg", {}) | {k: v for k, v in card.items() if v is not None}
    architecture = values.get("architecture")
    model = TIMM.get(architecture, architecture)
    classes = values.get("label_names")
    if (
        classes is None
        and values.get("num_classes") == 1000
        and "in1k" in (values.get("tag") or "")
    ):
        classes = imagenet_classes()
    return {
        "model": model if model and parse_name(model)[0] in SPECS else None,
        "preprocess": _timm_preprocess(values),
        "classes": tuple(classes) if classes else None,
        "licence": values.get("license"),
    }


def _timm_preprocess(values: dict[str, Any]) -> Preprocess | None:
    """timm's preprocessing in our words, where it has them."""
    keys = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
    given = {key: values[key] for key in keys if values.get(key) is not None}
    ours = given.get("crop_mode", "center") in get_args(CropMode)
    ours &= given.get("interpolation", "bilinear") in get_args(Interpolation)
    return Preprocess(**given) if ours and "input_size" in given else None
