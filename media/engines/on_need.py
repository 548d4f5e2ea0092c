"""Engines that are loaded when they are needed: until then they take no memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from media.clock import loop_time_s
from media.engines.protocols import Engine
from media.engines.wire import LoadState

E = TypeVar("E", bound=Engine)

LOADING = "engine_loading"
"""The code of an engine that is being loaded for the first time, and takes its time."""


@dataclass(frozen=True, slots=True)
class OnNeed(Generic[E]):
    """An engine in this process that is not loaded before those above it have failed somebody.

    Attributes:
        engine: not started.
        wait_s: how long its load is waited for at most, whoever waits, from when it was needed first.
    """

    engine: E
    wait_s: float


class Loading:
    """How far one of them is.

    Args:
        wait_s: as `OnNeed` has it.
    """

    def __init__(self, wait_s: float) -> None:
        self.state = LoadState.WAITS
        self.took_s: float | None = None
        """Of one that is loaded: so long, its first piece of work included."""
        self._wait_s = wait_s
        self._began_s = 0.0
        self._until_s = 0.0
        self._over = asyncio.Event()

    def need(self) -> None:
        """Somebody needs it: its load is to begin."""
        self.state, self._until_s = LoadState.NEEDED, loop_time_s() + self._wait_s

    def begin(self) -> None:
        """It is being loaded."""
        self.state, self._began_s = LoadState.LOADING, loop_time_s()

    def end(self, *, loaded: bool) -> None:
        """It is loaded, or is not. Whoever waits goes on."""
        self.state = LoadState.LOADED if loaded else LoadState.FAILED
        self.took_s = round(loop_time_s() - self._began_s, 2) if loaded else None
        self._over.set()

    def forget(self) -> None:
        """It was closed. Whoever waits goes on."""
        self._over.set()
        self._over = asyncio.Event()
        self.state, self.took_s = LoadState.WAITS, None

    async def wait(self) -> None:
        """Returns when its first load is over, however it ended.

        Raises:
            TimeoutError: it takes longer than is waited.
        """
        async with asyncio.timeout_at(self._until_s):
            await self._over.wait()
