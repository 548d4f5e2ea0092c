"""Kokoro's graph rewritten, beside the graph as it came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from media.engines.kokoro_parts import FRAME_SAMPLES, ClauseFeatures, Floats, KokoroParts
from media.engines.kokoro_rewrite import PHASES, PITCH, multiply_instead_of_convolving
from media.engines.kokoro_vocabulary import token_ids
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH
from media.engines.onnx import inference_session
from media.engines.onnx_graph import OnnxGraph
from media.engines.onnx_messages import new_node, read_node
from media.engines.protobuf_wire import bytes_field, text_field, varint_field

MODEL = Path("kokoro-82m-int8/kokoro-v1.0.int8.onnx")
VOICES = Path("kokoro-voices")
CHANNELS, OUTPUTS, STEPS = 6, 5, 23
FLOAT, INT32 = 1, 6
IDS = token_ids("ʃˈʊɹ, ˌI kæn hˈɛlp ju.")


def operator_set(version: int, domain: str = "") -> bytes:
    return bytes_field(8, text_field(1, domain) + varint_field(2, version))


def quantised_conv(weights: np.ndarray, *, stride: int, dilation: int, pads: tuple[int, int]) -> OnnxGraph:
    """x → y as the quantiser of Kokoro writes a convolution, its bias included."""
    header = varint_field(1, 8) + operator_set(17) + operator_set(1, "com.microsoft")
    graph = OnnxGraph(header + bytes_field(7, text_field(2, "toy")))
    graph.add_constant("weights", (weights + 64).astype(np.uint8))
    graph.add_constant("weight_zero_point", np.array(64, np.uint8))
    graph.add_constant("weight_scale", np.array(0.02, np.float32))
    graph.add_constant("bias", np.linspace(-1, 1, OUTPUTS, dtype=np.float32))
    graph.add_constant("bias_shape", np.array([1, -1, 1], np.int64))
    quantise = text_field(1, "x") + text_field(4, "DynamicQuantizeLinear")
    quantise += b"".join(text_field(2, name) for name in ("quantised", "scale", "zero_point"))
    graph.nodes += [
        read_node(memoryview(quantise)),
        new_node("Mul", ["scale", "weight_scale"], "scales"),
        new_node("Div", ["bias", "scales"], "bias_steps"),
        new_node("Floor", ["bias_steps"], "bias_floor"),
        new_node("Cast", ["bias_floor"], "bias_whole", to=INT32),
        new_node("Reshape", ["bias_whole", "bias_shape"], "bias_quantised"),
        new_node(
            "ConvInteger",
            ["quantised", "weights", "zero_point", "weight_zero_point"],
            "sums",
            strides=[stride],
            dilations=[dilation],
            pads=list(pads),
        ),
        new_node("Add", ["sums", "bias_quantised"], "biased"),
        new_node("Cast", ["biased"], "biased_float", to=FLOAT),
        new_node("Mul", ["biased_float", "scales"], "y"),
    ]
    return graph


def result_of(graph: OnnxGraph, x: Floats) -> Floats:
    (y,) = inference_session(graph.cut(["x"], ["y"]), threads=1).run(None, {"x": x})
    result: Floats = y
    return result


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "pads"),
    [
        (1, 1, 1, (0, 0)),
        (3, 1, 1, (1, 1)),
        (7, 1, 3, (9, 9)),
        (11, 1, 5, (25, 25)),
        (12, 6, 1, (3, 3)),
        (1, 2, 1, (0, 0)),
    ],
)
def test_a_product_is_what_the_convolution_is(
    taps: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    chance = np.random.default_rng(1)
    weights = chance.integers(-64, 64, (OUTPUTS, CHANNELS, taps))
    x = chance.standard_normal((1, CHANNELS, STEPS)).astype(np.float32)
    graph = quantised_conv(weights, stride=stride, dilation=dilation, pads=pads)
    convolved = result_of(graph, x)
    multiply_instead_of_convolving(graph)
    multiplied = result_of(graph, x)
    assert "ConvInteger" not in {node.op_type for node in graph.between(["x"], ["y"])}
    # The convolution's bias was rounded down to a step of its scales; the product's is exact.
    step = 0.02 * (max(0.0, float(x.max())) - min(0.0, float(x.min()))) / 255
    assert multiplied.shape == convolved.shape
    assert np.all(multiplied - convolved > -1e-5)
    assert np.all(multiplied - convolved < step + 1e-5)


def test_weights_that_could_overflow_16_bits_are_left_to_the_convolution() -> None:
    weights = np.full((OUTPUTS, CHANNELS, 3), 65)
    graph = quantised_conv(weights, stride=1, dilation=1, pads=(1, 1))
    multiply_instead_of_convolving(graph)
    assert "ConvInteger" in {node.op_type for node in graph.between(["x"], ["y"])}


@pytest.fixture(scope="module")
def parts(models_dir: Path) -> KokoroParts:
    return KokoroParts.load(models_dir / MODEL, threads=1)


@pytest.fixture(scope="module")
def style(models_dir: Path) -> Floats:
    styles = np.fromfile(models_dir / VOICES / "af_heart.bin", np.float32)
    style: Floats = styles.reshape(STYLE_ROWS, 1, STYLE_WIDTH)[len(IDS) - 1]
    return style


@pytest.fixture(scope="module")
def clause(parts: KokoroParts, style: Floats) -> ClauseFeatures:
    """About 1.5 s."""
    return parts.prepare(IDS, style, 1.0, ort.RunOptions())


def likeness_db(one: Floats, other: Floats) -> float:
    """By how much what they share is louder than their difference."""
    return 10 * float(np.log10(np.mean(np.square(one)) / np.mean(np.square(one - other))))


@pytest.mark.models
def test_the_network_rewritten_is_the_network(
    models_dir: Path, parts: KokoroParts, clause: ClauseFeatures
) -> None:
    """Its rounding differs in places, and 8-bit activations make more of that."""
    graph = OnnxGraph((models_dir / MODEL).read_bytes())
    heard = [each.name for each in parts.whole.get_inputs()]
    given = (clause.features, clause.pitch, clause.phases, clause.style)
    (audio,) = inference_session(graph.cut(heard, ["audio"]), threads=1).run(
        None, dict(zip(heard, given, strict=True))
    )
    samples, _ = parts.speak_whole(clause, ort.RunOptions())
    assert likeness_db(audio.reshape(-1), samples) > 18


@pytest.mark.models
def test_the_front_rewritten_is_the_front(
    models_dir: Path, parts: KokoroParts, style: Floats, clause: ClauseFeatures
) -> None:
    graph = OnnxGraph((models_dir / MODEL).read_bytes())
    inputs, outputs = (
        [each.name for each in side] for side in (parts.front.get_inputs(), parts.front.get_outputs())
    )
    given = (np.array([[0, *IDS, 0]], np.int64), style, np.ones(1, np.float32))
    features, pitch, phases, _, durations = inference_session(graph.cut(inputs, outputs), threads=1).run(
        None, dict(zip(inputs, given, strict=True))
    )
    assert np.array_equal(durations.reshape(-1), clause.durations)
    assert likeness_db(features, clause.features) > 25
    assert likeness_db(pitch, clause.pitch) > 25
    assert phases.shape == clause.phases.shape


@pytest.mark.models
def test_phases_are_counted_as_they_were(
    models_dir: Path, parts: KokoroParts, clause: ClauseFeatures
) -> None:
    """By frame, to the last digits: they grow to thousands of radians."""
    graph = OnnxGraph((models_dir / MODEL).read_bytes())
    session = inference_session(graph.cut([PITCH], [PHASES]), threads=1)
    (phases,) = session.run(None, {PITCH: clause.pitch})
    assert np.allclose(phases, clause.phases, rtol=1e-6, atol=0.01)


@pytest.mark.models
def test_a_window_of_everything_is_the_whole(parts: KokoroParts, clause: ClauseFeatures) -> None:
    """Given the clause's own statistics: scales in the place of norms change nothing."""
    samples, statistics = parts.speak_whole(clause, ort.RunOptions())
    window = parts.speak_window(clause, statistics, 0, clause.frames, ort.RunOptions())
    assert likeness_db(samples, window) > 20


@pytest.mark.models
@pytest.mark.parametrize("start", [0, 25, 40])
def test_a_window_is_a_part_of_the_whole(parts: KokoroParts, clause: ClauseFeatures, start: int) -> None:
    samples, statistics = parts.speak_whole(clause, ort.RunOptions())
    end = start + 30
    window = parts.speak_window(clause, statistics, start, end, ort.RunOptions())
    assert len(window) == 30 * FRAME_SAMPLES
    assert likeness_db(samples[start * FRAME_SAMPLES : end * FRAME_SAMPLES], window) > 10
