"""The assistant's own voice, where it comes back from a caller without echo cancellation. Sans-IO.

Both sides are compared by their levels in a dozen bands, 10 ms by 10 ms, from which the phase of a room
does not matter. An echo has the fine structure of what was sent a while ago, is there whenever that was
loud, and is weaker or stronger by the same amount each time; a caller who speaks is none of the three. Once
a leg's delay and gains are known, an echo is what they predict, and a caller who speaks over it is what
they do not."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from media.audio import Audio

Levels: TypeAlias = npt.NDArray[np.float32]
"""In dB, shape (slots, bands)."""
Power: TypeAlias = npt.NDArray[np.float32]
"""The same, not in dB."""

SLOT_S = 0.01
_EDGES_HZ = np.array([200, 300, 400, 500, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000, 3700])
"""Of the bands: what a telephone carries."""
_FLOOR_DB = -70.0
"""Of a band; what is weaker is nothing."""

_HEARD_WINDOWS = 30
"""How much of the caller's audio is compared: the last 0.96 s."""
_LONGEST_DELAY_SLOTS = 50
_SENT_S = 1.6
_TOLERANCE_SLOTS = 2
"""How far the delay may stray: packets come in steps of their own."""

_QUIET_DB = 25.0
"""Below the loudest slot: not compared."""
_LOUD_DB = 12.0
"""Below the loudest slot sent: its echo must be heard."""
_LEAST_PRESENCE = 0.75
"""Of the loud slots sent, how many must be heard again."""
_LEAST_SLOTS = 8
_MATCHES = ((40, 0.66), (20, 0.74), (_LEAST_SLOTS, 0.82))
"""From how much likeness on so many slots are an echo: the fewer, the more alike. Voices that speak by
chance at once reach 0.5, seldom 0.7."""
_UNLIKE = 0.5
_CLEAN_WINDOWS = 16
"""So many windows of a caller's voice that are nothing like ours, soon after ours: this leg has no echo."""

_EXCESS_DB = 9.0
"""What is louder than predicted by this much is not the echo."""
_LEAST_EXCESS_SHARE = 0.35
"""If that is so of this share of what is heard, somebody speaks."""
_NOW_SLOTS = 5
_GAIN_STEP = 0.2


class Leg(Enum):
    UNKNOWN = "nobody knows yet whether it echoes"
    ECHOING = "it echoes, with known delay and gains"
    CLEAN = "it does not"


@dataclass(slots=True)
class _Sent:
    """A frame that was handed out, and its power once it was asked for."""

    at_s: float
    frame: Audio
    power: Power | None = None


@dataclass(slots=True)
class EchoGuard:
    """One call's. Costs next to nothing until both sides are loud, and on a leg without echo soon nothing."""

    leg: Leg = Leg.UNKNOWN
    _sent: deque[_Sent] = field(default_factory=deque)
    _heard: deque[Audio] = field(default_factory=lambda: deque(maxlen=_HEARD_WINDOWS))
    _delay_slots: int = 0
    _gain_db: Levels = field(default_factory=lambda: np.zeros(len(_EDGES_HZ) - 1, np.float32))
    _own: bool = False
    _unlike_windows: int = 0

    @property
    def hears_itself(self) -> bool:
        """Whether the last window was the assistant's own voice."""
        return self._own

    def send(self, frame: Audio, at_s: float) -> None:
        """A frame goes out at this time."""
        if self.leg is Leg.CLEAN or not frame.samples.any():
            return
        self._sent.append(_Sent(at_s, frame))
        while self._sent[0].at_s < at_s - _SENT_S:
            self._sent.popleft()

    def hear(self, window: Audio, at_s: float, *, loud: bool) -> bool:
        """A window has come in at this time. Returns whether it is the assistant's own voice.

        Args:
            window: of the caller's audio, 16 kHz.
            at_s: when its last sample came.
            loud: whether it matters: windows that are no speech anyway are only kept for comparison.
        """
        self._own = False
        if self.leg is Leg.CLEAN:
            return False
        self._heard.append(window)
        while self._sent and self._sent[0].at_s < at_s - _SENT_S:
            self._sent.popleft()
        if loud and self._sent:
            heard = _levels(
                _power(np.concatenate([part.as_float32() for part in self._heard]), window.rate_hz)
            )
            sent = self._sent_levels(at_s, len(heard) + _LONGEST_DELAY_SLOTS + _TOLERANCE_SLOTS)
            self._own = self._is_own(heard, sent)
        return self._own

    def _is_own(self, heard: Levels, sent: Levels) -> bool:
        if self.leg is Leg.ECHOING:
            delayed = _delayed(sent, self._delay_slots, len(heard), _TOLERANCE_SLOTS)
            if _presence(heard, delayed) >= _LEAST_PRESENCE:
                return self._predicted(heard, delayed)
            # It was loud and did not come back: the leg has changed, or was mistaken.
            self.leg = Leg.UNKNOWN
        likeness, delay_slots, slots = _best_match(heard, sent)
        if any(slots >= least and likeness >= enough for least, enough in _MATCHES):
            self.leg, self._delay_slots, self._unlike_windows = Leg.ECHOING, delay_slots, 0
            self._learn(heard, _delayed(sent, delay_slots, len(heard)), 1.0)
            return True
        if slots >= _LEAST_SLOTS and likeness < _UNLIKE:
            self._unlike_windows += 1
        if self._unlike_windows >= _CLEAN_WINDOWS:
            self.leg = Leg.CLEAN
            self._sent.clear()
            self._heard.clear()
        return False

    def _predicted(self, heard: Levels, delayed: Levels) -> bool:
        """Whether what is heard now is the echo that the leg's gains predict, and no more."""
        now, expected = heard[-_NOW_SLOTS:], delayed[-_NOW_SLOTS:] + self._gain_db
        audible = now > max(_FLOOR_DB + 6.0, float(now.max()) - _QUIET_DB)
        if not audible.any():
            return False
        excess = (now > np.maximum(expected, _FLOOR_DB) + _EXCESS_DB) & audible
        own = bool(excess.sum() < _LEAST_EXCESS_SHARE * audible.sum())
        if own:
            self._learn(heard[-_NOW_SLOTS:], delayed[-_NOW_SLOTS:], _GAIN_STEP)
        return own

    def _learn(self, heard: Levels, delayed: Levels, step: float) -> None:
        """Takes over the bands' gains, as far as they can be heard."""
        audible = (heard > _FLOOR_DB + 6.0) & (delayed > _FLOOR_DB + 6.0)
        gain_db = np.where(audible, heard - delayed, np.nan)
        known = audible.any(axis=0)
        self._gain_db[known] += step * (np.nanmedian(gain_db[:, known], axis=0) - self._gain_db[known])

    def _sent_levels(self, now_s: float, slots: int) -> Levels:
        """What was sent up to now."""
        power = np.zeros((slots, len(self._gain_db)), np.float32)
        for sent in self._sent:
            if sent.power is None:
                sent.power = _power(sent.frame.as_float32(), sent.frame.rate_hz)
            start = slots + round((sent.at_s - now_s) / SLOT_S)
            end = min(slots, start + len(sent.power))
            if start >= 0:
                power[start:end] = sent.power[: end - start]
        return _levels(power)


