"""Kokoro's parameters out of its ONNX model, as numbers that a `KModel` can be given.

The export has the same network as the `kokoro` package's `KModel`: its parameters keep their names where they
have any (`decoder.decoder.generator.ups.0.bias`), weight norms are folded into the weights, and most weights
are 8-bit whole numbers with a scale, which multiplied out are what the embedded engine computes with. Weights
without a name are known by the bias that is added behind them, or by what the node's result is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from media.engines.onnx_graph import OnnxGraph
from media.engines.onnx_messages import Node

Weights = npt.NDArray[np.float32]

_QUANTISED = "_quantized"
_PARAMETER = re.compile(r"\.(weight(_quantized)?|bias|gamma|beta|alpha[12]\.\d)$")
"""What of the constants is one, and no size or scale."""
_PARTS = ("encoder.", "decoder.")
"""The export is two modules: all but the decoder, and the decoder."""
_GATES = (0, 2, 3, 1)
"""ONNX's order of a recurrent layer's gates is input, output, forget, cell; torch's is input, forget, cell,
output."""
_STEPS_TO_BIAS = 4
_ROUNDING = ("Reshape", "Cast", "Round", "Floor", "Div")
"""What has been done to a bias that is added to whole numbers."""


def read_weights(graph: OnnxGraph) -> dict[str, Weights]:
    """All parameters by `KModel`'s names, without weight norms.

    Raises:
        ValueError: this is no Kokoro, or one that was exported in another way.
        LookupError: the same.
    """
    readers, makers = graph.readers(), graph.makers()
    zeros = dict(_zero_points(graph, readers))
    weights = dict(_named(graph, zeros))
    for node in graph.nodes:
        match node.op_type:
            case "ConvInteger" if not _has_name(node.inputs[1]):
                module = _convolution(graph, node, readers, makers)
                weights[f"{module}.weight"] = _dequantised(graph, node.inputs[1], zeros)
            case "Conv" | "ConvTranspose" if _has_name(node.inputs[-1]):
                weights[f"{_module(node.inputs[-1])}.weight"] = _floats(graph.constant(node.inputs[1]))
            case "MatMulInteger" if node.inputs[1] in graph.constants and not _has_name(node.inputs[1]):
                bias = _bias_of(graph, readers[node.outputs[0]][0], readers, makers)
                weights[f"{_module(bias)}.weight"] = _dequantised(graph, node.inputs[1], zeros).T
            case "MatMul" if node.inputs[1] in graph.constants:
                bias = _bias_of(graph, readers[node.outputs[0]][0], readers, makers)
                weights[f"{_module(bias)}.weight"] = _floats(graph.constant(node.inputs[1])).T
            case "DynamicQuantizeLSTM":
                weights.update(_recurrent(graph, node, zeros))
            case _:
                pass
    return weights


def _named(graph: OnnxGraph, zeros: Mapping[str, str]) -> Iterator[tuple[str, Weights]]:
    """What has a name."""
    for name in graph.constants:
        if not _has_name(name) or not _PARAMETER.search(name):
            continue
        quantised = name.endswith(_QUANTISED)
        values = _dequantised(graph, name, zeros) if quantised else _floats(graph.constant(name))
        parameter = name.partition(".")[2].removesuffix(_QUANTISED)
        # What was a Gemm has become a product with its transpose.
        yield parameter, values.T if parameter.endswith(".fc.weight") else values


def _convolution(
    graph: OnnxGraph, node: Node, readers: dict[str, list[Node]], makers: dict[str, Node]
) -> str:
    """Which module a convolution is: by its bias, or by its result's name where it has none."""
    after = readers[node.outputs[0]][0]
    if after.op_type == "Add":
        return _module(_bias_of(graph, after, readers, makers))
    return _module_of_result(node.outputs[0])


def _recurrent(graph: OnnxGraph, node: Node, zeros: Mapping[str, str]) -> Iterator[tuple[str, Weights]]:
    """A bidirectional layer's eight parameters."""
    module = _module_of_result(node.outputs[0])
    # (directions, columns, gates), where torch has the gates first
    inputs, states = (_dequantised(graph, node.inputs[at], zeros).swapaxes(1, 2) for at in (1, 2))
    biases = _floats(graph.constant(node.inputs[3])).reshape(len(inputs), 2, -1)
    for direction, suffix in enumerate(("", "_reverse")):
        yield f"{module}.weight_ih_l0{suffix}", _gates(inputs[direction])
        yield f"{module}.weight_hh_l0{suffix}", _gates(states[direction])
        yield f"{module}.bias_ih_l0{suffix}", _gates(biases[direction, 0])
        yield f"{module}.bias_hh_l0{suffix}", _gates(biases[direction, 1])


def _gates(rows: Weights) -> Weights:
    parts = np.split(rows, len(_GATES))
    return np.concatenate([parts[gate] for gate in _GATES])


def _bias_of(graph: OnnxGraph, node: Node, readers: dict[str, list[Node]], makers: dict[str, Node]) -> str:
    """The name of what is added, at this node or soon behind it: a bias, or what was made of one."""
    for _ in range(_STEPS_TO_BIAS):
        if node.op_type in ("Add", "FastGelu"):
            for name in node.inputs:
                source = name
                while source in makers and makers[source].op_type in _ROUNDING:
                    source = makers[source].inputs[0]
                if source in graph.constants and source.endswith(".bias"):
                    return source
        node = readers[node.outputs[0]][0]
    raise ValueError(f"no bias is added to {node.inputs[0]}")


def _module(bias: str) -> str:
    """`decoder.decoder.encode.conv1.bias` → `decoder.encode.conv1`."""
    return bias.partition(".")[2].removesuffix(".bias")


def _module_of_result(value: str) -> str:
    """`/encoder/shared/LSTM_output_0` → `predictor.shared`."""
    _, _, *path, _ = value.split("/")
    name = ".".join(path)
    # The export calls these by their lists, which are the predictor's.
    return f"predictor.{name}" if name.startswith(("F0.", "N.", "shared")) else name


def _has_name(name: str) -> bool:
    return name.startswith(_PARTS)


def _zero_points(graph: OnnxGraph, readers: dict[str, list[Node]]) -> Iterator[tuple[str, str]]:
    """The name of each quantised weight's zero point: equal ones are one constant."""
    for node in graph.nodes:
        match node.op_type:
            case "ConvInteger" | "MatMulInteger":
                yield node.inputs[1], node.inputs[3]
            case "DynamicQuantizeLSTM":
                yield from ((node.inputs[1], node.inputs[9]), (node.inputs[2], node.inputs[11]))
            case "Gather" if node.inputs[0].endswith(_QUANTISED):
                yield node.inputs[0], readers[node.outputs[0]][0].inputs[2]
            case _:
                pass


def _dequantised(graph: OnnxGraph, name: str, zeros: Mapping[str, str]) -> Weights:
    """Whole numbers less their zero point, times their scale.

    Both are one for all, or in a matrix one for each column, elsewhere one for each first index.
    """
    whole = _floats(graph.constant(name))
    scale = _floats(graph.constant(f"{name.removesuffix(_QUANTISED)}_scale")).reshape(-1)
    zero = _floats(graph.constant(zeros[name])).reshape(-1)
    beside = (1, -1) if whole.ndim == 2 else (-1, 1, 1)
    values: Weights = (whole - zero.reshape(beside)) * scale.reshape(beside)
    return values


def _floats(values: npt.NDArray[np.generic]) -> Weights:
    return values.astype(np.float32)
