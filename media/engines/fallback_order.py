"""Which of several engines of one role is asked: the first that works, and the first of all once it does.

Several in different places may have the same rank (`Beside`): they share the work.

It is also where an engine's failure is taken note of, however many there are: one that ran out of memory,
fails again and again, or is stuck, is asked no more until it has been started again. One may be loaded only
when it is needed (`OnNeed`). Both are told of here, and done elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from media.clock import loop_time_s
from media.engines.backend_failures import DEVICE_LOST
from media.engines.failed_step import failed_step_of
from media.engines.memory import free_caches
from media.engines.on_need import LOADING, Loading, OnNeed
from media.engines.protocols import Engine
from media.engines.silence import EngineSilence
from media.engines.standing import Standing
from media.engines.wire import (
    CameBack,
    EngineEvent,
    FallbackLoad,
    FellBack,
    LoadState,
    RemoteRole,
    Unusable,
)
from media.errors import EngineError, EngineOutOfMemory, VoxtralKokoroError

E = TypeVar("E", bound=Engine)
T = TypeVar("T")

FallbackEvent: TypeAlias = EngineEvent

Warm: TypeAlias = Callable[[E, int], Awaitable[None]]

log = logging.getLogger(__name__)

SILENT = "engine_silent"
"""The code of an engine that gives no sign of life."""

RESTARTING = "engine_restarting"
"""The code of an engine that is to be started again: that it failed was told before."""

_FIRST_REST_S = 2.0
_LONGEST_REST_S = 60.0
"""An engine that failed is left alone for 2 s, 4 s, 8 s … up to this, while another one works."""

_FULL_REST_S = 0.5
"""One that has no room is asked again so soon, while another one has."""

FULL = "engine_full"
"""The code of an engine that has no room: nothing is wrong with it."""

_HOMES = 1000
"""Conversations of which it is known who has read them; the oldest are forgotten."""

_PROBE_LIMIT_S = 1.0
_START_LIMIT_S = 3.0
"""What a caller waits at most to find out that an endpoint still does not work, or still does not start."""

_BROKEN_AFTER = 3
"""An engine in this process that has failed so often in a row is started again: it may have lost its way."""

_OF_THE_REQUEST = frozenset({"context_full", "language_unavailable", "aborted"})
"""Failures that are no fault of the engine."""

_NEEDS_PROCESS = frozenset({SILENT, DEVICE_LOST})


@runtime_checkable
class Probed(Protocol):
    """An engine elsewhere, which can be asked whether it is there, without work."""

    async def probe(self) -> None:
        """Raises: EngineError: it is not."""


@dataclass(frozen=True, slots=True)
class Beside(Generic[E]):
    """Engines that do the same in different places, and share the work."""

    engines: tuple[E, ...]


def falls_back(error: EngineError) -> bool:
    """Whether another engine may do better."""
    return error.code not in _OF_THE_REQUEST


class FallbackOrder(Generic[E]):
    """The engines in the order in which they are wanted, and how each of them does.

    Args:
        role: theirs.
        engines: the first is the one that is wanted.
        tell: given what happens.
        silence_limit_s: an engine in this process that was waited for so long, in all, and has brought
            nothing at all to anybody is stuck. None waits for ever. (Endpoints have their own patience.)
        warm: has an engine that stands in, in this process, do a small piece of its work, as a part of its
            start; given its rank.
    """

    def __init__(
        self,
        role: RemoteRole,
        engines: Sequence[E | Beside[E] | OnNeed[E]],
        tell: Callable[[FallbackEvent], None],
        silence_limit_s: float | None = None,
        warm: Warm[E] | None = None,
    ) -> None:
        ranks = [_places(entry) for entry in engines]
        self.engines = tuple(engine for beside in ranks for engine in beside)
        self._ranks = ranks
        self._role: RemoteRole = role
        self._tell = tell
        self._warm = warm
        self._standings = [
            Standing(
                rank,
                None if silence_limit_s is None else EngineSilence(silence_limit_s),
                Loading(entry.wait_s) if isinstance(entry, OnNeed) else None,
            )
            for rank, entry in enumerate(engines)
            for _ in ranks[rank]
        ]
        self._asked = 0
        self._homes: OrderedDict[str, int] = OrderedDict()

    @property
    def first(self) -> E:
        """The one that is wanted; of several beside each other, one that has started."""
        wanted = range(len(self._ranks[0]))
        return self.engines[next((at for at in wanted if self._standings[at].started), 0)]

    @property
    def name(self) -> str:
        """All of them."""
        return ", else ".join(", ".join(engine.name for engine in beside) for beside in self._ranks)

    def rank(self, at: int) -> int:
        """How far down the order an engine is: 0 is wanted first."""
        return self._standings[at].rank

    async def start(self) -> None:
        """Starts those that are not, side by side.

        At first all but those that are loaded when they are needed, unless none of the others starts; later
        what is needed at last, else what has become `Unusable`. What another call of this starts already is
        waited for only where there is nothing else to start.

        Raises:
            EngineError: none of them works: the first one's.
        """
        errors = await self._try_each(self._to_start())
        for at, standing in enumerate(self._standings):
            if any(other.started or other.starting.locked() for other in self._standings):
                break
            if standing.waits:
                errors |= await self._try_each((at,))
        for at, standing in enumerate(self._standings):
            if standing.loading is not None and standing.waits:
                self._tell_load(at, standing.loading)
        if len(errors) == len(self.engines):
            await self.close()
            raise errors[0]
        for at, error in errors.items():
            self._note(at, error, starting=True)
            if not self.is_elsewhere(at):
                self._tell_unusable(at, error)

    async def close(self) -> None:
        for standing in self._standings:
            standing.started = standing.left_over = False
            if standing.loading is not None:
                standing.loading.forget()
        for engine in self.engines:
            await engine.close()

    def tries(self, conversation: str = "") -> Iterator[int]:
        """Whom to ask, one after the other: those that rest come last, and after them those that would first
        have to be loaded.

        Of those beside each other the one that has read the conversation, then the one with the least under
        way, then the one that was not asked for longest.
        """
        now_s = loop_time_s()
        home = self._homes.get(conversation)

        def place(at: int) -> tuple[bool, bool, int, bool, int, int]:
            standing = self._standings[at]
            rests, is_away = standing.rests_until_s > now_s, home is not None and at != home
            return standing.waits, rests, standing.rank, is_away, standing.under_way, standing.asked

        return iter(sorted(range(len(self.engines)), key=place))

    def begin(self, at: int, conversation: str = "") -> None:
        """An engine is asked for something; `end` when that is over."""
        self._asked += 1
        standing = self._standings[at]
        standing.under_way += 1
        standing.asked = self._asked
        if conversation and len(self._ranks[standing.rank]) > 1:
            self._homes[conversation] = at
            self._homes.move_to_end(conversation)
            if len(self._homes) > _HOMES:
                self._homes.popitem(last=False)

    def end(self, at: int) -> None:
        self._standings[at].under_way -= 1

    @contextmanager
    def asking(self, at: int, conversation: str = "") -> Iterator[E]:
        """From `begin` to `end`."""
        self.begin(at, conversation)
        try:
            yield self.engines[at]
        finally:
            self.end(at)

    async def ready(self, at: int) -> None:
        """Returns when an engine can be asked. An endpoint that failed last time is probed first; one that is
        loaded when it is needed is waited for, for a while.

        Raises:
            EngineError: it does not work, or says nothing.
        """
        engine, standing = self.engines[at], self._standings[at]
        if not isinstance(engine, Probed):
            if standing.loading is not None and not standing.started:
                await self._until_loaded(at, standing.loading)
            if not standing.started:
                raise EngineError(f"{engine.name} is being started again.", code=RESTARTING, retryable=True)
            return
        if standing.started and not standing.failures:
            return
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S if standing.started else _START_LIMIT_S):
                if standing.started:
                    await engine.probe()
                else:
                    await engine.start()
                    standing.started, standing.starts = True, standing.starts + 1
        except TimeoutError:
            raise EngineError(f"{engine.name} says nothing.", code=SILENT) from None

    def starts(self, at: int) -> int:
        """How often an engine was started: what was opened before its last start is of no use any more."""
        return self._standings[at].starts

    def is_started(self, at: int) -> bool:
        return self._standings[at].started

    @asynccontextmanager
    async def awaited(self, at: int) -> AsyncIterator[None]:
        """Around waiting for something of an engine's: a step of its work, which it brings or fails to bring.

        Raises:
            EngineError: what the engine raises, as one of ours whatever it is; `engine_silent` where it has
                brought nothing to anybody for as long as is waited.
        """
        silence = self._standings[at].silence
        if silence is None or self.is_elsewhere(at):
            with self.translating(at):
                yield
            return
        try:
            async with silence.wait() as wait:
                yield
        except VoxtralKokoroError:
            silence.broken()
            raise
        except Exception as error:  # the engine's boundary: one that breaks has failed, like any other
            if isinstance(error, TimeoutError) and wait.expired():
                name = self.engines[at].name
                raise EngineError(
                    f"{name} has brought nothing for {silence.limit_s} s.", code=SILENT
                ) from None
            silence.broken()
            raise self._broken(at, error) from error
        silence.broken()

    @contextmanager
    def translating(self, at: int) -> Iterator[None]:
        """Around asking an engine for what nobody waits for in silence: its silence is no failure.

        Raises:
            EngineError: what the engine raises, as one of ours whatever it is.
        """
        try:
            yield
        except VoxtralKokoroError:
            raise
        except Exception as error:  # the engine's boundary, as in `awaited`
            raise self._broken(at, error) from error

    async def items(self, at: int, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What an engine streams, each piece `awaited`. Closing it closes the stream.

        Raises: as `awaited`.
        """
        async with aclosing(stream):
            while True:
                async with self.awaited(at):
                    item = await anext(stream, None)
                if item is None:
                    return
                yield item

    def sign_of_life(self, at: int) -> None:
        """An engine has brought something that nobody waited for."""
        silence = self._standings[at].silence
        if silence is not None:
            silence.broken()

    def worked(self, at: int) -> None:
        """An engine has done what it was asked."""
        standing = self._standings[at]
        if standing.failures:
            standing.failures, standing.rests_until_s = 0, 0.0
            log.info("an engine works again", extra={"engine": self._role, "model": self.engines[at].name})
            self._tell(CameBack(self._role, self.engines[at].name))

    def failed(self, at: int, error: EngineError) -> None:
        """An engine has failed; whoever asked goes to the next one."""
        standing = self._standings[at]
        elsewhere = self.is_elsewhere(at)
        if self.merely_full(at, error):  # it is not probed, and nobody is told
            standing.rests_until_s = loop_time_s() + _FULL_REST_S
            log.info("an engine has no room", extra={"engine": self._role, "model": self.engines[at].name})
            return
        if not (standing.started or elsewhere):
            return  # it was to be started again by then: that was told
        step = failed_step_of(error)
        if step is not None and step is standing.failed_step:
            return  # another request of the same step's has told of it
        standing.failed_step = step
        self._note(at, error)
        out_of_memory = error.code == EngineOutOfMemory.code
        stuck = error.code in _NEEDS_PROCESS
        if not elsewhere and (out_of_memory or stuck or standing.failures >= _BROKEN_AFTER):
            standing.started, standing.left_over, standing.stuck = False, True, stuck
            self._tell_unusable(at, error)

    def merely_full(self, at: int, error: EngineError) -> bool:
        """Whether nothing is wrong but that an engine with others beside it has no room."""
        return error.code == FULL and len(self._ranks[self._standings[at].rank]) > 1

    def _note(self, at: int, error: EngineError, *, starting: bool = False) -> None:
        standing = self._standings[at]
        standing.failures += 1
        rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** min(standing.failures - 1, 10))
        standing.rests_until_s = loop_time_s() + rest_s
        name = self.engines[at].name
        log.warning(
            "an engine failed",
            extra={"engine": self._role, "model": name, "code": error.code, "reason": str(error)},
        )
        self._tell(
            FellBack(
                self._role,
                name,
                error.code,
                str(error),
                elsewhere=self.is_elsewhere(at),
                starting=starting,
                stood_in_for=self._stood_in_for(at),
            )
        )

    def _tell_unusable(self, at: int, error: EngineError) -> None:
        others = (standing for other, standing in enumerate(self._standings) if other != at)
        self._tell(
            Unusable(
                self._role,
                self.engines[at].name,
                str(error),
                stood_in_for=any(standing.started for standing in others),
                needs_process=error.code in _NEEDS_PROCESS,
            )
        )

    def _stood_in_for(self, at: int) -> bool:
        """Whether there is another one that has not failed itself."""
        now_s = loop_time_s()
        return any(
            standing.rests_until_s <= now_s and (standing.started or self.is_elsewhere(other))
            for other, standing in enumerate(self._standings)
            if other != at
        )

    def is_elsewhere(self, at: int) -> bool:
        """Whether it is in another process, or on another machine."""
        return isinstance(self.engines[at], Probed)

    def _to_start(self) -> Collection[int]:
        all_of_them = list(enumerate(self._standings))
        if needed := [at for at, one in all_of_them if one.loading and one.loading.state is LoadState.NEEDED]:
            return needed
        missing = [at for at, one in all_of_them if not (one.started or one.stuck or one.waits)]
        return [at for at in missing if not self._standings[at].starting.locked()] or missing

    async def _try_each(self, wanted: Collection[int]) -> dict[int, EngineError]:
        """Starts these, side by side. Gives what those that did not start failed of."""
        async with asyncio.TaskGroup() as starting:
            tries = {
                at: starting.create_task(self._try_to_start(at), name=f"start {self.engines[at].name}")
                for at in wanted
            }
        return {at: error for at, attempt in tries.items() if (error := attempt.result()) is not None}

    async def _try_to_start(self, at: int) -> EngineError | None:
        standing = self._standings[at]
        async with standing.starting:
            if standing.started:
                return None
            if standing.loading is None:
                return await self._start_one(at)
            standing.loading.begin()
            self._tell_load(at, standing.loading)
            error: EngineError | None = None
            try:
                error = await self._start_one(at)
            finally:
                standing.loading.end(loaded=standing.started)
            self._tell_load(at, standing.loading)
            return error

    async def _start_one(self, at: int) -> EngineError | None:
        engine, standing = self.engines[at], self._standings[at]
        try:
            if standing.left_over:
                await engine.close()
                free_caches()
                standing.left_over = False
            await engine.start()
            if self._warm is not None and standing.rank > 0 and not self.is_elsewhere(at):
                standing.left_over = True
                async with self.awaited(at):
                    await self._warm(engine, standing.rank)
                standing.left_over = False
        except EngineError as error:
            standing.stuck = standing.left_over and error.code in _NEEDS_PROCESS
            return error
        except VoxtralKokoroError:
            raise
        except Exception as error:  # noqa: BLE001 - the engine's boundary, as in `awaited`
            return self._broken(at, error)
        # As long as it has not worked since, it counts as one that has failed; but it is asked first.
        standing.failures = min(standing.failures, 1)
        standing.started, standing.rests_until_s = True, 0.0
        standing.starts += 1
        if standing.silence is not None:
            standing.silence.forget()
        return None

    async def _until_loaded(self, at: int, loading: Loading) -> None:
        """Returns when its first load is over: at once, where that was before.

        Raises:
            EngineError: it takes longer than is waited.
        """
        if self._standings[at].waits:
            loading.need()
            self._tell_load(at, loading)
        try:
            await loading.wait()
        except TimeoutError:
            name = self.engines[at].name
            raise EngineError(f"{name} is being loaded.", code=LOADING, retryable=True) from None

    def _tell_load(self, at: int, loading: Loading) -> None:
        self._tell(FallbackLoad(self._role, self.engines[at].name, loading.state, loading.took_s))

    def _broken(self, at: int, error: Exception) -> EngineError:
        """The error of an engine that raised what is none of ours."""
        log.error(
            "an engine broke", extra={"engine": self._role, "model": self.engines[at].name}, exc_info=error
        )
        return EngineError(f"{type(error).__name__}: {error}", code="engine_fault")


def _places(entry: E | Beside[E] | OnNeed[E]) -> tuple[E, ...]:
    match entry:
        case Beside(engines=engines):
            return engines
        case OnNeed(engine=engine):
            return (engine,)
        case _:
            return (entry,)
