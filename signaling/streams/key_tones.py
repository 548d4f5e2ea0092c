"""The tones of a telephone's keys, for wires that have no other way to press one (ITU-T Q.23)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from media.audio import Audio
from media.playout import FADE_SAMPLES, FRAME_SAMPLES, PLAYOUT_RATE_HZ

TONE_FRAMES: Final = 6
PAUSE_FRAMES: Final = 4
"""120 ms and 80 ms; no receiver needs more than 40 ms of either (ITU-T Q.24)."""
_LEVEL: Final = 0.25
"""Of each of the two tones: some -9 dBm0, as telephones send them."""

_ROWS_HZ: Final = (697, 770, 852, 941)
_COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)
_KEYS: Final = ("123A", "456B", "789C", "*0#D")
_TONES_HZ: Final = {
    key: (row_hz, column_hz)
    for row_hz, keys in zip(_ROWS_HZ, _KEYS, strict=True)
    for column_hz, key in zip(_COLUMNS_HZ, keys, strict=True)
}


def key_tones(digits: str) -> Iterator[Audio]:
    """Frames of 20 ms at 48 kHz: each key's tone, and a pause after it."""
    for digit in digits:
        sound = _tone(*_TONES_HZ[digit])
        for start in range(0, len(sound), FRAME_SAMPLES):
            yield Audio(sound[start : start + FRAME_SAMPLES], PLAYOUT_RATE_HZ)
        for _ in range(PAUSE_FRAMES):
            yield Audio(np.zeros(FRAME_SAMPLES, dtype=np.int16), PLAYOUT_RATE_HZ)


def _tone(row_hz: int, column_hz: int) -> npt.NDArray[np.int16]:
    times_s = np.arange(TONE_FRAMES * FRAME_SAMPLES) / PLAYOUT_RATE_HZ
    sound = _LEVEL * (np.sin(2 * np.pi * row_hz * times_s) + np.sin(2 * np.pi * column_hz * times_s))
    ramp = np.linspace(0.0, 1.0, FADE_SAMPLES)
    sound[:FADE_SAMPLES] *= ramp
    sound[-FADE_SAMPLES:] *= ramp[::-1]
    samples: npt.NDArray[np.int16] = (32767 * sound).astype(np.int16)
    return samples
