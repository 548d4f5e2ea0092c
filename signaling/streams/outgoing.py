"""What is to be sent over a stream's socket, at the pace at which the far side reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

MOST_WAITING: Final = 500
"""Messages: some eight seconds of voice with its marks. A far side that lets more pile up does not read."""


class Outgoing:
    """Messages in order. What is voice can be taken back as long as it waits.

    Args:
        stalled: called once, when the far side has stopped reading.
    """

    def __init__(self, stalled: Callable[[], None]) -> None:
        self._stalled = stalled
        self._messages: deque[tuple[str | bytes, bool]] = deque()
        self._overflown = False
        self._changed = asyncio.Event()

    def put(self, message: str | bytes | None, *, voice: bool = False) -> None:
        """One more message. None is none: the wire cannot say that."""
        if message is None or self._overflown:
            return
        if len(self._messages) >= MOST_WAITING:
            self._overflown = True
            self._stalled()
            return
        self._messages.append((message, voice))
        self._changed.set()

    def take_back_voice(self) -> None:
        """Sends none of the voice that waits."""
        self._messages = deque((message, voice) for message, voice in self._messages if not voice)

    async def next(self) -> str | bytes:
        """The oldest message, waiting for it."""
        while not self._messages:
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()[0]

    def rest(self) -> list[str | bytes]:
        """What waits and is no voice; for a farewell."""
        self.take_back_voice()
        rest = [message for message, _ in self._messages]
        self._messages.clear()
        return rest
