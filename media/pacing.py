"""When each frame of a voice is due, and how late it was."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from media.clock import loop_time_s

LONGEST_CATCH_UP_S: Final = 0.1
"""What is later than this is not made good: the schedule moves on, and the positions show the gap."""
SHORTEST_SPACING_S: Final = 0.005
"""Between two frames while lateness is made good: a burst would look like jitter to whoever receives it."""


class Pacer:
    """Frames on an absolute schedule: small lateness is made good frame by frame, so nothing ever drifts.

    Args:
        frame_samples: of each frame.
        rate_hz: samples a second.
    """

    def __init__(self, frame_samples: int, rate_hz: int) -> None:
        self._frame_samples = frame_samples
        self._rate_hz = rate_hz
        self._epoch_s: float | None = None
        self._position = 0
        self._last_s = float("-inf")
        self.lateness_ms: Counter[int] = Counter()
        """How many frames were so many whole milliseconds late."""

    async def next_position(self) -> int:
        """Waits until the next frame is due. Returns its position in samples since the first frame."""
        now_s = loop_time_s()
        if self._epoch_s is None:
            self._epoch_s = now_s
        frame_s = self._frame_samples / self._rate_hz
        due_s = self._epoch_s + self._position / self._rate_hz
        if now_s - due_s >= LONGEST_CATCH_UP_S:
            missed = int((now_s - due_s) / frame_s)
            self._position += missed * self._frame_samples
            due_s += missed * frame_s
            self.lateness_ms[missed * round(frame_s * 1000)] += 1
        wake_s = max(due_s, self._last_s + SHORTEST_SPACING_S)
        if wake_s > now_s:
            await asyncio.sleep(wake_s - now_s)
            now_s = loop_time_s()
        self._last_s = now_s
        self.lateness_ms[max(0, int((now_s - due_s) * 1000))] += 1
        position = self._position
        self._position += self._frame_samples
        return position
