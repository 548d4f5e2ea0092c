"""Kokoro's graph, written so that ONNX Runtime computes the same numbers sooner.

Most of the time goes into convolutions: `ConvInteger`s of 8-bit activations with 7-bit weights. The runtime
multiplies matrices half again as fast as it convolves, given that the constant factor is signed and stands on
the right: then it is packed once, at loading, and scaling and bias cost no passes of their own.

The rest are passes over what the convolutions have made. An instance norm becomes one operator, or with given
statistics two passes instead of four; the generator's second stage sees fewer frames around a window; and the
source signal is made for a window's frames alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from media.engines.onnx_graph import OnnxGraph
from media.engines.onnx_messages import Node, new_node

Weights: TypeAlias = npt.NDArray[np.int16]

KEPT_FROM, KEPT_TO = "kept_from", "kept_to"
"""Inputs of a graph with a narrowed second stage: the first and the last (exclusive) frame that go on."""

_RUNTIME_DOMAIN = "com.microsoft"
_GENERATOR = "/decoder/decoder/generator/"
_SPECTRUM = f"{_GENERATOR}Concat_3_output_0_dynamic_quantized"
_SECOND_NOISE = f"{_GENERATOR}noise_convs.1/"
_FIRST_STAGE = f"{_GENERATOR}LeakyRelu_1_output_0"
_SOURCE = f"{_GENERATOR}m_source/l_sin_gen/"
_PITCH_BY_SAMPLE = f"{_GENERATOR}f0_upsamp/Resize_output_0"
_TURNS_BY_FRAME = f"{_SOURCE}Resize_output_0"

PITCH = "/decoder/decoder/Unsqueeze_output_0"
"""In Hz, (1, 1, frames)."""
PHASES = f"{_SOURCE}Mul_4_output_0"
"""Of the pitch and its harmonics, in radians from the clause's beginning on, (1, 9, frames)."""
LOUDNESS = "/decoder/decoder/Unsqueeze_1_output_0"
"""The logarithm of the energy, as the model predicts it, (1, 1, frames): some −10 in silence, 8 in vowels."""

_FIRST_STEPS, _SECOND_STEPS = 10, 60
"""Time steps a frame in the generator's first and second stage."""
_PAIR_LIMIT = 128
"""Two weights weigh no more together if their products with 255 are to be added within 16 bits."""


@dataclass(frozen=True, slots=True)
class _QuantisedConv:
    """A convolution over time and what the quantiser put around it.

    Attributes:
        node: the `ConvInteger`.
        quantise: the `DynamicQuantizeLinear` that makes its input.
        rescale: the `Mul` that gives its result as floats.
        weight_scale: the name of a constant.
        bias: the name of a constant, or empty.
    """

    node: Node
    quantise: Node
    rescale: Node
    weight_scale: str
    bias: str


def multiply_instead_of_convolving(graph: OnnxGraph) -> None:
    """Puts a matrix product in the place of each convolution.

    Processors without VNNI add two products of a signed and an unsigned byte within 16 bits, which overflow
    silently. Convolutions whose weights allow that stay as they are (two tiny ones of Kokoro's 87).
    """
    readers, makers = graph.readers(), graph.makers()
    for node in list(graph.nodes):
        if node.op_type == "ConvInteger":
            conv = _quantised_conv(node, readers, makers)
            matrix = _matrix(graph, conv)
            if _fits_16_bits(matrix):
                graph.replace(conv.rescale, _product(graph, conv, matrix))


def count_turns_by_frame(graph: OnnxGraph) -> None:
    """Makes `PHASES` from `PITCH` directly: the export first repeats the pitch for each of a frame's 300
    samples, and takes one of them in the end. What follows from the two is computed sample by sample, and
    can be for a part of the clause.
    """
    readers, makers = graph.readers(), graph.makers()
    for reader in readers[_PITCH_BY_SAMPLE]:
        if reader.op_type == "Mul":
            graph.replace(reader, [reader.reading({_PITCH_BY_SAMPLE: PITCH})])
    turns = makers[_TURNS_BY_FRAME].inputs[0]
    for reader in readers[_TURNS_BY_FRAME]:
        graph.replace(reader, [reader.reading({_TURNS_BY_FRAME: turns})])


