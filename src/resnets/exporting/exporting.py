"""``resnets export``: from a sealed model to a folder that other programs can use."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from resnets.data.listing import told
from resnets.data.sources import Dataset, Split
from resnets.data.transforms import preprocess_image
from resnets.engines import Pipeline
from resnets.errors import ConfigError, DataError, UnreadableImage, did_you_mean, require
from resnets.evaluation import in_colour, predict_logits
from resnets.exporting.forms import Form, Precision, write_form
from resnets.exporting.proof import BATCH, GateFailed, Proof, prove, time_in_turns
from resnets.exporting.web import find_runtime, site_files
from resnets.machine import default_threads
from resnets.metrics import Floats, softmax
from resnets.prediction import Classifier, load
from resnets.prediction.exports import (
    FILES,
    SUFFIXES,
    exports_folder,
    is_export,
    model_sums,
    source_of,
)
from resnets.sealing import (
    CARD,
    SUMS,
    as_json,
    make_folder,
    named,
    names_in,
    passing,
    replace_folder,
)

MAX_DROP = 0.5
Progress = Callable[[str, int | None], None]
"""Told what begins, and how many images that takes."""


@dataclass(frozen=True)
class Exported:
    """An export that was kept."""

    path: Path
    form: Form
    precision: Precision
    proof: Proof

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        return {
            "path": str(self.path),
            "format": self.form,
            "precision": self.precision,
            "proof": self.proof.to_dict(),
        }


def export_model(
    path: str | Path,
    form: Form = "onnx",
    precision: Precision = "fp32",
    *,
    out: str | Path | None = None,
    data: Any = None,
    data_dir: Path | None = None,
    max_drop: float = MAX_DROP,
    runtime: Path | None = None,
    begin: Progress = lambda what, images: None,
    advance: Callable[[], None] = lambda: None,
) -> Exported:
    """Write a model for another runtime, once it has shown that it answers as PyTorch does.

    Args:
        path: a run folder or a sealed model.
        out: the new folder, whose files are replaced as a whole; by default ``export/`` in the
            run, and there ``FORMAT-PRECISION``.
        data: labelled images to hold the export against, in place of the run's own. int8 is
            calibrated on the run's own training images, or where none are known on the part
            ``train`` of these.
        max_drop: points of accuracy that bf16 and int8 may lose on them; one image is let through
            in any case.
        runtime: the folder with onnxruntime-web, for ``web``; by default it is looked for.
        begin, advance: told what is under way, and of every image.

    Raises ``GateFailed`` for an export that is not good enough, ``MissingExtra``, ``ConfigError``,
    ``DataError`` and ``ModelFileError``; what lay in the folder before is then left as it was.
    """
    path = Path(path)
    _check(path, form, precision, max_drop)
    whole = _as_they_are if form != "web" else partial(site_files, runtime=find_runtime(runtime))
    classifier, source = _opened(path)
    folder = exports_folder(path) / f"{form}-{precision}"
    if out is not None:
        folder = Path(out)
        folder = folder.resolve() if folder.is_symlink() else named(folder)
    _check_target(folder)
    proving = _images(classifier, data, data_dir)
    training = _training_images(classifier, data, data_dir) if precision == "int8" else None
    begin(f"writing {form}, {precision}", None)
    files, meant = write_form(classifier, form, precision, training)
    export = {"format": form, "precision": precision, "source": source}
    card = classifier.card | meant | {"export": export}
    with tempfile.TemporaryDirectory(prefix="resnets-export-") as aside:
        trial = Path(aside) / folder.name
        replace_folder(trial, whole(files, card))
        proof = _prove(classifier, load(trial), proving, trial, precision, max_drop, begin, advance)
    if proof.failure:
        raise GateFailed(proof, fix=_advice(precision))
    card["export"] = export | {"proof": proof.to_dict()}
    make_folder(folder.parent)
    replace_folder(folder, whole(files, card))
    return Exported(folder, form, precision, proof)


def _as_they_are(files: Mapping[str, bytes], card: Mapping[str, Any]) -> dict[str, bytes]:
    return {**files, CARD: as_json(card)}


def _check(path: Path, form: str, precision: str, max_drop: float) -> None:
    for name, value, choices in (
        ("format", form, get_args(Form)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in choices:
            raise ConfigError(
                f"no {name} {value!r}",
                fix=f"{did_you_mean(value, choices)}choose one of {', '.join(choices)}",
            )
    if form == "safetensors" and precision == "int8":
        raise ConfigError(
            "a sealed model has no int8", fix="use --format onnx or --format openvino"
        )
    if not 0 <= max_drop <= 100:
        raise ConfigError(f"max_drop={max_drop:g}", fix="give points of accuracy, such as 0.5")
    if is_export(path):
        raise ConfigError(
            f"{path} is an export already", fix="give the run or sealed model it was made of"
        )
    for module, extra in (("onnx", "onnx"), ("onnxruntime", "onnx"), ("openvino", "openvino")):
        if form == "openvino" or (form != "safetensors" and extra == "onnx"):
            require(module, extra=extra)


def _opened(path: Path) -> tuple[Classifier, str]:
    """A sealed model and the hash of its sums, which stayed the same while it was read."""
    while True:
        try:
            before = source_of(path)
        except OSError:  # torn: what is opened is the one beside it
            before = None
        classifier = load(path)
        source = model_sums(classifier.path)
        if before in (None, source):
            return classifier, source


def _check_target(folder: Path) -> None:
    """Refuse a folder that holds, or has beside it, what the export would take away."""
    another = "choose another folder with --out"
    if folder.is_file() or folder.suffix in SUFFIXES:
        raise ConfigError(f"{folder} is the name of a file", fix=another)
    if folder.resolve() == Path.cwd():
        raise ConfigError(f"{folder} is the folder you are in", fix=f"leave it, or {another}")
    for beside in passing(folder):
        if beside.exists():
            raise ConfigError(f"{beside} would be removed", fix=f"move it away, or {another}")
    if folder.exists() and any(folder.iterdir()):
        if not is_export(folder):
            raise ConfigError(f"{folder} is there already and is no export", fix=another)
        sums = folder / SUMS
        listed = names_in(sums.read_text(errors="replace")) if sums.exists() else []
        its_own = {SUMS, CARD, *listed}
        if others := sorted({path.name for path in folder.iterdir()} - its_own):
            raise ConfigError(
                f"{folder} holds an export and {told(others)}, which would be removed",
                fix=f"move that away, or {another}",
            )


def _training_images(classifier: Classifier, data: Any, data_dir: Path | None) -> Split:
    """What 8-bit ranges are measured on: the run's training images, or those of ``data``."""
    try:
        return classifier.labelled(None, "train", data_dir).splits["train"]
    except DataError:
        if data is None:
            raise
    opened = classifier.opened(data, "val", data_dir)
    if "train" not in opened.splits:
        raise DataError(
            f"{opened.name} has no training images to measure the ranges of int8 on",
            fix="name data that has a part train with --data, or use --precision bf16",
        )
    return classifier.labelled(data, "train", data_dir).splits["train"]


