"""An exported ONNX model run by ONNX Runtime."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnets.engines import BATCH, IMAGE, LOGITS, PROBABILITY
from resnets.engines.onnx_file import OnnxFile
from resnets.errors import ModelFileError, require
from resnets.machine import default_threads


class OnnxRuntimePipeline:
    """A ``Pipeline`` around a file that was read; its parts are built at their first use.

    Batches of images of different sizes need preprocessing and network apart, so they are cut out
    of the one graph.

    Raises ``MissingExtra``, and, when a part is built, ``ModelFileError``.
    """

    runtime = "onnxruntime"

    def __init__(self, file: OnnxFile, *, threads: int | None = None) -> None:
        self.file = file
        self.threads = threads or default_threads()
        self._onnxruntime = require("onnxruntime", extra="onnx")

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) of any size -> (C, h, w), what the network reads."""
        return self._run("_preprocessing", BATCH, {IMAGE: image})[0]

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, h, w) as ``prepare`` makes them -> (N, classes)."""
        return self._run("_network", LOGITS, {BATCH: batch})

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) of any size -> (classes,), by the whole graph."""
        return self._run("_whole", PROBABILITY, {IMAGE: image})

    def _run(self, part: str, output: str, inputs: dict[str, NDArray[Any]]) -> Any:
        session = getattr(self, part)
        try:
            return session.run([output], inputs)[0]
        except Exception as cause:  # its errors have no base of their own
            raise self._refusal("cannot run", cause) from cause

    @cached_property
    def _preprocessing(self) -> Any:
        return self._session(IMAGE, BATCH, threads=1)  # each image is prepared in a thread

    @cached_property
    def _network(self) -> Any:
        return self._session(BATCH, LOGITS, threads=self.threads)

    @cached_property
    def _whole(self) -> Any:
        return self._session(IMAGE, PROBABILITY, threads=self.threads)

    def _session(self, first: str, last: str, *, threads: int) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors: what it says of cut graphs helps nobody
        if first == IMAGE:  # of any size: what is kept for one serves no other
            options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        try:
            return self._onnxruntime.InferenceSession(
                self.file.cut([first], [last]), options, providers=["CPUExecutionProvider"]
            )
        except Exception as cause:
            raise self._refusal("cannot load", cause) from cause

    def _refusal(self, what: str, cause: Exception) -> ModelFileError:
        return ModelFileError(
            f"ONNX Runtime {what} {self.file.where}: {cause}",
            fix="export the model again, or install the version of onnxruntime it was made for",
        )
