"""Keys that come both by RTP and by INFO, as telephones may be set to send them: told once each. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

Way = Literal["rtp", "info"]

WINDOW_S: Final = 3.0
"""An INFO is sent when the key is pressed or let go, and again where it was lost."""
_MOST: Final = 32


class DoubleKeys:
    """One call's. What came one way is forgotten when it came the other way, too, or after a while."""

    def __init__(self) -> None:
        self._single: deque[tuple[Way, str, float]] = deque(maxlen=_MOST)

    def is_new(self, way: Way, key: str, at_s: float) -> bool:
        """Whether nobody has heard of this press yet."""
        while self._single and at_s - self._single[0][2] > WINDOW_S:
            self._single.popleft()
        for one in self._single:
            if one[0] != way and one[1] == key:
                self._single.remove(one)
                return False
        self._single.append((way, key, at_s))
        return True
