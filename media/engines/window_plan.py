"""How large the windows of a clause should be, so that its sound never runs dry.

A window costs its own frames, its context's and more. Small windows are heard soon and cost much more than
their share; each may be as large as the sound that is still unheard covers.
"""

from __future__ import annotations

SMALLEST_FRAMES = 14
"""175 ms. Below it the context costs more than the window."""
SMALLEST_FIRST_FRAMES = 10
"""125 ms. The first one is waited for in silence: its context is worth its cost."""
LARGEST_FRAMES = 96
LATE_FRAMES = 32
OVERHEAD_FRAMES = 10
"""What a window costs beside its own frames, in frames: measured, contexts and cross-fade included."""
_SAFETY_FRAMES = 4
"""What must still be unheard when a window is handed over: 50 ms."""
_TRIMMED_FRAMES = 2
"""What of a first window lies before the first sound, and is not heard: the median is 1.8."""


def first_window(frames: int, cost: float, lead_frames: float) -> int:
    """The smallest first window after which the others can follow without a gap.

    Args:
        frames: of the clause.
        cost: how long a frame takes to make, in frames of sound: 1 is real time.
        lead_frames: how much sound is still unheard before this clause.
    """
    size = SMALLEST_FIRST_FRAMES
    while size < frames and not _flows(frames, size, cost, lead_frames):
        size += max(1, size // 8)
    return whole_windows(frames, size)


def next_window(frames: int, cost: float, unheard_frames: float) -> int:
    """The largest window that is made before the sound runs dry.

    Where none is, a small one leaves the shortest gap. Where even those take as long as they sound, few large
    ones leave fewer gaps.

    Args:
        frames: what is left of the clause.
        cost: as for the first.
        unheard_frames: how much of what was handed out is still to be heard.
    """
    affordable = int((unheard_frames - _SAFETY_FRAMES) / cost) - OVERHEAD_FRAMES
    if affordable < SMALLEST_FRAMES:
        keeps_up = time_of(SMALLEST_FRAMES, cost) + _SAFETY_FRAMES <= SMALLEST_FRAMES
        affordable = SMALLEST_FRAMES if keeps_up else LATE_FRAMES
    size = min(LARGEST_FRAMES, affordable)
    rest = frames - size
    if 0 < rest < SMALLEST_FRAMES // 2 and time_of(frames, cost) > unheard_frames:
        # The rest in this window would come too late: it gets one of its own, as small as can be.
        return frames - SMALLEST_FRAMES // 2
    return whole_windows(frames, size)


def whole_windows(frames: int, size: int) -> int:
    """The size, or all that is left where the rest would be too small for a window of its own."""
    return frames if frames - size < SMALLEST_FRAMES // 2 else size


def time_of(frames: int, cost: float) -> float:
    """How long a window takes to make, in frames of sound."""
    return cost * (frames + OVERHEAD_FRAMES)


def _flows(frames: int, first: int, cost: float, lead_frames: float) -> bool:
    unheard = max(0.0, lead_frames - time_of(first, cost)) + first - _TRIMMED_FRAMES
    left = frames - first
    while left > 0:
        size = next_window(left, cost, unheard)
        unheard -= time_of(size, cost)
        if unheard < _SAFETY_FRAMES:
            return False
        unheard += size
        left -= size
    return True
