"""Sound as `/ws` carries it: base64 of int16 or float32 samples, little-endian, mono."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

import numpy as np

from media.audio import Audio
from media.resampler import StreamResampler
from signaling.ws_messages import MessageError
from signaling.ws_objects import Encoding

_SAMPLE_BYTES = {"int16": 2, "float32": 4}

PIECE_S = 0.1
"""What is sent at once at most: on a slow network the first of it is heard while the rest is on its way."""


def decode_audio(text: str, encoding: Encoding, rate_hz: int) -> Audio:
    """A client's audio. What lies beyond [-1, 1] is clipped.

    Raises:
        MessageError: `invalid_audio`: no base64, no whole number of samples, or one that is no number.
    """
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("The audio is not base64.") from None
    width = _SAMPLE_BYTES[encoding]
    if len(data) % width:
        raise _invalid(
            f"The audio has {len(data)} bytes: no whole number of {encoding} samples of {width} bytes each."
        )
    if encoding == "int16":
        return Audio(np.frombuffer(data, "<i2").astype(np.int16, copy=False), rate_hz)
    samples = np.frombuffer(data, "<f4")
    if not np.isfinite(samples).all():
        raise _invalid("The audio holds samples that are infinite or not a number.")
    return Audio(np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False), rate_hz)


def encode_audio(audio: Audio, encoding: Encoding) -> str:
    """The same, the other way."""
    if encoding == "int16":
        return b64encode(audio.as_int16().astype("<i2", copy=False).tobytes()).decode()
    return b64encode(audio.as_float32().astype("<f4", copy=False).tobytes()).decode()


class OutgoingVoice:
    """One item's sound on its way to the client: converted without seams, cut into pieces.

    Args:
        to_hz: the client's rate.
    """

    def __init__(self, to_hz: int) -> None:
        self._to_hz = to_hz
        self._resampler: StreamResampler | None = None
        self._sent_samples = 0

    @property
    def position_ms(self) -> int:
        """Where in the item the next piece begins."""
        return round(1000 * self._sent_samples / self._to_hz)

    def push(self, audio: Audio) -> list[tuple[int, Audio]]:
        """More of it, as pieces and where each begins, in ms."""
        if self._resampler is None:
            self._resampler = StreamResampler(audio.rate_hz, self._to_hz)
        return self._cut(self._resampler.push(audio))

    def finish(self) -> list[tuple[int, Audio]]:
        """What the conversion still held."""
        return self._cut(self._resampler.finish()) if self._resampler else []

    def _cut(self, audio: Audio) -> list[tuple[int, Audio]]:
        step = round(PIECE_S * self._to_hz)
        pieces = []
        for start in range(0, len(audio), step):
            piece = Audio(audio.samples[start : start + step], self._to_hz)
            pieces.append((self.position_ms, piece))
            self._sent_samples += len(piece)
        return pieces


def _invalid(message: str) -> MessageError:
    return MessageError(message, code="invalid_audio", param="audio")
