"""Statistics of the last so many measurements."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What the measurements in a window say, in ms. `count` is of the window."""

    count: int
    min_ms: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    max_ms: float


class LatencyWindow:
    """The last `size` measurements. Its summary is worked out once for each new one, however often asked."""

    def __init__(self, size: int) -> None:
        self._values_ms: deque[float] = deque(maxlen=size)
        self._summary: LatencySummary | None = None

    def add(self, value_ms: float) -> None:
        self._values_ms.append(value_ms)
        self._summary = None

    def summary(self) -> LatencySummary | None:
        """None while there are no measurements."""
        if self._summary is None and self._values_ms:
            ordered = sorted(self._values_ms)
            self._summary = LatencySummary(
                count=len(ordered),
                min_ms=ordered[0],
                mean_ms=math.fsum(ordered) / len(ordered),
                p50_ms=_percentile(ordered, 0.50),
                p95_ms=_percentile(ordered, 0.95),
                max_ms=ordered[-1],
            )
        return self._summary


def _percentile(ordered: list[float], rank: float) -> float:
    """The smallest measurement that `rank` of all do not exceed (nearest rank: a value that occurred)."""
    return ordered[max(0, math.ceil(rank * len(ordered)) - 1)]


class RecentEvents:
    """How many things happened in the last minute. Holds no more than `limit` of them."""

    _WINDOW_S = 60.0

    def __init__(self, limit: int = 100_000) -> None:
        self._at_s: deque[float] = deque(maxlen=limit)

    def add(self, now_s: float) -> None:
        self._at_s.append(now_s)

    def per_minute(self, now_s: float) -> int:
        while self._at_s and self._at_s[0] <= now_s - self._WINDOW_S:
            self._at_s.popleft()
        return len(self._at_s)
