"""Engines that became unusable are started again, later and later, while calls go on; fallbacks are loaded
when they are needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from media.clock import loop_time_s
from media.engines.wire import FallbackLoad, RemoteRole, Unusable
from media.errors import VoxtralKokoroError
from server.backoff import SHORT_LIFE_S, delay_s
from server.engine_failures import EngineFailures
from server.engine_set import EngineSet

_log = logging.getLogger(__name__)


class EngineRecovery:
    """Looks after the engines that run.

    One that ran out of memory, or failed again and again, is unloaded and loaded anew. One that is stuck, or
    has lost its device, is mended by another engine process alone: at once where nobody stands in for it,
    or nobody does any more, else when nobody is served. In the server's own process nothing mends it but the
    server's restart: then the server is not ready any more.

    A fallback that is loaded when it is needed is loaded here, for all who wait for it: nobody who hangs up
    ends that.

    Args:
        engine_set: the engines.
        failures: tells of those that become unusable.
        replace_process: ends the engine process, for a reason, so that another one is started; None where
            there is none.
        until_idle: returns when nobody is served.
    """

    def __init__(
        self,
        engine_set: EngineSet,
        failures: EngineFailures,
        replace_process: Callable[[str], None] | None,
        until_idle: Callable[[], Coroutine[Any, Any, object]],
    ) -> None:
        self._engine_set = engine_set
        self._failures = failures
        self._replace_process = replace_process
        self._until_idle = until_idle
        self._changed = asyncio.Event()
        self._at_work: set[RemoteRole] = set()
        self._short_lives: dict[RemoteRole, int] = {}
        self._restored_s: dict[RemoteRole, float] = {}
        self._nobody_stands_in: dict[RemoteRole, asyncio.Event] = {}
        """Of those whose process is to be replaced when nobody is served."""
        self._needed: asyncio.Queue[FallbackLoad] = asyncio.Queue()
        """Each of them once at a time."""
        failures.noticed = self._notice
        failures.needed = self._needed.put_nowait

    async def run(self) -> None:
        """Loads what is needed and mends what breaks, until cancelled: also what did not start beside others.

        The former at once, since the warm-up may need it; the latter from when all are ready for the first
        time.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load_what_is_needed(), name="load fallbacks")
            await self._engine_set.until_ready()
            while True:
                for role in self._failures.unusable.keys() - self._at_work:
                    self._at_work.add(role)
                    tasks.create_task(self._mend(role), name=f"mend {role}")
                await self._changed.wait()
                self._changed.clear()

    async def _load_what_is_needed(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                load = await self._needed.get()
                tasks.create_task(self._load(load), name=f"load {load.engine}")

    async def _load(self, load: FallbackLoad) -> None:
        """What does not load is noticed as `Unusable`, like any other."""
        about = {"engine": load.role, "model": load.engine}
        _log.info("a fallback is needed, and loaded", extra=about)
        try:
            await self._engine_set.load(load.role)
        except VoxtralKokoroError as error:
            _log.warning("a fallback does not help yet", extra={**about, "reason": str(error)})

    def _notice(self, unusable: Unusable) -> None:
        if not unusable.stood_in_for:
            self._engine_set.lost((unusable.role,), unusable.reason)
            if (waited := self._nobody_stands_in.get(unusable.role)) is not None:
                waited.set()
        self._changed.set()

    async def _mend(self, role: RemoteRole) -> None:
        """Tries until it is mended, or gone with its process."""
        try:
            while (unusable := self._failures.unusable.get(role)) is not None:
                if unusable.needs_process:
                    await self._have_process_replaced(unusable)
                    return
                lived_s = loop_time_s() - self._restored_s.get(role, -SHORT_LIFE_S)
                short_lives = self._short_lives.get(role, 0) + 1 if lived_s < SHORT_LIFE_S else 0
                self._short_lives[role] = short_lives
                await asyncio.sleep(delay_s(short_lives))
                if self._failures.unusable.pop(role, None) is not None:
                    await self._start_again(unusable)
        finally:
            self._at_work.discard(role)
            self._changed.set()

    async def _start_again(self, unusable: Unusable) -> None:
        """Starts what is not started of a role. That it did not start is noticed as ever, or is raised."""
        role = unusable.role
        self._restored_s[role] = loop_time_s()
        try:
            await self._engine_set.start((role,))
        except VoxtralKokoroError as error:
            self._failures.unusable.setdefault(role, unusable)
            reason = str(error)
        else:
            if role not in self._failures.unusable:
                _log.info("an engine is started again", extra={"engine": role, "model": unusable.engine})
                return
            reason = self._failures.unusable[role].reason
        self._restored_s[role] = loop_time_s()
        self._failures.faults.not_mended(role)
        _log.warning("an engine did not start again", extra={"engine": role, "reason": reason})

    async def _have_process_replaced(self, unusable: Unusable) -> None:
        if unusable.stood_in_for:
            await self._until_it_harms_nobody(unusable.role)
        # Meanwhile it may have ended for another reason.
        if self._failures.unusable.pop(unusable.role, None) is None:
            return
        if self._replace_process is not None:
            self._replace_process(unusable.reason)
        else:
            _log.error(
                "an engine is stuck: restart the server, or set performance.engine_process",
                extra={"engine": unusable.role, "model": unusable.engine, "reason": unusable.reason},
            )

    async def _until_it_harms_nobody(self, role: RemoteRole) -> None:
        """Returns when nobody is served, or can be: whoever stood in is unusable, too."""
        alone = self._nobody_stands_in[role] = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                waits: tuple[asyncio.Task[object], ...] = (
                    tasks.create_task(self._until_idle(), name=f"until idle, for {role}"),
                    tasks.create_task(alone.wait(), name=f"until nobody stands in for {role}"),
                )
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        finally:
            del self._nobody_stands_in[role]
