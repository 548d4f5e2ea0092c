"""How far behind the far side plays: measured by marks that it gives back. Pure: it is told the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

GIVEN_UP_S: Final = 2.0
"""A mark that is so late does not come: the far side knows no marks, or stands still."""
JUST_NOT_S: Final = 0.002
"""What was sent before a mark that is not back yet was not all heard: the lag is longer than that."""


@dataclass(frozen=True, slots=True)
class _Mark:
    name: str
    heard_from_s: float
    """Of the last frame before it: when it would be heard if it took no time on its way."""


class Marks:
    """Of one stream.

    A mark comes back when what was sent before it was played: as long after it was due as the far side lags
    behind, the ways there and back included. That is what counts for a caller who interrupts: what we hear of
    them has come the same way.

    Args:
        lag_s: what is assumed before anything is known.
    """

    def __init__(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._sent: deque[_Mark] = deque()
        self._count = 0
        self._come_back = True
        """Whether the last one that was to come back did."""

    def send(self, heard_from_s: float) -> str:
        """The name of another mark, after the frame that would be heard from then on."""
        self._count += 1
        mark = _Mark(f"m{self._count}", heard_from_s)
        self._sent.append(mark)
        return mark.name

    def reached(self, name: str, now_s: float) -> None:
        """A mark came back. What came back for a clear, or is none of ours, is not known here any more."""
        if not any(mark.name == name for mark in self._sent):
            return
        while (mark := self._sent.popleft()).name != name:
            pass
        self._lag_s = max(0.0, now_s - mark.heard_from_s)
        self._come_back = True

    def clear(self) -> None:
        """What was sent is taken back: its marks tell nothing any more."""
        self._sent.clear()

    def lag_s(self, now_s: float) -> float:
        """How long after it was due a frame is heard, as far as is known now."""
        if not self._sent:
            return self._lag_s
        late_s = now_s - self._sent[0].heard_from_s + JUST_NOT_S
        if late_s > self._lag_s + GIVEN_UP_S:
            self._sent.clear()
            self._come_back = False
        return max(self._lag_s, late_s) if self._come_back else self._lag_s
