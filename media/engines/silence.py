"""How long an engine has brought nothing to anybody who waits for it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from media.clock import loop_time_s


class EngineSilence:
    """One engine's.

    All waiting since its last sign of life counts together, whoever waits: while an engine is stuck, callers
    may give up and ask again, and pauses may end before their verdicts come, time after time.

    Args:
        limit_s: an engine that was waited for so long, in all, and brought nothing is stuck.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._waits: set[asyncio.Timeout] = set()
        self._since_s = 0.0
        """Somebody waits since then."""
        self._before_s = 0.0
        """So long somebody had waited before."""
        self._sign_s = -math.inf
        """When a sign of life was noted last."""

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[asyncio.Timeout]:
        """Around waiting for its next sign of life.

        Raises:
            TimeoutError: the limit is reached; the timeout has expired then.
        """
        if not self._waits:
            self._since_s = loop_time_s()
        async with asyncio.timeout_at(self._deadline_s) as wait:
            self._waits.add(wait)
            try:
                yield wait
            finally:
                self._waits.discard(wait)
                if not self._waits:
                    self._before_s += loop_time_s() - self._since_s

    def broken(self) -> None:
        """It works, only slowly, or at something else first: nobody has waited in vain so far.

        Noted once in a while: there may be thousands of signs a second, and many who wait.
        """
        now_s = loop_time_s()
        if now_s - self._sign_s < self.limit_s / 50:
            return
        self._sign_s = now_s
        self.forget()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(self._deadline_s)

    def forget(self) -> None:
        """What was waited so far counts no more."""
        self._since_s, self._before_s = loop_time_s(), 0.0

    @property
    def _deadline_s(self) -> float:
        return self._since_s + self.limit_s - self._before_s
