"""Sample-rate conversion of small pieces, for streams cut into packets: half of libswresample's cost.

libswresample takes some 20 µs for a packet's 20 ms, most of it around the conversion, and several times that
where the caches are cold. Here a piece is one product of matrices: blocks of samples, each with what came
before it, times the filter at every phase.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt

from media.audio import Audio

_Floats = npt.NDArray[np.float32]

_ZERO_CROSSINGS: Final = 16
"""Of the filter on each side of its middle, as in libswresample."""
_KAISER_BETA: Final = 7.0
"""70 dB below what is let through."""
_BAND: Final = 0.94
"""Where the filter lets half through, as a part of the lower rate's band: 3760 Hz of 4000."""
_BLOCK_SAMPLES: Final = 20
"""At the lower rate: 2.5 ms at 8 kHz, of which all packets are multiples."""


class FrameResampler:
    """Mono from one rate to another, int16. What does not fill a block waits for the next piece.

    It delays by 16 samples of the lower rate.

    Args:
        from_hz: of what comes.
        to_hz: of what goes. One is a multiple of the other.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        if from_hz % to_hz and to_hz % from_hz:
            raise ValueError(f"{from_hz} Hz and {to_hz} Hz are no multiples of each other")
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._step = _BLOCK_SAMPLES * max(1, from_hz // to_hz)
        self._filter = None if from_hz == to_hz else _filter(from_hz, to_hz)
        self._before = self._filter.shape[0] - self._step if self._filter is not None else 0
        self._kept = np.zeros(self._before, dtype=np.float32)

    def push(self, audio: Audio) -> Audio:
        """What is ready of the converted stream.

        Raises:
            ValueError: the audio is not at the rate that this converter takes.
        """
        if audio.rate_hz != self._from_hz:
            raise ValueError(f"this converter takes {self._from_hz} Hz, not {audio.rate_hz} Hz")
        samples = audio.as_int16()
        if self._filter is None:
            return Audio(samples, self._to_hz)
        sound: _Floats = np.concatenate((self._kept, samples), dtype=np.float32, casting="unsafe")
        blocks = (len(sound) - self._before) // self._step
        self._kept = sound[blocks * self._step :]
        if not blocks:
            return Audio(np.zeros(0, dtype=np.int16), self._to_hz)
        size = sound.itemsize
        windows = np.ascontiguousarray(
            np.lib.stride_tricks.as_strided(
                sound, (blocks, self._filter.shape[0]), (self._step * size, size), writeable=False
            )
        )
        converted = (windows @ self._filter).reshape(-1)
        np.rint(converted, out=converted)
        np.minimum(converted, np.float32(32767), out=converted)
        np.maximum(converted, np.float32(-32768), out=converted)
        return Audio(converted.astype(np.int16), self._to_hz)


@cache
def _filter(from_hz: int, to_hz: int) -> _Floats:
    """What each sample of a window counts for each sample of its block: a sinc under Kaiser's window."""
    common = gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    half = _ZERO_CROSSINGS * down
    step, outputs = _BLOCK_SAMPLES * down, _BLOCK_SAMPLES * up
    # The time of each output, and of each input, in samples that come; the window begins 2 * half before.
    times = np.arange(outputs) * down / up + half
    distances = times[None, :] - np.arange(2 * half + step)[:, None]
    inside = np.clip(1 - np.square(distances / half), 0, None)
    shaped = np.sinc(distances * _BAND / down) * np.i0(_KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    phases: _Floats = (shaped / shaped.sum(axis=0)).astype(np.float32)
    return phases
