"""The files of each format and precision."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from torch import nn

from resnets.data.sources import Split
from resnets.engines.folding import fold_named, round_weights
from resnets.engines.open_vino import METADATA
from resnets.errors import DataError, UnreadableImage, require
from resnets.evaluation import run_over
from resnets.exporting.network import describe_file, network_model, quietly, whole_model
from resnets.exporting.quantising import halve, quantise, typical
from resnets.prediction import MEAN_IMAGE, Classifier
from resnets.prediction.exports import FILES

Form = Literal["onnx", "openvino", "safetensors", "web"]
Precision = Literal["fp32", "bf16", "int8"]
CALIBRATION, AT_ONCE = 256, 16
"""Training images that show int8 its ranges, and how many go through the network together."""


def write_form(
    classifier: Classifier, form: Form, precision: Precision, training: Split | None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The model files by name, and what the card has to say of them.

    Args:
        training: images to take the ranges of int8 from.
    """
    example = torch.zeros(1, *classifier.preprocess.input_size)
    folded, pairs = fold_named(classifier.model, example)
    if form == "safetensors":
        return _safetensors(classifier, folded, precision), {"folded": pairs}
    network = network_model(folded, classifier.preprocess.input_size)
    if precision == "bf16":
        network = halve(network)
    elif precision == "int8":
        # OpenVINO's int8 convolution of three channels has been seen to answer wrongly (2026.4)
        batches = _batches(classifier, folded, training)
        network = quantise(network, batches, first_layer=form != "openvino")
    told = describe_file(classifier.card, "openvino" if form == "openvino" else "onnx", precision)
    mean_image = classifier.mean_image
    whole = whole_model(
        network,
        classifier.preprocess,
        None if mean_image is None else mean_image.numpy(),
        len(classifier.classes),
        classifier.temperature,
        told,
    ).SerializeToString()
    return (_openvino(whole, told) if form == "openvino" else {FILES["onnx"][0]: whole}), {}


def _safetensors(
    classifier: Classifier, folded: nn.Module, precision: Precision
) -> dict[str, bytes]:
    if precision == "bf16":
        round_weights(folded)
    weights = dict(folded.state_dict())
    if classifier.mean_image is not None:
        weights[MEAN_IMAGE] = classifier.mean_image
    plain = {name: tensor.contiguous() for name, tensor in weights.items()}
    return {FILES["safetensors"][0]: safetensors.torch.save(plain)}


def _openvino(model: bytes, told: Mapping[str, str]) -> dict[str, bytes]:
    openvino = require("openvino", extra="openvino")
    read = openvino.Core().read_model(model)
    for name, value in told.items():
        read.set_rt_info(value, [METADATA, name])
    with tempfile.TemporaryDirectory() as folder, quietly():
        path = Path(folder) / FILES["openvino"][0]
        openvino.save_model(read, path, compress_to_fp16=False)  # the means would lose bits too
        return {name: (Path(folder) / name).read_bytes() for name in FILES["openvino"]}


def _batches(
    classifier: Classifier, folded: nn.Module, training: Split | None
) -> Iterator[np.ndarray]:
    """(N, C, h, w) training images, evenly spaced, for a folder's come class by class."""
    assert training is not None  # noqa: S101
    wanted = min(CALIBRATION, len(training))
    few = training.take(np.linspace(0, len(training) - 1, wanted).round().astype(int))
    rows = run_over(
        lambda batch: batch, few.images, classifier.preprocess, mean_image=classifier.mean_image
    )
    readable = [row for row in rows if not isinstance(row, UnreadableImage)]
    if not readable:
        raise DataError("no training image can be read", fix="put the files back as they were")
    for batch in typical(folded, torch.stack(readable), AT_ONCE).split(AT_ONCE):
        yield batch.numpy()
