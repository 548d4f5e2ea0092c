"""What is to be sent to a client over a socket, while it reads no faster than it does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

MAX_WAITING_CHARS: Final = 4 * 1024 * 1024
"""What a client who no longer reads may let pile up: over a minute of speech as base64 PCM of 24 kHz."""


class Outbox:
    """Messages in the order in which they were put. Bounded: beyond it nothing is kept, and that is told.

    Args:
        stalled: called once, when the client has stopped reading.
    """

    def __init__(self, stalled: Callable[[], None]) -> None:
        self._stalled = stalled
        self._messages: deque[str] = deque()
        self._waiting_chars = 0
        self._overflown = False
        self._changed = asyncio.Event()

    def put(self, message: str) -> None:
        """One more message."""
        if self._overflown:
            return
        if self._messages and self._waiting_chars + len(message) > MAX_WAITING_CHARS:
            self._overflown = True
            self._stalled()
            return
        self._messages.append(message)
        self._waiting_chars += len(message)
        self._changed.set()

    async def next(self) -> str:
        """The oldest message, waiting for it."""
        while not self._messages:
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        self._waiting_chars -= len(message)
        return message

    def rest(self) -> list[str]:
        """All that waits; for a last farewell."""
        messages = list(self._messages)
        self._messages.clear()
        self._waiting_chars = 0
        return messages
