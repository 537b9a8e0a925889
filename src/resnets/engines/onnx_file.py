"""ONNX files without the onnx package: which are refused, and a graph cut in two.

A file is protocol-buffer fields within fields. Only those that matter here are looked at, and
weights are handed on as the bytes they are. Numbers of fields are those of ``onnx.proto3``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from resnets.errors import ModelFileError

MODEL_GRAPH, MODEL_METADATA, MODEL_TRAINING, MODEL_FUNCTIONS = 7, 14, 20, 25
ENTRY_KEY, ENTRY_VALUE = 1, 2
GRAPH_NODE, GRAPH_NAME, GRAPH_TENSOR, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE = 1, 2, 5, 11, 12, 13
GRAPH_SPARSE = 15
NODE_INPUT, NODE_OUTPUT, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS = 5, 10
ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = {6, 11}, {22, 23}
TENSOR_NAME, TENSOR_EXTERNAL, TENSOR_LOCATION = 8, 13, 14
VALUE_NAME = 1
STANDARD = ("", "ai.onnx")
"""The domain of ONNX's own operations, under both its names."""
VARINT, EIGHT_BYTES, COUNTED, FOUR_BYTES = 0, 1, 2, 5
"""How the content of a field is written."""


class Field(NamedTuple):
    """One field of a message."""

    number: int
    content: memoryview
    """Of a counted one, the bytes; of another, as they are written."""
    whole: memoryview
    """With number and length before it."""


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    whole: memoryview


class OnnxFile:
    """An ONNX model in memory, of which nothing is trusted.

    Raises ``ModelFileError`` for what is no such model, for weights in other files (the model
    could name any file of the machine), and for operations that ONNX itself does not define.
    """

    def __init__(self, data: bytes, *, where: object) -> None:
        self.where = where
        try:
            model = list(fields(memoryview(data)))
            (graph,) = (field.content for field in model if field.number == MODEL_GRAPH)
            self._beside = [field.whole for field in model if field.number != MODEL_GRAPH]
            self._graph = list(fields(graph))
            if any(field.number in (MODEL_TRAINING, MODEL_FUNCTIONS) for field in model):
                raise self._refusal("has functions of its own")
            if any(self._of(GRAPH_SPARSE)):
                raise self._refusal("has sparse weights")
            self.metadata = {
                _text(field.content, ENTRY_KEY): _text(field.content, ENTRY_VALUE)
                for field in model
                if field.number == MODEL_METADATA
            }
            """What the file tells of itself, by name."""
            self._nodes = [self._node(field) for field in self._of(GRAPH_NODE)]
            self._tensors = {}
            for field in self._of(GRAPH_TENSOR):
                self._check_tensor(field.content)
                self._tensors[_text(field.content, TENSOR_NAME)] = field.whole
            self._values = {
                _text(field.content, VALUE_NAME): field.content
                for number in (GRAPH_VALUE, GRAPH_INPUT, GRAPH_OUTPUT)
                for field in self._of(number)
            }
        except ModelFileError:
            raise
        except (IndexError, ValueError) as cause:  # no text, no end, no graph
            raise self._refusal("is no ONNX model, or a damaged one") from cause

    def cut(self, inputs: Iterable[str], outputs: Iterable[str]) -> bytes:
        """The model between these values, whose types and shapes the file has to tell."""
        ends, starts = list(outputs), set(inputs)
        makers = {name: node for node in self._nodes for name in node.outputs}
        nodes, tensors, seen = set[int](), [], set(starts)
        open_ends = list(ends)
        while open_ends:
            name = open_ends.pop()
            if not name or name in seen:
                continue
            seen.add(name)
            if name in makers:
                nodes.add(id(makers[name]))
                open_ends += makers[name].inputs
            elif name in self._tensors:
                tensors.append(self._tensors[name])
            else:
                raise self._refusal(f"has nothing that computes {name!r}")
        graph = [
            *(node.whole for node in self._nodes if id(node) in nodes),
            *(field.whole for field in self._of(GRAPH_NAME)),
            *tensors,
            *(part for name in starts for part in _counted(GRAPH_INPUT, self._value(name))),
            *(part for name in ends for part in _counted(GRAPH_OUTPUT, self._value(name))),
        ]
        length = sum(map(len, graph))
        return b"".join([*self._beside, _head(MODEL_GRAPH, length), *graph])

    def _of(self, number: int) -> Iterator[Field]:
        return (field for field in self._graph if field.number == number)

    def _value(self, name: str) -> memoryview:
        if name not in self._values:
            raise self._refusal(f"does not tell what {name!r} is")
        return self._values[name]

    def _node(self, field: Field) -> Node:
        inputs, outputs = [], []
        for part in fields(field.content):
            if part.number == NODE_INPUT:
                inputs.append(str(part.content, "utf-8"))
            elif part.number == NODE_OUTPUT:
                outputs.append(str(part.content, "utf-8"))
            elif part.number == NODE_DOMAIN and str(part.content, "utf-8") not in STANDARD:
                domain = str(part.content, "utf-8")
                raise self._refusal(f"has operations that are not ONNX's own, of {domain!r}")
            elif part.number == NODE_ATTRIBUTE:
                self._check_attribute(part.content)
        return Node(tuple(inputs), tuple(outputs), field.whole)

    def _check_attribute(self, attribute: memoryview) -> None:
        for part in fields(attribute):
            if part.number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                self._check_tensor(part.content)
            elif part.number in ATTRIBUTE_GRAPHS:
                raise self._refusal("has graphs within its graph")
            elif part.number in ATTRIBUTE_SPARSE:
                raise self._refusal("has sparse weights")

    def _check_tensor(self, tensor: memoryview) -> None:
        for part in fields(tensor):
            outside = part.number == TENSOR_LOCATION and bytes(part.content) != b"\0"
            if outside or part.number == TENSOR_EXTERNAL:
                raise self._refusal("keeps weights in other files")

    def _refusal(self, why: str) -> ModelFileError:
        return ModelFileError(
            f"{self.where} {why}", fix="give a file that `resnets export` has written"
        )


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order. Raises ``ValueError`` and ``IndexError`` for no such."""
    place = 0
    while place < len(message):
        begin = place
        tag, place = _varint(message, place)
        kind, start = tag & 7, place
        if kind == VARINT:
            _, place = _varint(message, place)
        elif kind == COUNTED:
            length, start = _varint(message, place)
            place = start + length
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            place += 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place > len(message):
            raise ValueError("a field ends beyond its message")
        yield Field(tag >> 3, message[start:place], message[begin:place])


def _text(message: memoryview, number: int) -> str:
    return next((str(f.content, "utf-8") for f in fields(message) if f.number == number), "")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number without an end")


def _head(number: int, length: int) -> bytes:
    head = b""
    for value in (number << 3 | COUNTED, length):
        while value > 127:
            head += bytes([value & 127 | 128])
            value >>= 7
        head += bytes([value])
    return head


def _counted(number: int, content: memoryview) -> tuple[bytes, memoryview]:
    return _head(number, len(content)), content