def _power(samples: npt.NDArray[np.float32], rate_hz: int) -> Power:
    """Of the bands, slot by slot; what is left over is left out at the beginning."""
    size = round(rate_hz * SLOT_S)
    slots = samples[len(samples) % size :].reshape(-1, size) * np.hanning(size).astype(np.float32)
    bins = np.abs(np.fft.rfft(slots, axis=1)) ** 2 * np.float32(4.0 / size**2)
    # At slots of 10 ms a bin is 100 Hz wide, whatever the rate.
    power: Power = np.add.reduceat(bins, _EDGES_HZ // 100, axis=1)[:, :-1].astype(np.float32)
    return power


def _levels(power: Power) -> Levels:
    """In dB, each slot blurred into its neighbours: the sides' slots do not begin at the same time."""
    padded = np.pad(power, ((1, 1), (0, 0)), mode="edge")
    blurred = 0.25 * padded[:-2] + 0.5 * power + 0.25 * padded[2:]
    levels: Levels = np.maximum(10.0 * np.log10(blurred + 1e-12), _FLOOR_DB).astype(np.float32)
    return levels


def _delayed(sent: Levels, delay_slots: int, slots: int, tolerance_slots: int = 0) -> Levels:
    """What was sent so long ago; the loudest of it, where the delay is not quite certain."""
    ends = [len(sent) - delay_slots - off for off in range(-tolerance_slots, tolerance_slots + 1)]
    parts = [sent[max(0, end - slots) : end] for end in ends if slots <= end <= len(sent)]
    loudest: Levels = np.maximum.reduce(parts)
    return loudest


def _loud(levels: Levels, below_db: float) -> npt.NDArray[np.bool_]:
    """The slots that are louder than so many dB below the loudest, and than nothing."""
    strongest = levels.max(axis=1)
    return np.asarray(strongest > max(_FLOOR_DB + 10.0, float(strongest.max()) - below_db))


def _presence(heard: Levels, delayed: Levels) -> float:
    """How much of what was loud when it was sent is heard again; 1 where nothing was loud."""
    expected = _loud(delayed, _LOUD_DB)
    return float(_loud(heard, _QUIET_DB)[expected].mean()) if expected.any() else 1.0


def _best_match(heard: Levels, sent: Levels) -> tuple[float, int, int]:
    """The likeness to what was sent, at which delay, and on how many slots they were compared."""
    loud = np.flatnonzero(_loud(heard, _QUIET_DB))
    if len(loud) < _LEAST_SLOTS:
        return 0.0, 0, len(loud)
    delays_slots = np.arange(_LONGEST_DELAY_SLOTS + 1)
    start = len(sent) - len(heard)
    expected = _windows(_loud(sent, _LOUD_DB), start - delays_slots, len(heard))
    heard_again = expected & _loud(heard, _QUIET_DB)
    presence = heard_again.sum(axis=1) / np.maximum(1, expected.sum(axis=1))
    both = _windows(_loud(sent, _QUIET_DB), start - delays_slots, len(heard))[:, loud].mean(axis=1) > 0.5
    possible = np.flatnonzero((presence >= _LEAST_PRESENCE) & both)
    if not len(possible):
        return 0.0, 0, len(loud)
    others = _fine_structure(sent[(start - possible)[:, None] + loud])
    fine = _fine_structure(heard[loud][None])
    scale = np.sqrt(np.sum(fine**2) * np.sum(others**2, axis=(1, 2))) + 1e-9
    likeness = np.sum(fine * others, axis=(1, 2)) / scale
    best = int(np.argmax(likeness))
    return float(likeness[best]), int(possible[best]), len(loud)


def _windows(
    flags: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp], length: int
) -> npt.NDArray[np.bool_]:
    """The parts of this length from each of these slots on, one a row."""
    return np.asarray(flags[starts[:, None] + np.arange(length)])


def _fine_structure(levels: Levels) -> Levels:
    """What is left without each band's and each slot's own level, which are a room's colour and loudness.

    Args:
        levels: shape (candidates, slots, bands).
    """
    centred = levels - levels.mean(axis=1, keepdims=True)
    return np.asarray(centred - centred.mean(axis=2, keepdims=True))
