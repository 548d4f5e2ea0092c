"""Silero VAD's network (v6, 16 kHz) by its weights, in numpy.

Its ONNX file is a PyTorch export that slices, joins and packs its LSTM's weights anew for every window: ONNX
Runtime takes twice to three times as long for it as these few small products do. What it computes is the
same: a short-time Fourier transform, four convolutions that shrink four frames to one, an LSTM, and one
probability.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from media.audio import Samples
from media.engines.onnx_graph import OnnxGraph
from media.engines.protocols import VAD_WINDOW_SAMPLES

Floats: TypeAlias = npt.NDArray[np.float32]

CONTEXT_SAMPLES: Final = 64
"""The end of the last window goes in front of the next: the model was trained on 576 samples."""

_PADDING: Final = 64
"""Samples that are mirrored at the end."""
_FRAME, _HOP, _FRAMES, _BINS = 256, 128, 4, 129
_HIDDEN: Final = 128
_CANDIDATE: Final = 2
"""The place of the one gate that is no sigmoid."""
_CHANNELS: Final = (128, 64, 64, 128)
"""Of the four convolutions. Three taps each; the second and the third go two steps at a time."""
_ZERO, _HALF, _FROM_INT16 = np.float32(0.0), np.float32(0.5), np.float32(1 / 32768)


class SileroNetwork:
    """The weights, laid out as rows times columns; shared by all streams.

    Args:
        model: the bytes of the `.onnx` file.

    Raises:
        ValueError: it is another model.
    """

    def __init__(self, model: bytes) -> None:
        try:
            graph = OnnxGraph(model)
            basis = graph.constant("model.stft.forward_basis_buffer")
            convolutions = [
                (
                    graph.constant(f"model.encoder.{layer}.reparam_conv.weight"),
                    graph.constant(f"model.encoder.{layer}.reparam_conv.bias"),
                )
                for layer in range(len(_CHANNELS))
            ]
            of_input, of_state, input_bias, state_bias = (
                graph.constant(f"model.decoder.rnn.{name}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            output = graph.constant("model.decoder.decoder.2.weight")
            output_bias = graph.constant("model.decoder.decoder.2.bias")
        except KeyError as error:
            raise ValueError(f"no Silero VAD for 16 kHz: it has no {error}") from error
        shapes = (basis.shape, of_input.shape, *(weights.shape[0] for weights, _ in convolutions))
        if shapes != ((2 * _BINS, 1, _FRAME), (4 * _HIDDEN, _HIDDEN), *_CHANNELS):
            raise ValueError(f"no Silero VAD for 16 kHz: its weights are of {shapes}")
        self.basis = _columns(basis[:, 0])
        self.biases = [np.array(bias, np.float32) for _, bias in convolutions]
        # Tap by tap, each with its channels: as the frames lie in memory.
        first, second, third, fourth = (
            weights.transpose(2, 1, 0).reshape(-1, weights.shape[0]) for weights, _ in convolutions
        )
        # Where a convolution has but one step to do, the taps that lie on its padding have nothing to add.
        self.encoder = [
            np.ascontiguousarray(weights, np.float32)
            for weights in (first, second, third[_CHANNELS[1] :], fourth[_CHANNELS[2] : 2 * _CHANNELS[2]])
        ]
        # Three gates are sigmoids, which are tanh of the half, stretched: all four are taken in one go, and
        # the candidate, which is none, comes last.
        halves = np.full((4, 1), 0.5, np.float32)
        halves[_CANDIDATE] = 1.0
        order = [*(gate for gate in range(4) if gate != _CANDIDATE), _CANDIDATE]
        gates = np.concatenate([of_input, of_state], axis=1).reshape(4, -1) * halves
        self.gates = _columns(gates[order].reshape(4 * _HIDDEN, 2 * _HIDDEN))
        self.gates_bias = (((input_bias + state_bias).reshape(4, -1) * halves)[order]).reshape(-1)
        self.output = np.ascontiguousarray(output.reshape(-1), np.float32)
        self.output_bias = float(output_bias[0])


class SileroState:
    """One stream's memory, and the room that its windows are computed in.

    A window is little arithmetic; what it costs is to come upon cold caches, 31 times a second. So there
    are as few calls of numpy as can be, and none that makes an array.
    """

    def __init__(self, network: SileroNetwork) -> None:
        self._network = network
        end = CONTEXT_SAMPLES + VAD_WINDOW_SAMPLES
        samples = np.zeros(end + _PADDING, np.float32)
        self._context, self._last = samples[:CONTEXT_SAMPLES], samples[VAD_WINDOW_SAMPLES:end]
        self._window = samples[CONTEXT_SAMPLES:end]
        self._mirrored, self._mirror = samples[end:], samples[end - 2 : end - 2 - _PADDING : -1]
        self._frames = _overlapping(samples, _FRAMES, _FRAME, _HOP)
        self._spectrum = np.zeros((_FRAMES, 2 * _BINS), np.float32)
        self._real, self._imaginary = self._spectrum[:, :_BINS], self._spectrum[:, _BINS:]
        # A frame of zeros before and after them is the convolutions' padding.
        magnitudes = np.zeros((_FRAMES + 2, _BINS), np.float32)
        encoded = np.zeros((_FRAMES + 2, _CHANNELS[0]), np.float32)
        two = np.zeros((_FRAMES // 2, _CHANNELS[1]), np.float32)
        one = np.zeros(_CHANNELS[2], np.float32)
        features_and_hidden = np.zeros(2 * _HIDDEN, np.float32)
        self._magnitudes = magnitudes[1:-1]
        inputs = (
            _overlapping(magnitudes, _FRAMES, 3 * _BINS, _BINS),
            _overlapping(encoded, _FRAMES // 2, 3 * _CHANNELS[0], 2 * _CHANNELS[0]),
            two.reshape(-1),
            one,
        )
        outputs = (encoded[1:-1], two, one, features_and_hidden[:_HIDDEN])
        self._layers = tuple(zip(inputs, network.encoder, network.biases, outputs, strict=True))
        self._features_and_hidden = features_and_hidden
        self._hidden = features_and_hidden[_HIDDEN:]
        self._gates = np.zeros(4 * _HIDDEN, np.float32)
        self._sigmoids = self._gates[: 3 * _HIDDEN]
        self._entering, self._forgetting, self._leaving, self._candidate = self._gates.reshape(4, _HIDDEN)
        self._cell = np.zeros(_HIDDEN, np.float32)
        self._scratch = np.zeros(_HIDDEN, np.float32)

    def push(self, window: Samples) -> float:
        """P(speech) of the next 512 samples."""
        network = self._network
        self._context[:] = self._last
        if window.dtype == np.int16:
            np.multiply(window, _FROM_INT16, out=self._window)
        else:
            self._window[:] = window
        self._mirrored[:] = self._mirror
        np.matmul(self._frames, network.basis, out=self._spectrum)
        np.hypot(self._real, self._imaginary, out=self._magnitudes)

        for taps, weights, bias, output in self._layers:
            np.matmul(taps, weights, out=output)
            np.add(output, bias, out=output)
            np.maximum(output, _ZERO, out=output)

        gates, sigmoids = self._gates, self._sigmoids
        np.matmul(self._features_and_hidden, network.gates, out=gates)
        np.add(gates, network.gates_bias, out=gates)
        np.tanh(gates, out=gates)
        np.multiply(sigmoids, _HALF, out=sigmoids)
        np.add(sigmoids, _HALF, out=sigmoids)
        cell, scratch = self._cell, self._scratch
        np.multiply(cell, self._forgetting, out=cell)
        np.multiply(self._entering, self._candidate, out=scratch)
        np.add(cell, scratch, out=cell)
        np.tanh(cell, out=scratch)
        np.multiply(self._leaving, scratch, out=self._hidden)
        np.maximum(self._hidden, _ZERO, out=scratch)
        return 0.5 + 0.5 * math.tanh(0.5 * (float(scratch @ network.output) + network.output_bias))


def _columns(rows: npt.NDArray[np.float32]) -> Floats:
    """Transposed, and laid out so."""
    return np.ascontiguousarray(rows.T, np.float32)


def _overlapping(array: Floats, count: int, length: int, step: int) -> Floats:
    """Rows that overlap in an array's memory: they show what is written into it."""
    size = array.itemsize
    return np.lib.stride_tricks.as_strided(array, (count, length), (step * size, size))
