"""How much of an engine host is taken: requests under way, by engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TypeAlias

from media.errors import ServerFull
from server.engine_set import EngineSet

HostRole: TypeAlias = Literal["stt", "llm", "tts"]
"""The engines that are served."""

_RETRY_WHEN_FULL_S = 1
_RETRY_WHEN_STARTING_S = 5


class HostSlots:
    """Admits requests.

    Args:
        engine_set: the engines, which must be ready.
        limits: requests at once.
    """

    def __init__(self, engine_set: EngineSet, limits: Mapping[HostRole, int]) -> None:
        self.limits = dict(limits)
        self.active: dict[HostRole, int] = dict.fromkeys(limits, 0)
        self.refused: dict[HostRole, int] = dict.fromkeys(limits, 0)
        self.drain_begun = asyncio.Event()
        self._engine_set = engine_set
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def draining(self) -> bool:
        return self.drain_begun.is_set()

    def refusal(self) -> ServerFull | None:
        """Why a request for whatever engine that came now would be refused, or None."""
        if self.draining:
            return ServerFull(
                "The engine host is shutting down.", retry_after_s=_RETRY_WHEN_FULL_S, code="server_draining"
            )
        if not self._engine_set.ready:
            return ServerFull(
                "The engines are still loading. Try again in a moment.",
                retry_after_s=_RETRY_WHEN_STARTING_S,
                code="server_starting",
            )
        return None

    @contextmanager
    def taken(self, role: HostRole) -> Iterator[None]:
        """Holds a slot.

        Raises:
            ServerFull: all of them are taken, the engines are not ready, or the host is draining.
        """
        refusal = self.refusal()
        if refusal is None and self.active[role] >= self.limits[role]:
            refusal = ServerFull(
                f"All {self.limits[role]} slots of {role} are taken.",
                retry_after_s=_RETRY_WHEN_FULL_S,
                code="engine_full",
            )
        if refusal is not None:
            self.refused[role] += 1
            raise refusal
        self.active[role] += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.active[role] -= 1
            if not any(self.active.values()):
                self._idle.set()

    async def until_idle(self) -> None:
        """Returns when no request is under way."""
        await self._idle.wait()

    async def drain(self, timeout_s: float) -> None:
        """Admits nobody any more, and waits until what is under way has ended, for so long."""
        self.drain_begun.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self.until_idle()
        except TimeoutError:
            return
