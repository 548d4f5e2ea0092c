"""Silero VAD's network (v6, 16 kHz) by its weights, in numpy.

Its ONNX file is a PyTorch export that slices, joins and packs its LSTM's weights anew for every window: ONNX
Runtime takes twice to three times as long for it as these few small products do. What it computes is the
same: a short-time Fourier transform, four convolutions that shrink four frames to one, an LSTM, and one
probability.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from media.engines.onnx_graph import OnnxGraph
from media.engines.protocols import VAD_WINDOW_SAMPLES

Floats: TypeAlias = npt.NDArray[np.float32]

CONTEXT_SAMPLES: Final = 64
"""The end of the last window goes in front of the next: the model was trained on 576 samples."""

_PADDING: Final = 64
"""Samples that are mirrored at the end."""
_FRAME, _HOP, _FRAMES, _BINS = 256, 128, 4, 129
_HIDDEN: Final = 128
_CHANNELS: Final = (128, 64, 64, 128)
"""Of the four convolutions. Three taps each; the second and the third go two steps at a time."""


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
        # Three gates are sigmoids, which are tanh of the half, stretched: all four are taken in one go.
        halves = np.full(4 * _HIDDEN, 0.5, np.float32)
        halves[2 * _HIDDEN : 3 * _HIDDEN] = 1.0
        self.gates = _columns(np.concatenate([of_input, of_state], axis=1) * halves[:, None])
        self.gates_bias = (input_bias + state_bias) * halves
        self.output = np.ascontiguousarray(output.reshape(-1), np.float32)
        self.output_bias = float(output_bias[0])


class SileroState:
    """One stream's memory, and the room that its windows are computed in."""

    def __init__(self, network: SileroNetwork) -> None:
        self._network = network
        self._samples = np.zeros(CONTEXT_SAMPLES + VAD_WINDOW_SAMPLES + _PADDING, np.float32)
        self._frames = _overlapping(self._samples, _FRAMES, _FRAME, _HOP)
        # A frame of zeros before and after them is the convolutions' padding.
        self._spectra = np.zeros((_FRAMES + 2, _BINS), np.float32)
        self._spectra_taps = _overlapping(self._spectra, _FRAMES, 3 * _BINS, _BINS)
        self._encoded = np.zeros((_FRAMES + 2, _CHANNELS[0]), np.float32)
        self._encoded_taps = _overlapping(self._encoded, _FRAMES // 2, 3 * _CHANNELS[0], 2 * _CHANNELS[0])
        self._features_and_hidden = np.zeros(2 * _HIDDEN, np.float32)
        self._cell = np.zeros(_HIDDEN, np.float32)

    def push(self, window: Floats) -> float:
        """P(speech) of the next 512 samples, in [-1, 1]."""
        network, samples = self._network, self._samples
        end = CONTEXT_SAMPLES + VAD_WINDOW_SAMPLES
        samples[:CONTEXT_SAMPLES] = samples[VAD_WINDOW_SAMPLES:end]
        samples[CONTEXT_SAMPLES:end] = window
        samples[end:] = samples[end - 2 : end - 2 - _PADDING : -1]
        spectrum = self._frames @ network.basis
        np.square(spectrum, out=spectrum)
        np.sqrt(spectrum[:, :_BINS] + spectrum[:, _BINS:], out=self._spectra[1:-1])

        encoder, biases = network.encoder, network.biases
        hidden = self._features_and_hidden
        np.maximum(self._spectra_taps @ encoder[0] + biases[0], 0.0, out=self._encoded[1:-1])
        two = np.maximum(self._encoded_taps @ encoder[1] + biases[1], 0.0)
        one = np.maximum(two.reshape(-1) @ encoder[2] + biases[2], 0.0)
        np.maximum(one @ encoder[3] + biases[3], 0.0, out=hidden[:_HIDDEN])

        gates = hidden @ network.gates
        gates += network.gates_bias
        np.tanh(gates, out=gates)
        entering, forgetting, candidate, leaving = gates.reshape(4, _HIDDEN)
        cell = self._cell
        cell *= 0.5 * forgetting + 0.5
        cell += (0.5 * entering + 0.5) * candidate
        state = hidden[_HIDDEN:]
        np.multiply(0.5 * leaving + 0.5, np.tanh(cell), out=state)
        logit = float(np.maximum(state, 0.0) @ network.output) + network.output_bias
        return 0.5 + 0.5 * float(np.tanh(0.5 * logit))


def _columns(rows: npt.NDArray[np.float32]) -> Floats:
    """Transposed, and laid out so."""
    return np.ascontiguousarray(rows.T, np.float32)


def _overlapping(array: Floats, count: int, length: int, step: int) -> Floats:
    """Rows that overlap in an array's memory: they show what is written into it."""
    size = array.itemsize
    return np.lib.stride_tricks.as_strided(array, (count, length), (step * size, size))
