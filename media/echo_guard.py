"""The assistant's own voice, where it comes back from a caller without echo cancellation. Sans-IO.

Both sides are compared by their levels in a dozen bands, 10 ms by 10 ms, from which the phase of a room
does not matter. An echo has the fine structure of what was sent a while ago; a caller who speaks has not.
Once a leg's delay is known, an echo is what its gains and a reverberation predict, and a caller who speaks
over it is what they do not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import VAD_WINDOW_SAMPLES

Levels: TypeAlias = npt.NDArray[np.float32]
"""In dB, shape (slots, bands)."""
Power: TypeAlias = npt.NDArray[np.float32]
"""The same, not in dB."""

SLOT_S = 0.01
_EDGES_HZ = np.array([200, 300, 400, 500, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000, 3700])
"""Of the bands: what a telephone carries."""
_BANDS = len(_EDGES_HZ) - 1
_FLOOR_DB = -70.0
"""Of a band; what is weaker is nothing."""

_HEARD_WINDOWS = 30
"""How much of the caller's audio is compared: the last 0.96 s."""
_WINDOW_S = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ
_HEARD_SLOTS = round(_HEARD_WINDOWS * _WINDOW_S / SLOT_S)
_DELAYS_SLOTS = np.arange(61)
_TOLERANCE_SLOTS = 2
"""How far the delay may stray: packets come in steps of their own."""
_SENT_SLOTS = _HEARD_SLOTS + len(_DELAYS_SLOTS) - 1 + _TOLERANCE_SLOTS
_SENT_S = _SENT_SLOTS * SLOT_S + 0.1

_QUIET_DB = 25.0
"""Below the loudest slot: not compared."""
_LEAST_SLOTS = 20
_TELLING_SLOTS = 32
"""In fewer, an echo may be as little like what was sent as any other sound."""
_TAIL_DB = 1.5
"""By which an echo fades in a slot, where its likeness is looked for. The voice is held as soon as an echo is
heard, and what then comes is the room's tail: it is like no silence."""
_SURE_LIKENESS = 0.78
"""From how much likeness at some delay on one look the leg echoes. Voices that speak by chance at once reach
0.45 in one of twenty looks, 0.53 in one of a hundred."""
_LASTING_LIKENESS = 0.42
"""And from how much on average, at one and the same delay."""
_LASTING_STEP = 0.07
_KEPT_STEP = 0.14
"""Likewise for a leg that is known, which is looked at less often."""
_LOST_LIKENESS = 0.2
"""What is still that much alike on average keeps the leg's delay."""

_SUSPICIOUS_LIKENESS = 0.45
"""From how much likeness, at any delay, what is heard may be an echo. As soon as there is enough to tell,
echoes reach it in 98 of 100 looks, somebody else's words in 20."""
_EARLY_LIKENESS = 0.3
"""Likewise, as long as there is not enough."""
_SUSPICIOUS_LASTING = 0.3
"""Likewise, from how much on average."""
_PROVEN_WINDOWS = 10
"""A leg from which nothing came back in so many looks, while something could have, has no echo."""
_NEW_WINDOWS = 25
"""A sound that is in question when a leg's echo is found out began as an echo: 0.8 s."""
_ANSWERED_SLOTS = slice(-100, -40)
"""What was sent 0.4 to 1 s ago would be heard by now."""

_LOOKS_AGAIN_WINDOWS = 3
"""A known delay is looked for again only so often."""

_ALIKE_SLOTS = 40
_ALIKE = 0.6
"""What of late was so much like ours is, even where it is louder than expected."""
_MOST_EXCESS_SHARE = 0.6
_REVERBERATION_DB = 0.5
"""By which an echo fades in a slot, at the slowest."""
_EXCESS_DB = 8.0
"""What is louder than predicted by this much is not the echo."""
_LEAST_EXCESS_SHARE = 0.3
"""If that is so of this share of what is heard, somebody speaks."""
_NOW_SLOTS = 6
_WINDOW_SLOTS = 3
"""A VAD window, rounded down."""
_GAIN_QUANTILE = 0.7
_GAIN_STEP_DB = 0.6
_UNKNOWN_GAIN_DB = -20.0


@dataclass(slots=True)
class _Sent:
    """A frame that was handed out, and its power once it was asked for."""

    at_s: float
    frame: Audio
    power: Power | None = None


