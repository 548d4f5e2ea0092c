"""Whom one request asks of several engines, one after the other."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from media.engines.fallback_order import FallbackOrder
from media.engines.protocols import Engine
from media.errors import EngineError

E = TypeVar("E", bound=Engine)

WAITS_FOR_ROOM_S = (0.2, 0.4, 0.8)
"""Where nobody has room: before they are asked again."""


class Tries(Generic[E]):
    """Whom one request asks, one after the other.

    Where one of them had no room, and no other did it, they are asked again after a moment: what is under way
    there is a matter of some tenths of a second.

    Args:
        order: of the engines.
        conversation: that the request belongs to; "" is none.
    """

    def __init__(self, order: FallbackOrder[E], conversation: str = "") -> None:
        self._order = order
        self._conversation = conversation
        self._left = list(order.tries(conversation))
        self._full = False
        self._waits_s = list(WAITS_FOR_ROOM_S)
        self._broke_off = False

    async def next(self) -> int | None:
        """The next one; None after the last."""
        if not self._left and self._full and self._waits_s:
            await asyncio.sleep(self._waits_s.pop(0))
            self._left, self._full = list(self._order.tries(self._conversation)), False
        return self._left.pop(0) if self._left else None

    def failed(self, at: int, error: EngineError, *, amid: bool = False) -> None:
        """One has failed.

        Args:
            at: which.
            error: of what.
            amid: it had begun. An endpoint is asked once more then, after all others: behind its address
                there may be several, of which one is gone.
        """
        self._order.failed(at, error)
        self._full = self._full or self._order.merely_full(at, error)
        if amid and self._order.is_elsewhere(at) and not self._broke_off:
            self._broke_off = True
            self._left.append(at)
