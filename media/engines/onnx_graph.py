"""Cutting a part out of an ONNX model, and putting other operators into it, without the ONNX package.

A model is one message; its graph lists nodes, initializers, inputs and outputs as length-delimited fields.
Cutting keeps the nodes that lead from given values to given values, each copied byte by byte. Field numbers
are those of onnx.proto3. Graphs whose nodes hold subgraphs (`If`, `Loop`) are not meant: what those refer to
is not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from media.engines.onnx_messages import (
    Array,
    Node,
    name_of,
    read_node,
    read_tensor,
    tensor_message,
    tensor_name,
)
from media.engines.protobuf_wire import bytes_field, fields_of, text_field

_MODEL_GRAPH = 7
_NODE, _GRAPH_NAME, _INITIALIZER, _INPUT, _OUTPUT = 1, 2, 5, 11, 12
_VALUE_NAME, _VALUE_TYPE = 1, 2
_FLOAT_TENSOR = b"\x0a\x02\x08\x01"
"""TypeProto: `tensor_type` (field 1) whose `elem_type` (field 1) is FLOAT; the shape is left open."""
_INT64_TENSOR = b"\x0a\x02\x08\x07"


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
        for field in fields_of(memoryview(model)):
            if field.number == _MODEL_GRAPH:
                graph = field.content
            else:
                self._header.append(field.whole)
        if graph is None:
            raise ValueError("the model has no graph")
        for field in fields_of(graph):
            if field.number == _NODE:
                self.nodes.append(read_node(field.content))
            elif field.number == _INITIALIZER:
                self._initializers[tensor_name(field.content)] = field.content
            elif field.number == _INPUT:
                self._inputs[name_of(field.content, _VALUE_NAME)] = field.content

    @property
    def constants(self) -> Collection[str]:
        """The names of the initializers."""
        return self._initializers.keys()

    def constant(self, name: str) -> Array:
        """The values of an initializer.

        Raises:
            KeyError: there is none of this name.
            ValueError: it is written in a way that is not read here.
        """
        return read_tensor(self._initializers[name])

    def add_constant(self, name: str, values: Array) -> str:
        """Adds an initializer, or takes the place of one of the same name; gives back its name."""
        self._initializers[name] = memoryview(tensor_message(name, values))
        return name

    def add_int64_input(self, name: str) -> None:
        """Declares an input that nodes put into the graph read; others are float tensors."""
        self._inputs[name] = memoryview(_value(name, _INT64_TENSOR))

    def replace(self, node: Node, by: Sequence[Node]) -> None:
        """Puts other nodes in the place of one. What nobody reads any more falls away when a part is cut."""
        at = next(index for index, each in enumerate(self.nodes) if each is node)
        self.nodes[at : at + 1] = by

    def readers(self) -> dict[str, list[Node]]:
        """For each value, the nodes that read it."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers

    def makers(self) -> dict[str, Node]:
        """For each value that is no initializer and no input, the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs}

    def cut(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """A model that computes `outputs` from `inputs`.

        Args:
            inputs: values of the graph; those that are no inputs of its own are taken for float tensors.
            outputs: values of the graph, float tensors.

        Raises:
            ValueError: the outputs need more than these inputs.
        """
        needed, initializers = self._reached(inputs, outputs)
        graph = [bytes_field(_NODE, node.message) for node in self.nodes if id(node) in needed]
        graph.append(text_field(_GRAPH_NAME, "part"))
        graph += [bytes_field(_INITIALIZER, self._initializers[name]) for name in initializers]
        graph += [bytes_field(_INPUT, self._inputs.get(name, _value(name, _FLOAT_TENSOR))) for name in inputs]
        graph += [bytes_field(_OUTPUT, _value(name, _FLOAT_TENSOR)) for name in outputs]
        return b"".join([*self._header, bytes_field(_MODEL_GRAPH, b"".join(graph))])

    def between(self, inputs: Sequence[str], outputs: Sequence[str]) -> list[Node]:
        """The nodes that `cut` would keep, in the order of the graph."""
        needed, _ = self._reached(inputs, outputs)
        return [node for node in self.nodes if id(node) in needed]

    def _reached(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[set[int], list[str]]:
        """What lies between: the ids of nodes, and the names of initializers."""
        makers = self.makers()
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
            elif value in makers:
                needed.add(id(makers[value]))
                wanted.extend(makers[value].inputs)
            else:
                raise ValueError(f"the outputs need {value!r}, which is not among the inputs")
        return needed, initializers


def _value(name: str, value_type: bytes) -> bytes:
    """A ValueInfoProto."""
    return text_field(_VALUE_NAME, name) + bytes_field(_VALUE_TYPE, value_type)
