"""In which pieces a clause is made: whole where there is time, else in windows that grow."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from media.clock import thread_time_s
from media.engines.inference import Urgency
from media.engines.kokoro_clause import RATE_HZ, ClauseSound
from media.engines.kokoro_parts import FRAME_SAMPLES, Floats
from media.engines.window_plan import OVERHEAD_FRAMES, first_window, next_window

FRAME_S = FRAME_SAMPLES / RATE_HZ

_AMPLE = 1.3
"""A clause is spoken whole where there is so many times the time that it should take."""
_LOUDEST = 1.2
"""Kokoro's samples stay below 1; more comes of statistics that do not fit the clause."""


@dataclass(slots=True)
class Pace:
    """How long things take here and now, as multiples of the sound's own length: 1 is real time.

    Guesses at first, then a moving mean of what was measured; the machine may be busy with other calls.
    """

    whole: float = 0.4
    window: float = 0.4

    def whole_took(self, spent_s: float, frames: int) -> None:
        self.whole += 0.3 * (spent_s / (frames * FRAME_S) - self.whole)

    def window_took(self, spent_s: float, frames: int) -> None:
        self.window += 0.3 * (spent_s / ((frames + OVERHEAD_FRAMES) * FRAME_S) - self.window)


@dataclass(frozen=True, slots=True)
class Piece:
    """What is made next of a clause.

    Attributes:
        first: its first frame.
        stop: the frame behind its last one.
        is_last: nothing of the clause follows.
        is_whole: it is made by the statistics that the clause itself has.
        urgency: of the work.
    """

    first: int
    stop: int
    is_last: bool
    is_whole: bool
    urgency: Urgency


def pieces_of(
    sound: ClauseSound,
    pace: Pace,
    needed_at_s: float,
    *,
    sizes: Sequence[int] = (),
    relaxed_s: float = math.inf,
) -> Iterator[Piece]:
    """The pieces of a clause. The next is asked for when the one before was handed to `sound`.

    Args:
        sound: whose clause.
        pace: of this engine.
        needed_at_s: when the sound before it ends, on the threads' clock.
        sizes: that windows may have, in frames, ascending; none for any. The last one of a clause may be
            shorter.
        relaxed_s: a window that comes after so much sound that is still unheard is no longer `Urgency.NOW`.
    """
    frames = sound.clause.frames
    lead_s = needed_at_s - thread_time_s()
    if sound.is_whole and lead_s > _AMPLE * pace.whole * frames * FRAME_S:
        yield Piece(0, frames, True, True, Urgency.SOON if lead_s > 0 else Urgency.NOW)
        return
    at, end = sound.frames_heard
    unheard_s = max(0.0, lead_s)
    size = _allowed(first_window(end - at, pace.window, unheard_s / FRAME_S), sizes, up=True)
    while True:
        stop = min(end, at + size)
        urgency = Urgency.NOW if unheard_s < relaxed_s else Urgency.SOON
        yield Piece(at, stop, stop == end, False, urgency)
        at = stop
        if at >= end:
            return
        # The sound of this clause began when it was needed, or now, if that is past.
        needed_at_s = max(needed_at_s, thread_time_s() - sound.spoken_s)
        unheard_s = needed_at_s + sound.spoken_s - thread_time_s()
        size = _allowed(next_window(end - at, pace.window, unheard_s / FRAME_S), sizes, up=False)


def plausible(samples: Floats) -> bool:
    """Whether the statistics by which a window was made can have been the clause's."""
    return bool(np.isfinite(samples).all()) and float(np.abs(samples).max(initial=0.0)) <= _LOUDEST


def _allowed(size: int, sizes: Sequence[int], *, up: bool) -> int:
    """The nearest one of `sizes` that is not smaller (not larger) if there is one."""
    if not sizes:
        return size
    at = bisect.bisect_left(sizes, size) if up else bisect.bisect_right(sizes, size) - 1
    return sizes[min(max(at, 0), len(sizes) - 1)]
