"""When each frame of a voice is due, and how late it was."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from media.clock import loop_time_s

LONGEST_CATCH_UP_S: Final = 0.1
"""What is later than this is not made good: the schedule moves on, and the positions show the gap."""
SHORTEST_SPACING_S: Final = 0.005
"""Between two frames while lateness is made good: a burst looks like jitter to whoever receives it."""


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
        self._paused = True
        self._last_s = float("-inf")
        self.lateness_ms: Counter[int] = Counter()
        """How many frames were so many whole milliseconds late."""

    def pause(self) -> None:
        """Nothing is due until a frame is asked for again; that one is due at once."""
        self._paused = True

    async def next_position(self) -> int:
        """Waits until the next frame is due. Returns its position in samples since the first frame."""
        now_s = loop_time_s()
        if self._epoch_s is None:
            self._epoch_s = now_s
        now_position = round((now_s - self._epoch_s) * self._rate_hz)
        late = now_position - self._position > LONGEST_CATCH_UP_S * self._rate_hz
        if self._paused or late:
            if late and not self._paused:
                self.lateness_ms[1000 * (now_position - self._position) // self._rate_hz] += 1
            self._position = max(self._position, now_position)
            self._paused = False
        due_s = self._epoch_s + self._position / self._rate_hz
        wake_s = max(due_s, self._last_s + SHORTEST_SPACING_S)
        if wake_s > now_s:
            await asyncio.sleep(wake_s - now_s)
            now_s = loop_time_s()
        self._last_s = now_s
        self.lateness_ms[max(0, int(1000 * (now_s - due_s)))] += 1
        position = self._position
        self._position += self._frame_samples
        return position
