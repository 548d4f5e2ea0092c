"""Sample-rate conversion that remembers: one per direction of a stream, or seams would be heard."""

from __future__ import annotations

import av
import numpy as np

from media.audio import Audio


class StreamResampler:
    """Mono from one rate to another through libswresample, int16."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._graph = None if from_hz == to_hz else av.AudioResampler("s16", "mono", to_hz)

    def push(self, audio: Audio) -> Audio:
        """What is ready of the converted stream; the filter holds back 16 samples of the lower rate.

        Raises:
            ValueError: the audio is not at the rate that this converter takes.
        """
        if audio.rate_hz != self._from_hz:
            raise ValueError(f"this converter takes {self._from_hz} Hz, not {audio.rate_hz} Hz")
        if self._graph is None or not len(audio):
            return Audio(audio.as_int16(), self._to_hz)
        frame = av.AudioFrame.from_ndarray(audio.as_int16()[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = self._from_hz
        return self._join(self._graph.resample(frame))

    def finish(self) -> Audio:
        """What the filter still holds. The converter cannot be used afterwards."""
        return (
            self._join(self._graph.resample(None))
            if self._graph
            else Audio(np.zeros(0, np.int16), self._to_hz)
        )

    def _join(self, frames: list[av.AudioFrame]) -> Audio:
        parts = [np.asarray(frame.to_ndarray(), dtype=np.int16).reshape(-1) for frame in frames]
        return Audio(np.concatenate([np.zeros(0, np.int16), *parts]), self._to_hz)


def resample(audio: Audio, to_hz: int) -> Audio:
    """A whole clip at another rate."""
    converter = StreamResampler(audio.rate_hz, to_hz)
    head, tail = converter.push(audio), converter.finish()
    return Audio(np.concatenate([head.as_int16(), tail.as_int16()]), to_hz)
