"""The beep after which an answering machine records: one steady tone, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio

WINDOW_SAMPLES: Final = 512
LOWEST_HZ: Final = 330.0
HIGHEST_HZ: Final = 2600.0
LEAST_DBFS: Final = -45.0
LEAST_SHARE: Final = 0.9
"""Of a window's power that lies in the tone. A voice has its power in several harmonics."""
STEADY_HZ: Final = 6.0
STEADY_DB: Final = 3.0
"""So far a beep's frequency and level stray from one window to the next: a voice's stray farther."""
SHORTEST_S: Final = 0.16
LONGEST_S: Final = 3.0
"""What goes on for longer is a dial tone, or a tone of the network."""
_BIN_HZ: Final = SPEECH_RATE_HZ / WINDOW_SAMPLES
_TAPER = np.hanning(WINDOW_SAMPLES).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Tone:
    """The only tone of a window."""

    hz: float
    dbfs: float

    def goes_on_as(self, other: _Tone) -> bool:
        return abs(self.hz - other.hz) <= STEADY_HZ and abs(self.dbfs - other.dbfs) <= STEADY_DB


class BeepDetector:
    """Takes the far side's sound in windows of 32 ms at 16 kHz; says when a beep is over."""

    def __init__(self) -> None:
        self._tone: _Tone | None = None
        self._windows = 0
        """Of the present tone."""

    def push(self, window: Audio) -> bool:
        """Whether a beep has ended with this window."""
        before, self._tone = self._tone, _tone(window)
        if before is not None and self._tone is not None and before.goes_on_as(self._tone):
            self._windows += 1
            return False
        lasted_s = self._windows * WINDOW_SAMPLES / SPEECH_RATE_HZ
        self._windows = 1 if self._tone is not None else 0
        return SHORTEST_S <= lasted_s <= LONGEST_S


def _tone(window: Audio) -> _Tone | None:
    """The window's only tone, if it has but one."""
    if len(window) != WINDOW_SAMPLES or (dbfs := window.level_dbfs()) < LEAST_DBFS:
        return None
    power = np.square(np.abs(np.fft.rfft(window.as_float32() * _TAPER)))
    power[:3] = 0
    peak = int(np.argmax(power))
    if not LOWEST_HZ <= peak * _BIN_HZ <= HIGHEST_HZ:
        return None
    if float(power[peak - 2 : peak + 3].sum()) < LEAST_SHARE * float(power.sum()):
        return None
    # Where between the bins it lies: a parabola through the three levels (in logarithms).
    left, middle, right = np.log(power[peak - 1 : peak + 2] + 1e-12)
    curvature = float(left - 2 * middle + right)
    offset = 0.5 * float(left - right) / curvature if curvature else 0.0
    return _Tone((peak + offset) * _BIN_HZ, dbfs)
