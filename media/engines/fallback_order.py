"""Which of several engines of one role is asked: the first that works, and the first of all once it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from media.clock import loop_time_s
from media.engines.protocols import Engine
from media.engines.wire import CameBack, FellBack, RemoteRole
from media.errors import EngineError

E = TypeVar("E", bound=Engine)

FallbackEvent: TypeAlias = FellBack | CameBack

log = logging.getLogger(__name__)

_FIRST_REST_S = 2.0
_LONGEST_REST_S = 60.0
"""An engine that failed is left alone for 2 s, 4 s, 8 s … up to this, while another one works."""

_PROBE_LIMIT_S = 1.0
_START_LIMIT_S = 3.0
"""What a caller waits at most to find out that an engine still does not work, or still does not start."""

_OF_THE_REQUEST = frozenset({"context_full", "language_unavailable", "aborted"})
"""Failures that are no fault of the engine."""


@runtime_checkable
class Probed(Protocol):
    """An engine that can be asked whether it is there, without work."""

    async def probe(self) -> None:
        """Raises: EngineError: it is not."""


@dataclass(slots=True)
class _Standing:
    """How an engine has done."""

    started: bool = False
    failures: int = 0
    """In a row."""
    rests_until_s: float = 0.0


def falls_back(error: EngineError) -> bool:
    """Whether another engine may do better."""
    return error.code not in _OF_THE_REQUEST


class FallbackOrder(Generic[E]):
    """The engines in the order in which they are wanted, and how each of them does.

    Args:
        role: theirs.
        engines: the first is the one that is wanted.
        tell: given what happens.
    """

    def __init__(self, role: RemoteRole, engines: Sequence[E], tell: Callable[[FallbackEvent], None]) -> None:
        self.engines = tuple(engines)
        self._role: RemoteRole = role
        self._tell = tell
        self._standings = [_Standing() for _ in self.engines]

    @property
    def first(self) -> E:
        """The one that is wanted."""
        return self.engines[0]

    @property
    def name(self) -> str:
        """All of them."""
        return ", else ".join(engine.name for engine in self.engines)

    async def start(self) -> None:
        """Starts all of them, side by side. One that does not start is tried again when it is needed.

        Raises:
            EngineError: none of them starts: the first one's.
        """
        async with asyncio.TaskGroup() as starting:
            tries = [
                starting.create_task(self._try_to_start(at), name=f"start {engine.name}")
                for at, engine in enumerate(self.engines)
            ]
        errors = [attempt.result() for attempt in tries]
        if all(errors):
            await self.close()
            assert errors[0] is not None
            raise errors[0]
        for at, error in enumerate(errors):
            if error is not None:
                self.failed(at, error)

    async def close(self) -> None:
        for standing in self._standings:
            standing.started = False
        for engine in self.engines:
            await engine.close()

    def tries(self) -> Iterator[int]:
        """Whom to ask, one after the other: those that rest come last."""
        now_s = loop_time_s()
        rests = [standing.rests_until_s > now_s for standing in self._standings]
        return iter(sorted(range(len(self.engines)), key=rests.__getitem__))

    async def ready(self, at: int) -> None:
        """Returns when an engine can be asked. One that failed last time is probed first.

        Raises:
            EngineError: it does not work, or says nothing.
        """
        engine, standing = self.engines[at], self._standings[at]
        if standing.started and not (standing.failures and isinstance(engine, Probed)):
            return
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S if standing.started else _START_LIMIT_S):
                if standing.started and isinstance(engine, Probed):
                    await engine.probe()
                else:
                    await engine.start()
                    standing.started = True
        except TimeoutError:
            raise EngineError(f"{engine.name} says nothing.", code="engine_silent") from None

    def is_started(self, at: int) -> bool:
        return self._standings[at].started

    def worked(self, at: int) -> None:
        """An engine has done what it was asked."""
        standing = self._standings[at]
        if standing.failures:
            standing.failures, standing.rests_until_s = 0, 0.0
            log.info("an engine works again", extra={"engine": self._role, "model": self.engines[at].name})
            self._tell(CameBack(self._role, self.engines[at].name))

    def failed(self, at: int, error: EngineError) -> None:
        """An engine has failed; whoever asked goes to the next of `tries`."""
        standing = self._standings[at]
        standing.failures += 1
        rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** (standing.failures - 1))
        standing.rests_until_s = loop_time_s() + rest_s
        name = self.engines[at].name
        log.warning(
            "an engine failed",
            extra={"engine": self._role, "model": name, "code": error.code, "reason": str(error)},
        )
        self._tell(FellBack(self._role, name, error.code, str(error)))

    async def _try_to_start(self, at: int) -> EngineError | None:
        try:
            await self.engines[at].start()
        except EngineError as error:
            return error
        self._standings[at].started = True
        return None
