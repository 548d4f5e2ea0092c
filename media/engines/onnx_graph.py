"""Cutting a part out of an ONNX model, without the ONNX package: only protobuf's wire format is read.

A model is one message; its graph lists nodes, initializers, inputs and outputs as length-delimited fields.
Cutting keeps the nodes that lead from given values to given values, each copied byte by byte. Field numbers
are those of onnx.proto3. Graphs whose nodes hold subgraphs (`If`, `Loop`) are not meant: what those refer to
is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE = 1, 2, 4
_TENSOR_NAME, _VALUE_NAME, _VALUE_TYPE = 8, 1, 2
_FLOAT_TENSOR = b"\x0a\x02\x08\x01"
"""TypeProto: `tensor_type` (field 1) whose `elem_type` (field 1) is FLOAT; the shape is left open."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        op_type: `Conv`, `ReduceMean` …
        inputs: names of values; empty for one that is left out.
        outputs: names of values.
        message: its NodeProto.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: memoryview


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message; `content` is empty for those that are not length-delimited."""

    number: int
    content: memoryview
    whole: memoryview


class OnnxGraph:
    """A model that was read, to cut parts out of.

    Args:
        model: the bytes of a `.onnx` file, kept while this lives.

    Raises:
        ValueError: these are no protobuf message, or one without a graph.
    """

    def __init__(self, model: bytes) -> None:
        self.nodes: list[Node] = []
        self._initializers: dict[str, memoryview] = {}
        self._inputs: dict[str, memoryview] = {}
        self._header: list[memoryview] = []
        graph: memoryview | None = None
        for field in _fields(memoryview(model)):
            if field.number == _MODEL_GRAPH:
                graph = field.content
            else:
                self._header.append(field.whole)
        if graph is None:
            raise ValueError("the model has no graph")
        for field in _fields(graph):
            if field.number == _NODE:
                self.nodes.append(_node(field.content))
            elif field.number == _INITIALIZER:
                self._initializers[_text(field.content, _TENSOR_NAME)] = field.content
            elif field.number == _INPUT:
                self._inputs[_text(field.content, _VALUE_NAME)] = field.content

    def cut(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """A model that computes `outputs` from `inputs`.

        Args:
            inputs: values of the graph; those that are no inputs of its own are taken for float tensors.
            outputs: values of the graph, float tensors.

        Raises:
            ValueError: the outputs need more than these inputs.
        """
        needed, initializers = self._reached(inputs, outputs)
        graph = [_field(_NODE, node.message) for node in self.nodes if id(node) in needed]
        graph.append(_field(_GRAPH_NAME, b"part"))
        graph += [_field(_INITIALIZER, self._initializers[name]) for name in initializers]
        graph += [_field(_INPUT, self._inputs.get(name, _float_value(name))) for name in inputs]
        graph += [_field(_OUTPUT, _float_value(name)) for name in outputs]
        return b"".join([*self._header, _field(_MODEL_GRAPH, b"".join(graph))])

    def between(self, inputs: Sequence[str], outputs: Sequence[str]) -> list[Node]:
        """The nodes that `cut` would keep, in the order of the graph."""
        needed, _ = self._reached(inputs, outputs)
        return [node for node in self.nodes if id(node) in needed]

    def _reached(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[set[int], list[str]]:
        """What lies between: the ids of nodes, and the names of initializers."""
        producers = {output: node for node in self.nodes for output in node.outputs}
        needed: set[int] = set()
        initializers: list[str] = []
        seen = {"", *inputs}
        wanted = list(outputs)
        while wanted:
            value = wanted.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in self._initializers:
                initializers.append(value)
            elif value in producers:
                needed.add(id(producers[value]))
                wanted.extend(producers[value].inputs)
            else:
                raise ValueError(f"the outputs need {value!r}, which is not among the inputs")
        return needed, initializers


def _node(message: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op_type = ""
    for field in _fields(message):
        if field.number == _NODE_INPUT:
            inputs.append(str(field.content, "utf-8"))
        elif field.number == _NODE_OUTPUT:
            outputs.append(str(field.content, "utf-8"))
        elif field.number == _NODE_OP_TYPE:
            op_type = str(field.content, "utf-8")
    return Node(op_type, tuple(inputs), tuple(outputs), message)


def _text(message: memoryview, number: int) -> str:
    return next((str(field.content, "utf-8") for field in _fields(message) if field.number == number), "")


def _float_value(name: str) -> bytes:
    """A ValueInfoProto."""
    return _field(_VALUE_NAME, name.encode()) + _field(_VALUE_TYPE, _FLOAT_TENSOR)


def _fields(message: memoryview) -> Iterator[_Field]:
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        content_at = at
        if wire_type == _VARINT:
            _, at = _read_varint(message, at)
            content_at = at
        elif wire_type == _BYTES:
            length, content_at = _read_varint(message, at)
            at = content_at + length
        elif wire_type in (_FIXED64, _FIXED32):
            at = content_at = at + (8 if wire_type == _FIXED64 else 4)
        else:
            raise ValueError(f"no protobuf message: wire type {wire_type} at byte {start}")
        if at > len(message):
            raise ValueError(f"a truncated protobuf message: field {number} ends beyond it")
        yield _Field(number, message[content_at:at], message[start:at])


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Its value, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a truncated protobuf message: it ends within a number")


def _field(number: int, content: bytes | memoryview) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + bytes(content)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
