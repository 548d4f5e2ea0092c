"""Cutting ONNX models, on small ones that are written here byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from media.engines.onnx import inference_session
from media.engines.onnx_graph import OnnxGraph


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(op_type: str, inputs: list[str], output: str) -> bytes:
    return (
        b"".join(field(1, name.encode()) for name in inputs)
        + field(2, output.encode())
        + field(4, op_type.encode())
    )


def floats(name: str, values: list[float]) -> bytes:
    data = np.array(values, "<f4").tobytes()
    return field(1, len(values)) + field(2, 1) + field(8, name.encode()) + field(9, data)


def value(name: str) -> bytes:
    return field(1, name.encode()) + field(2, field(1, field(1, 1)))


def model() -> bytes:
    """out = (in + one) · two, and a branch that nothing needs."""
    graph = b"".join(
        [
            field(1, node("Add", ["in", "one"], "sum")),
            field(1, node("Mul", ["sum", "two"], "out")),
            field(1, node("Mul", ["in", "unused"], "side")),
            field(2, b"toy"),
            field(5, floats("one", [1.0, 1.0])),
            field(5, floats("two", [2.0, 2.0])),
            field(5, floats("unused", [9.0, 9.0])),
            field(11, value("in")),
            field(12, value("out")),
        ]
    )
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def run(part: bytes, inputs: dict[str, list[float]], outputs: list[str]) -> list[list[float]]:
    session = inference_session(part, threads=1)
    results = session.run(outputs, {name: np.array(values, np.float32) for name, values in inputs.items()})
    return [result.tolist() for result in results]


def test_the_whole_is_a_part_too() -> None:
    part = OnnxGraph(model()).cut(["in"], ["out"])
    assert run(part, {"in": [1.0, 2.0]}, ["out"]) == [[4.0, 6.0]]
    assert b"unused" not in part


def test_an_inner_value_becomes_an_output() -> None:
    part = OnnxGraph(model()).cut(["in"], ["out", "sum"])
    assert run(part, {"in": [1.0, 2.0]}, ["sum", "out"]) == [[2.0, 3.0], [4.0, 6.0]]


def test_an_inner_value_becomes_an_input() -> None:
    graph = OnnxGraph(model())
    part = graph.cut(["sum"], ["out"])
    assert run(part, {"sum": [5.0, 6.0]}, ["out"]) == [[10.0, 12.0]]
    assert [node.op_type for node in graph.between(["sum"], ["out"])] == ["Mul"]


def test_what_is_needed_must_be_given() -> None:
    with pytest.raises(ValueError, match="'in'"):
        OnnxGraph(model()).cut(["sum"], ["out", "side"])
    with pytest.raises(ValueError, match="'nothing'"):
        OnnxGraph(model()).cut(["in"], ["nothing"])


@pytest.mark.parametrize("length", [1, 10, 60, -1, -20])
def test_a_truncated_model_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"truncated|no graph"):
        OnnxGraph(model()[:length])


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="wire type"):
        OnnxGraph(b"\x07 this is text")