@dataclass(slots=True)
class EchoGuard:
    """One call's. Costs next to nothing until both sides are loud."""

    _sent: deque[_Sent] = field(default_factory=deque)
    _heard: deque[Audio] = field(default_factory=lambda: deque(maxlen=_HEARD_WINDOWS))
    _windows: int = 0
    _began_s: float = float("inf")
    """When the first window would have begun, had all come as soon as the soonest."""
    _lasting: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(len(_DELAYS_SLOTS), np.float32)
    )
    """The likeness at each delay, on average of late."""
    _delay_slots: int | None = None
    _found_window: int = 0
    """The one with which the delay was found."""
    _unanswered: int = 0
    """How often of late nothing of the assistant's voice was heard, where it could have been."""
    _alike: bool = True
    """Whether the last look found a likeness, or there was too little for one."""
    _gain_db: Levels = field(default_factory=lambda: np.zeros(_BANDS, np.float32))

    @property
    def echoes(self) -> bool:
        """Whether the assistant's voice is known to come back."""
        return self._delay_slots is not None

    @property
    def suspects(self) -> bool:
        """Whether what is heard may well be the assistant's voice, though nobody knows yet."""
        is_new = self._windows < self._found_window + _NEW_WINDOWS
        return not self._proven and self._alike and (is_new or not self.echoes)

    @property
    def _proven(self) -> bool:
        """Whether the leg has shown that it does not echo."""
        return self._unanswered >= _PROVEN_WINDOWS

    def send(self, frame: Audio, at_s: float) -> None:
        """A frame goes out at this time."""
        if frame.samples.any():
            self._sent.append(_Sent(at_s, frame))
        self._forget(at_s)

    def hear(self, window: Audio, at_s: float, *, loud: bool) -> bool:
        """A window has come in at this time. Returns whether it is the assistant's own voice.

        Args:
            window: of the caller's audio, 16 kHz, one VAD window.
            at_s: when its last sample came.
            loud: whether it matters: windows that are no speech anyway are only compared, as long as nobody
                knows whether the leg echoes.
        """
        self._heard.append(window)
        ends_s = self._on_a_steady_clock(at_s)
        self._forget(at_s)
        if not self._sent or not (loud or not (self.echoes or self._proven)):
            return False
        samples = np.concatenate([part.as_float32() for part in self._heard])
        heard = _levels(_power(samples, window.rate_hz))
        sent = self._sent_levels(ends_s)
        if self._delay_slots is None or self._windows % _LOOKS_AGAIN_WINDOWS == 0:
            self._compare(heard, sent)
        return loud and self._delay_slots is not None and self._is_own(heard, sent, self._delay_slots)

    def _on_a_steady_clock(self, at_s: float) -> float:
        """When the window ended by the count of samples: packets are late, never early."""
        began_s = at_s - self._windows * _WINDOW_S
        if began_s > self._began_s + 0.15:
            # Audio is missing.
            self._began_s = began_s
        self._began_s = min(began_s, self._began_s + 1e-4)
        self._windows += 1
        return self._began_s + (self._windows - 1) * _WINDOW_S

    def _compare(self, heard: Levels, sent: Levels) -> None:
        """Looks for a delay at which the caller's side is like ours."""
        loud = _loud_slots(heard)
        likeness = _likeness(heard, sent, loud)
        self._suspect(likeness, sent, len(loud))
        if likeness is None or (self._delay_slots is not None and likeness[self._delay_slots] == 0.0):
            # Nothing was sent that could have come back: a known leg is not to be forgotten for that.
            return
        step = _LASTING_STEP if self._delay_slots is None else _KEPT_STEP
        self._lasting += step * (likeness - self._lasting)
        around = np.convolve(np.pad(self._lasting, 1, mode="edge"), (1 / 3, 1 / 3, 1 / 3), mode="valid")
        best, lasting = int(np.argmax(likeness)), int(np.argmax(around))
        if around[lasting] >= _LASTING_LIKENESS:
            found = lasting
        elif likeness[best] >= _SURE_LIKENESS and not self._proven:
            found = best
            around_it = slice(max(0, best - 1), best + 2)
            self._lasting[around_it] = np.maximum(self._lasting[around_it], _LASTING_LIKENESS)
        elif self._delay_slots is not None and around[self._delay_slots] < _LOST_LIKENESS:
            self._delay_slots = None
            self._unanswered = 0
            return
        else:
            return
        if self._delay_slots is None or abs(found - self._delay_slots) > _TOLERANCE_SLOTS:
            if self._delay_slots is None:
                self._found_window = self._windows
            self._delay_slots = found
            self._gain_db = _gains_db(heard, _delayed(sent, found, len(heard)))

    def _suspect(self, likeness: npt.NDArray[np.float32] | None, sent: Levels, slots: int) -> None:
        """Follows whether the leg shows that it does not echo, in so many slots that are loud."""
        likest = float(likeness.max()) if likeness is not None else 0.0
        answers = float(self._lasting.max()) >= _SUSPICIOUS_LASTING or likest >= _SUSPICIOUS_LIKENESS
        early = slots < _TELLING_SLOTS and likest >= _EARLY_LIKENESS
        self._alike = likeness is None or answers or early
        if self._proven:
            return
        if likeness is not None and answers:
            self._unanswered = 0
        elif (sent[_ANSWERED_SLOTS].max(axis=1) > _FLOOR_DB + 20.0).mean() > 0.5:
            self._unanswered += 1

    def _is_own(self, heard: Levels, sent: Levels, delay_slots: int) -> bool:
        """Whether what is heard now is the echo that the leg's gains predict, and no more."""
        delayed = _delayed(sent, delay_slots, len(heard)) + self._gain_db
        expected = _reverberant(delayed)
        now = heard[-_NOW_SLOTS:]
        audible = now > max(_FLOOR_DB + 6.0, float(now.max()) - _QUIET_DB)
        excess = (now > expected[-_NOW_SLOTS:] + _EXCESS_DB) & audible
        share = excess.sum() / max(1, audible.sum())
        alike = _alike(heard[-_ALIKE_SLOTS:], expected[-_ALIKE_SLOTS:])
        own = bool(share < _LEAST_EXCESS_SHARE or (share < _MOST_EXCESS_SHARE and alike >= _ALIKE))
        if own:
            self._learn(heard, delayed, expected)
        return own

    def _learn(self, heard: Levels, delayed: Levels, expected: Levels) -> None:
        """Moves each band's gain towards a quantile of what comes back, where that is no reverberation."""
        last = slice(-_WINDOW_SLOTS, None)
        direct = (delayed[last] > expected[last] - 3.0) & (heard[last] > heard[last].max() - _QUIET_DB)
        step = np.where(heard[last] > expected[last], _GAIN_QUANTILE, _GAIN_QUANTILE - 1.0) * direct
        self._gain_db = (self._gain_db + _GAIN_STEP_DB * step.sum(axis=0)).astype(np.float32)

    def _forget(self, now_s: float) -> None:
        while self._sent and self._sent[0].at_s < now_s - _SENT_S:
            self._sent.popleft()

    def _sent_levels(self, now_s: float) -> Levels:
        """What was sent up to now."""
        power = np.zeros((_SENT_SLOTS, _BANDS), np.float32)
        for sent in self._sent:
            if sent.power is None:
                sent.power = _power(sent.frame.as_float32(), sent.frame.rate_hz)
            start = _SENT_SLOTS + round((sent.at_s - now_s) / SLOT_S)
            end = min(_SENT_SLOTS, start + len(sent.power))
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