def norm_at_once(graph: OnnxGraph, among: Sequence[Node]) -> None:
    """Makes one operator of each instance norm among some nodes, its statistics, scale and shift included.

    Raises:
        ValueError: there is none.
    """
    readers, makers = graph.readers(), graph.makers()
    axes = graph.add_constant("norm_axes", np.array([0, 2], np.int64))
    found = False
    for norm in among:
        centre = makers.get(norm.inputs[0]) if norm.op_type == "Div" else None
        if centre is None or centre.op_type != "Sub" or makers[norm.inputs[1]].op_type != "Sqrt":
            continue
        for styled in readers[norm.outputs[0]]:
            (shifted,) = readers[styled.outputs[0]]
            graph.replace(shifted, _normed(centre, norm, styled, shifted, axes))
            found = True
    if not found:
        raise ValueError("no instance norm was found")


def scale_instead_of_norm(graph: OnnxGraph, means: Collection[str]) -> None:
    """Makes one scale and one offset of an instance norm whose statistics are given, and of its style.

    Args:
        graph: where they are.
        means: the names of the norms' given means.
    """
    readers = graph.readers()
    for centre in list(graph.nodes):
        if centre.op_type != "Sub" or centre.inputs[1] not in means:
            continue
        (norm,) = (node for node in readers[centre.outputs[0]] if node.op_type == "Div")
        # Blocks that run side by side share a norm, each with its own style.
        for styled in readers[norm.outputs[0]]:
            (shifted,) = readers[styled.outputs[0]]
            graph.replace(shifted, _scaled(centre, norm, styled, shifted))


def narrow_the_second_stage(graph: OnnxGraph) -> None:
    """Hands only some frames on from the generator's first stage to its second, which makes the samples.

    The second stage has six steps to the first one's one, so it sees less of the time around it, and costs
    most. Adds the inputs `KEPT_FROM` and `KEPT_TO`.
    """
    axis = graph.add_constant("kept_axis", np.array([2], np.int64))
    one = graph.add_constant("kept_one", np.array([1], np.int64))
    nodes = []
    for stage, steps_a_frame in (("first", _FIRST_STEPS), ("second", _SECOND_STEPS)):
        count = graph.add_constant(f"kept_steps_{stage}", np.array([steps_a_frame], np.int64))
        nodes.append(new_node("Mul", [KEPT_FROM, count], f"kept_from_{stage}"))
        nodes.append(new_node("Mul", [KEPT_TO, count], f"kept_to_{stage}"))
    # A spectrum has one more step than its samples have hops.
    nodes.append(new_node("Add", ["kept_to_second", one], "kept_to_spectrum"))
    spectrum, steps = f"{_SPECTRUM}/kept", f"{_FIRST_STAGE}/kept"
    nodes.append(new_node("Slice", [_SPECTRUM, "kept_from_second", "kept_to_spectrum", axis], spectrum))
    nodes.append(new_node("Slice", [_FIRST_STAGE, "kept_from_first", "kept_to_first", axis], steps))
    readers = graph.readers()
    for reader in readers[_FIRST_STAGE]:
        graph.replace(reader, [reader.reading({_FIRST_STAGE: steps})])
    for reader in readers[_SPECTRUM]:
        if reader.outputs[0].startswith(_SECOND_NOISE):
            graph.replace(reader, [reader.reading({_SPECTRUM: spectrum})])
    graph.nodes.extend(nodes)
    graph.add_int64_input(KEPT_FROM)
    graph.add_int64_input(KEPT_TO)


def _normed(centre: Node, norm: Node, styled: Node, shifted: Node, axes: str) -> list[Node]:
    result = shifted.outputs[0]
    gain, shift = _other_input(styled, norm.outputs[0]), _other_input(shifted, styled.outputs[0])
    factors = [f"{result}/gain", f"{result}/shift"]
    return [
        new_node("Squeeze", [gain, axes], factors[0]),
        new_node("Squeeze", [shift, axes], factors[1]),
        new_node("InstanceNormalization", [centre.inputs[0], *factors], result),
    ]


def _scaled(centre: Node, norm: Node, styled: Node, shifted: Node) -> list[Node]:
    result = shifted.outputs[0]
    scale, mean, offset, scaled = (f"{result}/{part}" for part in ("scale", "mean", "offset", "scaled"))
    gain, shift = _other_input(styled, norm.outputs[0]), _other_input(shifted, styled.outputs[0])
    return [
        new_node("Div", [gain, norm.inputs[1]], scale),
        new_node("Mul", [centre.inputs[1], scale], mean),
        new_node("Sub", [shift, mean], offset),
        new_node("Mul", [centre.inputs[0], scale], scaled),
        new_node("Add", [scaled, offset], result),
    ]


