"""The process that holds the model: decodes in threads, answers in batches, explains.

    messages in -> decode, prepare (threads) -> batch (whatever is there) -> messages out

While the network is busy the next images are decoded, and what is there when it is free again is
the next batch: nobody waits for a batch to fill. Explanations are made beside, one at a time.
"""

import contextlib
import io
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from resnets.decoding import decode, read_header
from resnets.errors import CannotGoOn, ResnetsError, UnreadableImage
from resnets.machine import available_cores
from resnets.prediction import Classifier, load
from resnets.prediction.exports import model_sums
from resnets.serving.messages import Channel, Head
from resnets.serving.scans import MOST_SCANS, has_many_scans
from resnets.serving.watching import fingerprint

READERS = 8
"""At most so many threads decode."""
LARGE = 16_000_000
"""Images of more pixels are prepared one at a time: each takes seven bytes for a pixel, and twelve
more where an exported model resizes it."""
ROOM = 4 * 2**30
"""Bytes of addresses that the process may take beyond what it has once the model is loaded."""


class Prepared(NamedTuple):
    """An image that waits for the network."""

    head: Head
    rows: Any


class Worker:
    """A classifier and the images on their way through it."""

    def __init__(
        self, classifier: Classifier, channel: Channel, *, batch: int, pixels: int, side: int
    ) -> None:
        self.classifier = classifier
        self.channel = channel
        self.batch = batch
        self.pixels = pixels
        self.side = side
        self._waiting: set[int] = set()
        """Numbers of the images that somebody still waits for."""
        self._prepared: queue.SimpleQueue[Prepared] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(min(READERS, available_cores()), "resnets-read")
        self._large = ThreadPoolExecutor(1, "resnets-large")
        self._explaining = ThreadPoolExecutor(1, "resnets-explain")

    def listen(self) -> None:
        """Take what the front sends, until it ends; then the process ends too."""
        while (message := self.channel.receive()) is not None:
            head, body = message
            match head["kind"]:
                case "ping":
                    self.channel.send({"kind": "pong"})
                case "cancel":
                    self._waiting.discard(head["number"])
                case "predict":
                    self._waiting.add(head["number"])
                    self._readers.submit(_guarded, self._predict, head, body)
                case "explain":
                    self._waiting.add(head["number"])
                    self._explaining.submit(_guarded, self._explain, head, body)
        os._exit(0)

    def answer(self) -> None:
        """Run batches for ever."""
        while True:
            found = [self._prepared.get()]
            while len(found) < self.batch and not self._prepared.empty():
                found.append(self._prepared.get())
            batch = [each for each in found if each.head["number"] in self._waiting]
            self._drop([each.head for each in found if each not in batch])
            if batch:
                self._run(batch)

    def _run(self, batch: list[Prepared]) -> None:
        try:
            logits = self.classifier.logits([each.rows for each in batch])
        except ResnetsError as error:
            if len(batch) == 1:
                self._refuse(batch[0].head, error, 500)
            else:  # one of them is at fault; the others are answered
                for each in batch:
                    self._run([each])
            return
        for (head, _), row in zip(batch, logits, strict=True):
            answer = self.classifier.answer(head["file"], row, head["top"]).to_dict()
            self._send(head, {"result": answer, "batch": len(batch)})

    def _predict(self, head: Head, body: bytes) -> None:
        """Prepare an image; a large one in the thread for those, so that no other waits for it."""
        if (size := self._size(head, body)) is None:
            return
        if size > LARGE:
            self._large.submit(_guarded, self._prepare, head, body)
        else:
            self._prepare(head, body)

    def _prepare(self, head: Head, body: bytes) -> None:
        if (pixels := self._decoded(head, body)) is None:
            return
        try:
            rows = self.classifier.prepare(pixels)
        except ResnetsError as error:
            self._refuse(head, error, 500)
        except MemoryError:
            reason = "there is too little memory for it"
            self._send(head, {"refused": [500, reason, "make it smaller"]})
        else:
            self._prepared.put(Prepared(head, rows))

    def _size(self, head: Head, body: bytes) -> int | None:
        """Pixels of an image that is taken; a refusal is sent for one that is not."""
        try:
            header = read_header(body)
        except UnreadableImage as error:
            self._refuse(head, error, 422)
            return None
        size = header.width * header.height
        if size > self.pixels or max(header.width, header.height) > self.side:
            most = f"{self.pixels:,}, or than {self.side:,} on a side"
            reason = f"has {header.width} x {header.height} pixels, more than {most}"
            self._send(head, {"refused": [413, reason, "make it smaller"]})
            return None
        if header.format == "JPEG" and has_many_scans(body):
            reason = f"is a JPEG of {MOST_SCANS} scans or more, each of which takes time to decode"
            self._send(head, {"refused": [422, reason, "save it with another program"]})
            return None
        return size

    def _decoded(self, head: Head, body: bytes) -> np.ndarray | None:
        """The image, or a refusal sent, or nothing where nobody waits for it any more."""
        if head["number"] not in self._waiting:
            self._drop([head])
            return None
        try:
            return decode(body, background=self.classifier.preprocess.background)
        except UnreadableImage as error:
            self._refuse(head, error, 422)
            return None

    def _explain(self, head: Head, body: bytes) -> None:
        if self._size(head, body) is None or (pixels := self._decoded(head, body)) is None:
            return
        from resnets.serving.explaining import explained

        try:
            found = explained(self.classifier, pixels, **head["options"])
        except ResnetsError as error:  # a label, method or point there is not
            self._refuse(head, error, 409 if isinstance(error, ImportError) else 422)
        else:
            self._send(head, {"result": found})

    def _refuse(self, head: Head, error: ResnetsError, status: int) -> None:
        problem = error.reason("image") if isinstance(error, UnreadableImage) else error.problem
        self._send(head, {"refused": [status, problem, error.fix]})

    def _drop(self, heads: list[Head]) -> None:
        for head in heads:
            self._send(head, {"dropped": True})

    def _send(self, head: Head, told: Head) -> None:
        self._waiting.discard(head["number"])
        self.channel.send({"kind": "answer", "number": head["number"], **told})


