"""Puts a stream's pieces in order that may overtake each other, and says when one is given up. Pure.

They come over TCP: what is missing was lost before that, or stands in another of the far side's queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WAIT_S: Final = 0.06
"""So long does a piece wait for those before it."""
MOST_WAITING: Final = 25
"""Pieces behind a gap; with more of them it is given up at once: half a second of sound."""
MOST_LEAP: Final = 500
"""A piece further off than this begins a new order: ten seconds. So does a nearer one, after as many in a row
that come too late as may wait: the far side counts anew."""


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
        self._waiting: dict[int, tuple[bytes, float]] = {}
        """Pieces behind a gap, and when they came."""
        self._late_in_a_row = 0
        self.late = 0
        """Pieces that came after they were given up, or twice."""

    @property
    def due_s(self) -> float | None:
        """When the gap that is waited on is given up; None without one."""
        if not self._waiting:
            return None
        return min(came_s for _, came_s in self._waiting.values()) + WAIT_S

    def push(self, chunk: int, payload: bytes, now_s: float) -> list[Piece]:
        """What can be heard now that this piece has come."""
        if self._next is None:
            self._next = chunk
        if abs(chunk - self._next) > MOST_LEAP or self._late_in_a_row >= MOST_WAITING:
            heard = self._all_that_waits()
            self._next, self._late_in_a_row = chunk, 0
            return [*heard, *self.push(chunk, payload, now_s)]
        if chunk < self._next or chunk in self._waiting:
            self.late += 1
            self._late_in_a_row += 1
            return []
        self._late_in_a_row = 0
        self._waiting[chunk] = payload, now_s
        heard = self._in_order()
        if len(self._waiting) > MOST_WAITING:
            heard += self._give_up()
        return heard + self.overdue(now_s)

    def overdue(self, now_s: float) -> list[Piece]:
        """What can be heard now that so much time has gone by."""
        heard: list[Piece] = []
        while (due_s := self.due_s) is not None and due_s <= now_s:
            heard += self._give_up()
        return heard

    def _give_up(self) -> list[Piece]:
        """Does without what comes before the first piece that waits."""
        assert self._next is not None
        first = min(self._waiting)
        missing, self._next = first - self._next, first + 1
        return [Piece(self._waiting.pop(first)[0], missing), *self._in_order()]

    def _in_order(self) -> list[Piece]:
        assert self._next is not None
        heard = []
        while (waiting := self._waiting.pop(self._next, None)) is not None:
            heard.append(Piece(waiting[0]))
            self._next += 1
        return heard

    def _all_that_waits(self) -> list[Piece]:
        heard = []
        while self._waiting:
            heard += self._give_up()
        return heard
