"""When each frame of a voice is sent, and how late it was."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Final

from media.clock import loop_time_s

LONGEST_CATCH_UP_S: Final = 0.1
"""What is later than this is not made good: the schedule moves on, and the positions show the gap."""
SHORTEST_SPACING_S: Final = 0.005
"""Between two frames while lateness is made good: a burst looks like jitter to whoever receives it."""
TICK_S: Final = 0.02
"""All calls' frames leave on one beat of the loop's clock: to wake up once for all of them costs far less. A
talkspurt's first frame leaves at once, the others up to 20 ms before they are due to be heard, not after."""


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
        self.phase_s = 0.0
        """How long after the beat its frames leave: where many calls speak at once, the last ones wait."""
        self.heard_from_s = float("-inf")
        """When the last frame is due to be heard, or has left, if that was later."""
        self.ahead_s = 0.0
        """So long before they are due may frames leave."""
        self.lateness_ms: Counter[int] = Counter()
        """How many frames were so many whole milliseconds late."""

    def pause(self) -> None:
        """Nothing is due until a frame is asked for again; that one is due at once."""
        self._paused = True

    def restart(self) -> None:
        """What has left ahead of its time is void: the next frame is due when it is asked for."""
        self._position = 0
        self._paused = True

    async def next_position(self) -> int:
        """Waits until the next frame is to leave. Returns its position in samples since the first frame."""
        now_s = loop_time_s()
        if self._epoch_s is None:
            self._epoch_s = now_s
        now_position = round((now_s - self._epoch_s) * self._rate_hz)
        late = now_position - self._position > LONGEST_CATCH_UP_S * self._rate_hz
        at_once = self._paused or late
        if at_once:
            if late and not self._paused:
                self.lateness_ms[1000 * (now_position - self._position) // self._rate_hz] += 1
            self._position = max(self._position, now_position)
            self._paused = False
        due_s = self._epoch_s + self._position / self._rate_hz
        may_leave_s = due_s - self.ahead_s
        leaves_s = max(
            may_leave_s if at_once else self._beat_s(may_leave_s), self._last_s + SHORTEST_SPACING_S
        )
        if leaves_s > now_s:
            await asyncio.sleep(leaves_s - now_s)
            now_s = loop_time_s()
        self._last_s = now_s
        self.heard_from_s = max(now_s, due_s)
        self.lateness_ms[max(0, int(1000 * (now_s - min(due_s, leaves_s))))] += 1
        position = self._position
        self._position += self._frame_samples
        return position

    def _beat_s(self, due_s: float) -> float:
        """The last beat that is not after this time, give or take a rounding error."""
        return TICK_S * math.floor((due_s - self.phase_s) / TICK_S + 0.001) + self.phase_s
