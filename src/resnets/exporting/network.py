"""A network with its preprocessing as one ONNX model."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from resnets.config import Preprocess
from resnets.engines import BATCH, IMAGE, LOGITS, PROBABILITY
from resnets.errors import ConfigError, require
from resnets.exporting.preprocessing import Nodes, add_preprocessing

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 18, 10
"""Old enough for ONNX Runtime of two years ago, its web version, and OpenVINO."""
SIZE_LIMIT = 2**31 - 1
"""Bytes that a protocol buffer can have."""


def network_model(network: nn.Module, size: tuple[int, int, int]) -> "ModelProto":
    """A network without batch norms to fold, as ONNX: ``batch`` (N, C, h, w) -> ``logits``.

    Raises ``MissingExtra``, and ``ConfigError`` for a network that is too large for one file.
    """
    require("onnxscript", extra="onnx")
    if sum(tensor.nbytes for tensor in network.state_dict().values()) > SIZE_LIMIT:
        raise ConfigError(
            "the network has more than 2 GB of weights, too many for one ONNX file",
            fix="export with --format safetensors",
        )
    example = torch.zeros(2, *size)
    with quietly(), torch.inference_mode(False), torch.no_grad():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=[BATCH],
            output_names=[LOGITS],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # noqa: S101
    return _without_traces(program.model_proto)


def _without_traces(model: "ModelProto") -> "ModelProto":
    """The model without where each operation comes from: paths of this machine, lines of code."""
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def whole_model(
    network: "ModelProto",
    preprocess: Preprocess,
    mean_image: np.ndarray | None,
    classes: int,
    temperature: float,
    metadata: Mapping[str, str],
) -> "ModelProto":
    """One graph: ``image`` (height, width, 3) uint8 -> ``probability`` (classes,) float32.

    ``batch`` and ``logits`` lie on the way, their types told for those who cut there.

    Args:
        metadata: what the file shall tell of itself.
    """
    helper = require("onnx.helper", extra="onnx")
    checker = require("onnx.checker", extra="onnx")
    before, after = Nodes("preprocessing"), Nodes("answer")
    add_preprocessing(before, IMAGE, preprocess, mean_image, out=BATCH)
    scaled = after.add("Div", LOGITS, after.constant(temperature))
    shares = after.add("Softmax", scaled, axis=-1)
    after.add("Squeeze", shares, after.whole(0), name=PROBABILITY)

    def value(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        [*before.nodes, *network.graph.node, *after.nodes],
        "resnets",
        [value(IMAGE, 2, "height", "width", 3)],
        [value(PROBABILITY, 1, classes)],
        [*before.constants, *network.graph.initializer, *after.constants],
        value_info=[
            value(BATCH, 1, "n", *preprocess.input_size),
            value(LOGITS, 1, "n", classes),
        ],
    )
    model = helper.make_model(
        graph,
        producer_name="resnets",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model)
    return model


def describe_file(card: Mapping[str, Any], form: str, precision: str) -> dict[str, str]:
    """What an exported file tells of itself, each value as JSON where it is no text."""
    told = {
        "architecture": card["architecture"],
        "precision": precision,
        "format": form,
        "label_names": card["label_names"],
        "preprocess": card["preprocess"],
        "temperature": card.get("temperature") or 1.0,
        "threshold": card.get("threshold"),
    }
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in told.items()}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters print, log and warn of: it is about their own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
