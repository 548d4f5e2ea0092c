"""Puts a stream's pieces in order that may overtake each other, and says when one is given up. Pure.

They come over TCP: what is missing was lost before that, or stands in another of the far side's queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WAIT_S: Final = 0.06
"""So long is a gap waited on."""
MOST_WAITING: Final = 25
"""Pieces behind a gap; with more of them it is given up at once: half a second of sound."""
MOST_LEAP: Final = 500
"""A piece further off than this begins a new order: ten seconds."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece in its place.

    Attributes:
        payload: of it.
        missing: how many pieces before it never came.
    """

    payload: bytes
    missing: int = 0


class ChunkOrder:
    """Of one stream. It is told the time."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._waiting: dict[int, bytes] = {}
        self.due_s: float | None = None
        """When the gap that is waited on is given up."""
        self.late = 0
        """Pieces that came after they were given up, or twice."""

    def push(self, chunk: int, payload: bytes, now_s: float) -> list[Piece]:
        """What can be heard now that this piece has come."""
        if self._next is None:
            self._next = chunk
        if abs(chunk - self._next) > MOST_LEAP:
            heard = self._all_that_waits()
            self._next = chunk
            return [*heard, *self.push(chunk, payload, now_s)]
        if chunk < self._next or chunk in self._waiting:
            self.late += 1
            return []
        self._waiting[chunk] = payload
        heard = self._in_order()
        if len(self._waiting) > MOST_WAITING:
            heard += self._give_up()
        self._wait(now_s, anew=bool(heard))
        return heard

    def overdue(self, now_s: float) -> list[Piece]:
        """What can be heard now that so much time has gone by."""
        if self.due_s is None or now_s < self.due_s:
            return []
        heard = self._give_up()
        self._wait(now_s, anew=True)
        return heard

    def _wait(self, now_s: float, *, anew: bool) -> None:
        if not self._waiting:
            self.due_s = None
        elif anew or self.due_s is None:
            self.due_s = now_s + WAIT_S

    def _give_up(self) -> list[Piece]:
        """Does without what comes before the first piece that waits."""
        assert self._next is not None
        if not self._waiting:
            return []
        first = min(self._waiting)
        missing, self._next = first - self._next, first + 1
        return [Piece(self._waiting.pop(first), missing), *self._in_order()]

    def _in_order(self) -> list[Piece]:
        assert self._next is not None
        heard = []
        while (payload := self._waiting.pop(self._next, None)) is not None:
            heard.append(Piece(payload))
            self._next += 1
        return heard

    def _all_that_waits(self) -> list[Piece]:
        heard = []
        while self._waiting:
            heard += self._give_up()
        return heard
