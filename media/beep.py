"""The beep after which an answering machine records: one steady tone, and nothing else."""

from __future__ import annotations

from typing import Final

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio

WINDOW_SAMPLES: Final = 512
LOWEST_HZ: Final = 330.0
HIGHEST_HZ: Final = 2600.0
LEAST_DBFS: Final = -45.0
LEAST_SHARE: Final = 0.85
"""Of a window's power that lies in the tone. A voice has its power in several harmonics."""
SHORTEST_S: Final = 0.11
LONGEST_S: Final = 3.0
"""What goes on for longer is a dial tone, or a tone of the network."""
_STEADY_BINS: Final = 1
_BIN_HZ: Final = SPEECH_RATE_HZ / WINDOW_SAMPLES
_TAPER = np.hanning(WINDOW_SAMPLES).astype(np.float32)


class BeepDetector:
    """Takes the far side's sound in windows of 32 ms at 16 kHz; says when a beep is over."""

    def __init__(self) -> None:
        self._bin = 0
        self._windows = 0
        """Of the present tone."""

    def push(self, window: Audio) -> bool:
        """Whether a beep has ended with this window."""
        tone = _tone(window)
        if tone is not None and self._windows and abs(tone - self._bin) <= _STEADY_BINS:
            self._windows += 1
            return False
        lasted_s = self._windows * WINDOW_SAMPLES / SPEECH_RATE_HZ
        self._bin, self._windows = (tone, 1) if tone is not None else (0, 0)
        return SHORTEST_S <= lasted_s <= LONGEST_S


def _tone(window: Audio) -> int | None:
    """The bin of the window's only tone, if it has but one."""
    if len(window) != WINDOW_SAMPLES or window.level_dbfs() < LEAST_DBFS:
        return None
    power = np.square(np.abs(np.fft.rfft(window.as_float32() * _TAPER)))
    power[:3] = 0
    peak = int(np.argmax(power))
    if not LOWEST_HZ <= peak * _BIN_HZ <= HIGHEST_HZ:
        return None
    in_tone = float(power[peak - 2 : peak + 3].sum())
    return peak if in_tone >= LEAST_SHARE * float(power.sum()) else None
