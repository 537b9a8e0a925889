"""An exported model run by OpenVINO: its own format, or ONNX."""

import threading
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnets.engines import BATCH, LOGITS
from resnets.errors import ModelFileError, require
from resnets.machine import default_threads

METADATA = "resnets"
"""Under which name the file tells of itself (OpenVINO's ``rt_info``)."""


class OpenVinoPipeline:
    """A ``Pipeline`` around files that were read; its parts are compiled at their first use.

    Args:
        model: what ``model.xml`` holds, or an ONNX model without other files.
        weights: what ``model.bin`` holds; nothing for ONNX.
        precision: of the network's arithmetic; the preprocessing's is float32. OpenVINO by itself
            takes bf16 where the processor has it.

    Raises ``MissingExtra``, and ``ModelFileError`` for a model that OpenVINO cannot take.
    """

    runtime = "openvino"

    def __init__(
        self,
        model: bytes,
        weights: bytes = b"",
        *,
        where: object,
        precision: Literal["f32", "bf16"] = "f32",
        threads: int | None = None,
    ) -> None:
        self.where, self.precision = where, precision
        self.threads = threads or default_threads()
        self._model, self._weights = model, weights
        self._openvino = require("openvino", extra="openvino")
        self._core = self._openvino.Core()
        self._running = threading.Lock()

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) of any size -> (C, h, w), what the network reads."""
        return self._run("_preprocessing", image)[0]

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, h, w) as ``prepare`` makes them -> (N, classes)."""
        return self._run("_network", batch)

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) of any size -> (classes,), by the whole graph."""
        return self._run("_whole", image)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What the file tells of itself, by name; empty where it tells nothing."""
        model = self._read()
        if not model.has_rt_info([METADATA]):
            return {}
        entries = model.get_rt_info([METADATA]).astype(dict)
        return {name: value.astype(str) for name, value in entries.items()}

    def _run(self, part: str, value: NDArray[Any]) -> Any:
        """A part's output; one runs at a time, on all threads.

        Requests that run side by side in one process have been seen to wait for each other for
        ever (openvino 2026.4).
        """
        with self._running:
            request = getattr(self, part)
            try:
                return request.infer([np.ascontiguousarray(value)])[0].copy()
            except RuntimeError as cause:
                raise self._refusal(f"cannot run {self.where}: {cause}") from cause

    @cached_property
    def _whole(self) -> Any:
        return self._compiled(self._read(), self.precision)

    @cached_property
    def _preprocessing(self) -> Any:
        model = self._read()
        part = self._openvino.Model([self._value(model, BATCH)], model.get_parameters())
        return self._compiled(part, "f32")

    @cached_property
    def _network(self) -> Any:
        model = self._read()
        batch, logits = self._value(model, BATCH), self._value(model, LOGITS)
        shape = batch.get_partial_shape()
        shape[0] = self._openvino.Dimension()  # any number of images
        start = self._openvino.op.Parameter(batch.get_element_type(), shape)
        for reader in batch.get_target_inputs():
            reader.replace_source_output(start.output(0))
        part = self._openvino.Model([logits], [start])
        return self._compiled(part, self.precision)

    def _read(self) -> Any:
        try:
            return self._core.read_model(self._model, self._weights)
        except Exception as cause:  # RuntimeError, and what its parsers raise
            raise self._refusal(f"cannot read {self.where}: {cause}") from cause

    def _compiled(self, model: Any, precision: str) -> Any:
        """A request for inference."""
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            return self._core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as cause:
            raise self._refusal(f"cannot run {self.where}: {cause}") from cause

    def _value(self, model: Any, name: str) -> Any:
        for operation in model.get_ordered_ops():
            for output in operation.outputs():
                if name in output.get_names():
                    return output
        raise self._refusal(f"finds nothing called {name!r} in {self.where}")

    def _refusal(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"OpenVINO {why}", fix="export the model again, with the version of openvino in use"
        )