def _images(classifier: Classifier, data: Any, data_dir: Path | None) -> Dataset:
    """The labelled images to hold an export against: one split that trained nothing."""
    opened = classifier.opened(data, "val", data_dir)
    for split in ("val", "test"):
        if split in opened.splits:
            return classifier.labelled(data, split, data_dir)
    raise DataError(
        f"{opened.name} has neither val nor test images to hold the export against",
        fix="name other labelled images with --data",
    )


def _prove(
    classifier: Classifier,
    export: Classifier,
    data: Dataset,
    folder: Path,
    precision: Precision,
    max_drop: float,
    begin: Progress,
    advance: Callable[[], None],
) -> Proof:
    """What the export that was read again answers and how fast, beside its model."""
    ((name, split),) = data.splits.items()
    begin(f"PyTorch answers {name}", len(split))
    expected = _answers(classifier, split, advance)
    begin(f"the export answers {name}", len(split))
    found = {"in batches": _answers(export, split, advance)}
    if isinstance(export.engine, Pipeline):
        begin(f"its whole graph answers {name}", len(split))
        found["image by image"] = _whole_answers(export.engine, split, advance)
    readable = np.flatnonzero(~np.isnan(expected).any(axis=1))
    if not len(readable):
        raise DataError(
            f"{name} of {data.name} has no readable image", fix="name other images with --data"
        )
    begin("timing", None)
    one, many = _speeds([classifier, export], split, readable[:BATCH])
    return prove(
        {way: rows[readable] for way, rows in found.items()},
        expected[readable],
        split.labels[readable],
        [split.names[index] for index in readable],
        classifier.classes,
        exact=precision == "fp32",
        max_drop=max_drop,
        split=name,
        data=data.name,
        size=(_size(classifier.path), _size(folder)),
        milliseconds=(1e3 * one[0], 1e3 * one[1]),
        images_per_second=(BATCH / many[0], BATCH / many[1]),
    )


def _answers(classifier: Classifier, split: Split, advance: Callable[[], None]) -> Floats:
    """(N, classes) probabilities; rows of NaN for images that cannot be read."""
    rows = np.full((len(split), len(classifier.classes)), np.nan)
    answers = predict_logits(
        classifier.engine, split.images, classifier.preprocess, mean_image=classifier.mean_image
    )
    for index, answer in enumerate(answers):
        if not isinstance(answer, UnreadableImage):
            rows[index] = softmax(answer, classifier.temperature)
        advance()
    return rows


def _whole_answers(pipeline: Pipeline, split: Split, advance: Callable[[], None]) -> Floats:
    rows = []
    for index in range(len(split)):
        try:
            rows.append(pipeline.probability(in_colour(split.images[index])).astype(np.float64))
        except UnreadableImage:
            rows.append(np.full_like(rows[0], np.nan) if rows else np.array(np.nan))
        advance()
    return np.stack(np.broadcast_arrays(*rows))


def _speeds(
    classifiers: Sequence[Classifier], split: Split, some: np.ndarray
) -> tuple[list[float], list[float]]:
    """Seconds for one image and for a batch, of each, from decoded images to logits."""
    images = [in_colour(split.images[index]) for index in some]
    images = (images * BATCH)[:BATCH]
    threads = torch.get_num_threads()
    torch.set_num_threads(default_threads())
    try:
        alone = [_step(classifier, images[:1]) for classifier in classifiers]
        together = [_step(classifier, images) for classifier in classifiers]
        return time_in_turns(alone), time_in_turns(together)
    finally:
        torch.set_num_threads(threads)


def _step(classifier: Classifier, images: list[np.ndarray]) -> Callable[[], object]:
    engine, how = classifier.engine, (classifier.preprocess, classifier.mean_image)
    if isinstance(engine, Pipeline):
        return lambda: engine.logits(np.stack([engine.prepare(image) for image in images]))
    return lambda: engine(torch.stack([preprocess_image(image, *how) for image in images]))


def _size(folder: Path) -> int:
    """Bytes of the model files."""
    names = {name for names in FILES.values() for name in names}
    return sum((folder / name).stat().st_size for name in names if (folder / name).exists())


def _advice(precision: Precision) -> str:
    if precision == "int8":
        return "use --precision bf16 or fp32, or allow a larger --max-drop"
    if precision == "bf16":
        return "use --precision fp32, or allow a larger --max-drop"
    return "report it, with the versions that `resnets --version` and `pip list` tell"