def main() -> None:
    """Open the model that the command line tells as JSON, and serve it over standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the front
    channel = _own_channel()
    told = json.loads(sys.argv[1])
    try:
        worker, hello = _opened(told, channel)
    except ResnetsError as error:
        channel.send(
            {
                "kind": "failed",
                "problem": error.problem,
                "fix": error.fix,
                "exit_code": error.exit_code,
            }
        )
        return
    _confine()
    channel.send(hello)
    threading.Thread(target=_guarded, args=(worker.listen,), daemon=True).start()
    _guarded(worker.answer)


def _guarded(do: Callable[..., None], *arguments: Any) -> None:
    """Let no error of a thread pass unseen: what we did not foresee ends the process at once."""
    try:
        do(*arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _own_channel() -> Channel:
    """Standard input and output as a channel; what anything prints goes to standard error."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return Channel(os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb"))


def _opened(told: dict[str, Any], channel: Channel) -> tuple[Worker, Head]:
    """The model, tested on a picture, and what the front should know of it."""
    path = Path(told["run"])
    while True:
        before = fingerprint(path)
        classifier = load(path, engine=told["engine"], precision=told["precision"])
        model = model_sums(classifier.path)
        if fingerprint(path) == before:  # it stayed the same while it was loaded
            break
    limits = {name: told[name] for name in ("batch", "pixels", "side")}
    worker = Worker(classifier, channel, **limits)
    _test(classifier)
    hello = {
        "kind": "hello",
        "model": model,
        "path": str(classifier.path),
        "engine": getattr(classifier.engine, "runtime", "pytorch"),
        "notes": list(classifier.notes),
        "card": classifier.card,
        "explains": classifier.network is not None,
    }
    return worker, hello


def _test(classifier: Classifier) -> None:
    """Answer one picture of each kind that is taken. Raises ``CannotGoOn``."""
    picture = Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))
    rows = []
    for kind in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, kind)
        pixels = decode(file.getvalue(), background=classifier.preprocess.background)
        rows.append(classifier.prepare(pixels))
    for logits in classifier.logits(rows):
        told = classifier.answer("", logits, len(classifier.classes)).predictions or ()
        if not abs(sum(each.probability for each in told) - 1) < 1e-3:
            raise CannotGoOn(
                f"{classifier.path} gives probabilities that do not sum to one",
                fix="train or export the model again",
            )


def _confine() -> None:
    """Take from this process what it no longer needs, where the system has limits."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
        statistics = Path("/proc/self/statm")
        if statistics.exists():
            most = int(statistics.read_text().split()[0]) * resource.getpagesize() + ROOM
            with contextlib.suppress(ValueError):  # a lower limit is set already
                resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