def _quantised_conv(node: Node, readers: dict[str, list[Node]], makers: dict[str, Node]) -> _QuantisedConv:
    (after,) = readers[node.outputs[0]]
    bias = ""
    if after.op_type == "Add":
        rounded = _other_input(after, node.outputs[0])
        # The bias was divided by its scale, rounded and shaped: the first step up has it as it was.
        while makers[rounded].op_type != "Div":
            rounded = makers[rounded].inputs[0]
        bias = makers[rounded].inputs[0]
        (after,) = readers[after.outputs[0]]
    (rescale,) = readers[after.outputs[0]]
    quantise = makers[node.inputs[0]]
    scales = makers[_other_input(rescale, after.outputs[0])]
    return _QuantisedConv(node, quantise, rescale, _other_input(scales, quantise.outputs[1]), bias)


def _matrix(graph: OnnxGraph, conv: _QuantisedConv) -> Weights:
    """The weights less their zero point, (taps × channels, outputs)."""
    _, weights, _, zero_point = conv.node.inputs
    signed = graph.constant(weights).astype(np.int16) - graph.constant(zero_point).astype(np.int16)
    outputs, channels, taps = signed.shape
    return signed.transpose(2, 1, 0).reshape(taps * channels, outputs)


def _fits_16_bits(matrix: Weights) -> bool:
    """Whether no two neighbours of a column, both positive or both negative, weigh too much together."""
    even = np.pad(matrix, ((0, len(matrix) % 2), (0, 0)))
    pairs = even.reshape(-1, 2, matrix.shape[1])
    heaviest = max(int(np.clip(sign * pairs, 0, None).sum(axis=1).max()) for sign in (1, -1))
    return heaviest <= _PAIR_LIMIT and int(np.abs(matrix).max()) <= 127


def _product(graph: OnnxGraph, conv: _QuantisedConv, matrix: Weights) -> list[Node]:
    """The nodes: windows of the input as rows, times the weights."""
    activations, weights, zero_point, _ = conv.node.inputs
    result = conv.rescale.outputs[0]
    taps = graph.constant(weights).shape[2]
    (stride,), (dilation,) = conv.node.integers("strides"), conv.node.integers("dilations")
    before, behind = conv.node.integers("pads")

    def name(of: str) -> str:
        return f"{result}/{of}"

    nodes = [new_node("Transpose", [activations], name("rows"), perm=[0, 2, 1])]
    rows = name("rows")
    if before or behind:
        pads = graph.add_constant(name("pads"), np.array([0, before, 0, 0, behind, 0], np.int64))
        nodes.append(new_node("Pad", [rows, pads, zero_point], name("padded")))
        rows = name("padded")
    if taps > 1 or stride > 1:
        reach = graph.add_constant(name("reach"), np.array([dilation * (taps - 1)], np.int64))
        step = graph.add_constant(name("step"), np.array([stride], np.int64))
        zero = graph.add_constant(name("zero"), np.array([0], np.int64))
        one = graph.add_constant(name("one"), np.array([1], np.int64))
        offsets = graph.add_constant(name("offsets"), np.arange(taps, dtype=np.int64) * dilation)
        shape = graph.add_constant(name("shape"), np.array([0, 0, -1], np.int64))
        nodes += [
            new_node("Shape", [rows], name("length"), start=1, end=2),
            new_node("Sub", [name("length"), reach], name("limit")),
            new_node("Range", [zero, name("limit"), step], name("starts")),
            new_node("Unsqueeze", [name("starts"), one], name("first_taps")),
            new_node("Add", [name("first_taps"), offsets], name("taps")),
            new_node("Gather", [rows, name("taps")], name("windows"), axis=1),
            new_node("Reshape", [name("windows"), shape], name("window_rows")),
        ]
        rows = name("window_rows")
    factors = [
        rows,
        graph.add_constant(name("matrix"), matrix.astype(np.int8)),
        conv.quantise.outputs[1],
        conv.weight_scale,
        zero_point,
        graph.add_constant(name("matrix_zero_point"), np.array(0, np.int8)),
        *([conv.bias] if conv.bias else []),
    ]
    nodes += [
        new_node("MatMulIntegerToFloat", factors, name("product"), domain=_RUNTIME_DOMAIN),
        new_node("Transpose", [name("product")], result, perm=[0, 2, 1]),
    ]
    return nodes


def _other_input(node: Node, name: str) -> str:
    (other,) = (each for each in node.inputs if each != name)
    return other