def _delayed(sent: Levels, delay_slots: int, slots: int) -> Levels:
    """What was sent so long ago, for each slot that is heard; the loudest of it nearby."""
    ends = [len(sent) - max(0, delay_slots + off) for off in range(-_TOLERANCE_SLOTS, _TOLERANCE_SLOTS + 1)]
    loudest: Levels = np.maximum.reduce([sent[end - slots : end] for end in ends])
    return loudest


def _reverberant(direct: Levels, fading_db: float = _REVERBERATION_DB) -> Levels:
    """The direct sound and its fading, by so much in a slot."""
    fading = np.arange(len(direct), dtype=np.float32)[:, None] * np.float32(fading_db)
    reverberant: Levels = np.maximum.accumulate(direct + fading, axis=0) - fading
    return reverberant


def _gains_db(heard: Levels, delayed: Levels) -> Levels:
    """By how much each band comes back louder or weaker, where it can be heard."""
    audible = (heard > _FLOOR_DB + 6.0) & (delayed > _FLOOR_DB + 15.0) & (delayed > delayed.max() - 30)
    gain_db = np.where(audible, heard - delayed, np.nan)
    known = audible.sum(axis=0) >= 3
    gains = np.full(_BANDS, _UNKNOWN_GAIN_DB, np.float32)
    if known.any():
        gains[known] = np.nanquantile(gain_db[:, known], _GAIN_QUANTILE, axis=0)
        gains[~known] = gains[known].min()
    return gains


def _alike(heard: Levels, expected: Levels) -> float:
    """The likeness of what was heard to what was expected, 0 where too little of it is loud."""
    loud = _loud_slots(heard)
    if len(loud) < _LEAST_SLOTS:
        return 0.0
    ours, theirs = _fine_structure(expected[None, loud]), _fine_structure(heard[None, loud])
    return float(np.sum(ours * theirs) / (np.sqrt(np.sum(ours**2) * np.sum(theirs**2)) + 1e-6))


def _loud_slots(heard: Levels) -> npt.NDArray[np.intp]:
    """Those that are compared."""
    strongest = heard.max(axis=1)
    return np.flatnonzero(strongest > max(_FLOOR_DB + 10.0, float(strongest.max()) - _QUIET_DB))


def _likeness(heard: Levels, sent: Levels, loud: npt.NDArray[np.intp]) -> npt.NDArray[np.float32] | None:
    """How alike the two are in their fine structure, at each delay; None where too little is loud."""
    if len(loud) < _LEAST_SLOTS:
        return None
    slots = (len(sent) - len(heard) - _DELAYS_SLOTS)[:, None] + loud
    others = _reverberant(sent, _TAIL_DB)[slots]
    both = (others.max(axis=2) > _FLOOR_DB + 20.0).mean(axis=1) > 0.5
    ours, theirs = _fine_structure(others), _fine_structure(heard[loud][None])
    scale = np.sqrt(np.sum(theirs**2) * np.sum(ours**2, axis=(1, 2))) + 1e-6
    likeness = np.where(both, np.sum(theirs * ours, axis=(1, 2)) / scale, 0.0)
    return likeness.astype(np.float32)


def _fine_structure(levels: Levels) -> Levels:
    """What is left without each band's and each slot's own level, which are a room's colour and loudness.

    Args:
        levels: shape (candidates, slots, bands).
    """
    centred = levels - levels.mean(axis=1, keepdims=True)
    return np.asarray(centred - centred.mean(axis=2, keepdims=True))
