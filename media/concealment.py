"""What may have been said where packets are missing, for codecs that bring nothing for it of their own.

The last pitch periods are repeated, the more of them the longer the loss lasts, and fade away; where sound
comes again, one fades into the other: ITU-T G.711, Appendix I. It differs in one thing: nothing is held back
to be blended when a loss begins, which would delay everybody by 3.75 ms. The step at that place is spread
over the first quarter of a period instead.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from media.codecs import Samples16

_Floats = npt.NDArray[np.float32]

SHORTEST_PITCH_S: Final = 0.005
LONGEST_PITCH_S: Final = 0.015
"""200 to 66 Hz. A higher voice's period is found as several of its own."""
_COMPARED_S: Final = 0.02
"""How much sound is compared with what was one period earlier."""
_HISTORY_S: Final = 0.05
"""Three of the longest periods, and what is blended at their edge."""
_MORE_PERIODS_EACH_S: Final = 0.01
_MOST_PERIODS: Final = 3
_FADES_FROM_S: Final = 0.01
_FADED_AT_S: Final = 0.06
_BLENDED_S: Final = (0.004, 0.01)
"""How long the sound that comes again is blended with what is made up: at least, and after a long loss."""


class PitchConcealment:
    """One stream's. Give it every decoded piece; ask it for what is missing."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._history_samples = round(_HISTORY_S * rate_hz)
        self._pieces: deque[Samples16] = deque()
        self._kept = 0
        self._loss: _Loss | None = None

    def heard(self, samples: Samples16) -> Samples16:
        """The next sound that came. Returns it, blended with what was made up before it."""
        if self._loss is not None:
            samples = self._loss.blended(samples)
            self._loss = None
        self._keep(samples)
        return samples

    def conceal(self, samples: int) -> Samples16:
        """So much that may have been said. After 60 ms of a loss it is silence."""
        if self._loss is None:
            self._loss = _Loss(self._history(), self._rate_hz)
        made_up = self._loss.go_on(samples)
        self._keep(made_up)
        return made_up

    def reset(self) -> None:
        """Another stream begins, or a pause came: what comes next has nothing to do with what was."""
        self._pieces.clear()
        self._kept = 0
        self._loss = None

    def _keep(self, samples: Samples16) -> None:
        pieces = self._pieces
        pieces.append(samples)
        self._kept += len(samples)
        while self._kept - len(pieces[0]) >= self._history_samples:
            self._kept -= len(pieces.popleft())

    def _history(self) -> _Floats:
        if not self._pieces:
            return np.zeros(0, dtype=np.float32)
        return np.concatenate(self._pieces).astype(np.float32)[-self._history_samples :]


class _Loss:
    """One loss, from its first missing sample on."""

    def __init__(self, history: _Floats, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._history = history
        self._period = _pitch_samples(history, rate_hz)
        self._made_up = 0
        self._at = 0
        """Where in the repeated periods it goes on."""
        self._periods = 1
        self._repeated = self._repeatable(1)
        self._step = self._first_step()

    def go_on(self, samples: int) -> Samples16:
        """The next so many samples."""
        sound = self._raw(samples)
        at_s = (self._made_up + np.arange(samples, dtype=np.float32)) / np.float32(self._rate_hz)
        gain = np.clip((_FADED_AT_S - at_s) / (_FADED_AT_S - _FADES_FROM_S), 0, 1)
        self._made_up += samples
        return _int16(sound * gain)

    def blended(self, samples: Samples16) -> Samples16:
        """The sound that came again, with what is made up fading beneath it."""
        shortest_s, longest_s = _BLENDED_S
        blended_s = min(longest_s, shortest_s + 0.4 * max(0.0, self._made_up / self._rate_hz - 0.01))
        count = min(len(samples), round(blended_s * self._rate_hz))
        fading = self.go_on(count).astype(np.float32)
        rising = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
        head = samples[:count].astype(np.float32) * rising + fading * (1 - rising)
        return np.concatenate([_int16(head), samples[count:]])

    def _raw(self, samples: int) -> _Floats:
        """Without the fading."""
        if self._period == 0:
            return np.zeros(samples, dtype=np.float32)
        parts: list[_Floats] = []
        left = samples
        while left:
            self._add_periods()
            piece = self._repeated[self._at : self._at + left]
            self._at = (self._at + len(piece)) % len(self._repeated)
            parts.append(piece)
            left -= len(piece)
        sound = np.concatenate(parts)
        spread = self._step[self._made_up : self._made_up + samples]
        sound[: len(spread)] += spread
        return sound

    def _add_periods(self) -> None:
        """A single period that is repeated for long buzzes: after 10 ms there are two, after 20 ms three."""
        wanted = min(_MOST_PERIODS, 1 + int(self._made_up / (_MORE_PERIODS_EACH_S * self._rate_hz)))
        if wanted > self._periods and self._at % self._period == 0:
            self._periods = wanted
            self._repeated = self._repeatable(wanted)
            self._at = 0

    def _repeatable(self, periods: int) -> _Floats:
        """The last periods, their end blended into what came before their beginning: no seam is heard."""
        quarter = self._period // 4
        count = min(periods, (len(self._history) - quarter) // self._period if self._period else 0)
        if count <= 0:
            return np.zeros(1, dtype=np.float32)
        size = count * self._period
        repeated = self._history[-size:].copy()
        if quarter:
            rising = np.linspace(0, 1, quarter, endpoint=False, dtype=np.float32)
            before = self._history[-size - quarter : -size]
            repeated[-quarter:] = repeated[-quarter:] * (1 - rising) + before * rising
        return repeated

    def _first_step(self) -> _Floats:
        """How far the last sample is from the one that the first made-up one followed, on its way to 0."""
        quarter = self._period // 4
        if not quarter:
            return np.zeros(0, dtype=np.float32)
        step = self._history[-1] - self._history[-self._period - 1]
        falling: _Floats = np.linspace(1, 0, quarter, endpoint=False, dtype=np.float32) * step
        return falling


def _pitch_samples(history: _Floats, rate_hz: int) -> int:
    """The period at which the sound is most like itself; 0 where there is not sound enough to tell.

    By normalised cross-correlation of the last 20 ms with what came up to 15 ms before them, at every lag.
    """
    shortest, longest = round(SHORTEST_PITCH_S * rate_hz), round(LONGEST_PITCH_S * rate_hz)
    compared = round(_COMPARED_S * rate_hz)
    if len(history) < compared + longest + longest // 4:
        return 0
    last = history[-compared:]
    earlier = history[-compared - longest : -shortest]
    products = np.correlate(earlier, last, "valid")
    squares = np.concatenate([[0.0], np.cumsum(np.square(earlier, dtype=np.float64))])
    energies = squares[compared:] - squares[:-compared]
    # A quiet stretch is not alike because there is next to nothing in it.
    floor = max(1.0, 0.1 * float(energies.max()))
    likeness = products / np.sqrt(np.maximum(energies, floor))
    return longest - int(np.argmax(likeness))


def _int16(sound: _Floats) -> Samples16:
    samples: Samples16 = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    return samples
