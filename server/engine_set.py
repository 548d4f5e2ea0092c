"""The engines' life, as this process knows it: how far each of them is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from media.clock import thread_time_s
from media.engines.protocols import Engine, Engines
from media.errors import EngineError, VoiceUnavailable
from server.warm_up import EngineRole, WarmUp

_log = logging.getLogger(__name__)

ENGINE_ROLES: tuple[EngineRole, ...] = get_args(EngineRole)


class EngineState(StrEnum):
    """How far an engine is."""

    ABSENT = "absent"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine, for `/status`.

    Attributes:
        role: `stt`.
        name: the backend and its model.
        state: how far it is.
        reason: of a failure, one sentence.
        started_after_s: loading and warming took so long.
    """

    role: EngineRole
    name: str
    state: EngineState
    reason: str | None = None
    started_after_s: float | None = None


class EngineSet:
    """The engines' life: started together, reported on, closed together.

    Args:
        engines: none of them started.
        warm_up: what each does once before it counts as ready.
    """

    def __init__(self, engines: Engines, warm_up: WarmUp) -> None:
        self.engines = engines
        self._warm_up = warm_up
        self._all_ready = asyncio.Event()
        self._down: set[EngineRole] = set(ENGINE_ROLES)
        """Those that nobody can be served by."""
        self._reports = {
            role: EngineReport(role, engine.name, EngineState.ABSENT) for role, engine in _by_role(engines)
        }

    @property
    def ready(self) -> bool:
        """Each of them has done its work once."""
        return self._all_ready.is_set()

    @property
    def reports(self) -> tuple[EngineReport, ...]:
        return tuple(self._reports.values())

    async def start(self, roles: Collection[EngineRole] = ENGINE_ROLES) -> None:
        """Loads and warms all of them, or those that were `lost` or are to be started again, side by side.

        Raises:
            EngineError: one failed; the others are given up, and closed by `close`.
            VoiceUnavailable: the configured voice cannot be spoken.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for role, engine in _by_role(self.engines):
                    if role in roles:
                        starting.create_task(self._start(role, engine), name=f"start {role}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        if not self._down:
            self._all_ready.set()

    async def load(self, role: EngineRole) -> None:
        """Loads what is needed of a role at last; where nobody could be served by it, that is over then.

        Raises:
            EngineError: it does not work.
            VoiceUnavailable: the configured voice cannot be spoken.
        """
        began_s = thread_time_s()
        engine = dict(_by_role(self.engines))[role]
        await engine.start()
        if role in self._down:
            await self._warm_up.of(role)
            self._works(role, engine, began_s)
            if not self._down:
                self._all_ready.set()

    def lost(self, roles: Collection[EngineRole], reason: str) -> None:
        """These are gone, perhaps with their process; nobody is ready until they have been started again."""
        self._all_ready.clear()
        self._down.update(roles)
        for role, engine in _by_role(self.engines):
            if role in roles:
                self._reports[role] = EngineReport(role, engine.name, EngineState.FAILED, reason)

    async def until_ready(self) -> None:
        """Returns when all of them are ready. Never, if one failed: `start` raises that."""
        await self._all_ready.wait()

    async def close(self) -> None:
        """Frees all of them. May be called at any time, and twice."""
        for _, engine in _by_role(self.engines):
            await engine.close()

    async def _start(self, role: EngineRole, engine: Engine) -> None:
        began_s = thread_time_s()
        self._reports[role] = EngineReport(role, engine.name, EngineState.LOADING)
        try:
            await engine.start()
            self._reports[role] = EngineReport(role, engine.name, EngineState.WARMING)
            await self._warm_up.of(role)
        except (EngineError, VoiceUnavailable) as error:
            self._reports[role] = EngineReport(role, engine.name, EngineState.FAILED, str(error))
            raise
        self._works(role, engine, began_s)

    def _works(self, role: EngineRole, engine: Engine, began_s: float) -> None:
        self._down.discard(role)
        took_s = round(thread_time_s() - began_s, 2)
        self._reports[role] = EngineReport(role, engine.name, EngineState.READY, started_after_s=took_s)
        _log.info("engine ready", extra={"engine": role, "model": engine.name, "took_s": took_s})


def _by_role(engines: Engines) -> Iterator[tuple[EngineRole, Engine]]:
    yield "vad", engines.vad
    yield "turn_end", engines.turn_end
    yield "stt", engines.stt
    yield "llm", engines.llm
    yield "tts", engines.tts
