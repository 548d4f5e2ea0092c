"""The way to the engine process: requests that are under way, and what becomes of them when it dies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias

from media.clock import loop_time_s
from media.engines.channel import Channel
from media.engines.wire import (
    Cancel,
    Done,
    EngineFacts,
    Failed,
    Item,
    RemoteRole,
    Request,
    StartEngine,
    ToEngines,
    Work,
)
from media.errors import EngineError

Response: TypeAlias = Item | Done | Failed | None
"""None: the process died."""

_FIRST_LOAD_COUNTS = 0.5
"""The first load reads models from the disk, and imports libraries from it; the next ones do not."""

_NO_FACTS = EngineFacts("", "", (), "", "", 0, ())


class EngineProcessDied(EngineError):
    """The engine process ended while it worked on this."""

    code = "engine_process_died"

    def __init__(self) -> None:
        super().__init__("The engine process ended; it is started again.", retryable=True)


class Connection:
    """One engine process, from its start to its end.

    Args:
        channel: leads there.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count()
        self._waiting: dict[int, Callable[[Response], None]] = {}
        self.alive = True

    def received(self, response: Item | Done | Failed) -> None:
        """Gives an answer to whoever waits for it. One that nobody awaits any more is dropped."""
        if isinstance(response, Item):
            receive = self._waiting.get(response.number)
        else:
            receive = self._waiting.pop(response.number, None)
        if receive is not None:
            receive(response)

    def lost(self) -> None:
        """The process is gone: whatever is under way fails."""
        self.alive = False
        waiting, self._waiting = self._waiting, {}
        for receive in waiting.values():
            receive(None)

    def tell(self, message: ToEngines) -> None:
        """Says what needs no answer; nothing happens where the process is gone."""
        self._channel.send(message)

    async def ask(self, work: Work) -> Any:
        """Has work done, and returns its result. Cancelling cancels it over there.

        Raises:
            EngineProcessDied: before the answer.
            VoxtralKokoroError: whatever the engine raised.
        """
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def receive(response: Response) -> None:
            if not answer.done():
                answer.set_result(response)

        with self._asked(work, receive):
            return _result(await answer)

    async def stream(self, work: Work) -> AsyncGenerator[Any, None]:
        """Has work done, and yields its items. Closing the generator closes the stream over there.

        Raises: as `ask`.
        """
        responses: asyncio.Queue[Response] = asyncio.Queue()
        with self._asked(work, responses.put_nowait):
            while isinstance(response := await responses.get(), Item):
                yield response.value
            _result(response)

    @contextmanager
    def _asked(self, work: Work, receive: Callable[[Response], None]) -> Iterator[None]:
        if not self.alive:
            raise EngineProcessDied
        number = next(self._numbers)
        self._waiting[number] = receive
        self._channel.send(Request(number, work))
        try:
            yield
        finally:
            if self._waiting.pop(number, None) is not None:
                self._channel.send(Cancel(number))


def _result(response: Response) -> Any:
    match response:
        case None:
            raise EngineProcessDied
        case Failed(failure=failure):
            raise failure.error()
        case _:
            return response.value


class EngineLink:
    """Where requests find the engine process of the moment, and wait for the next one while there is none.

    They wait where that helps. An engine that, by what its last load took, will not be back as long as a
    request waits is not waited for: better that the caller hears so at once.

    Args:
        wait_s: how long a request waits at most for an engine that is being started again.
    """

    def __init__(self, wait_s: float) -> None:
        self.facts = _NO_FACTS
        self._wait_s = wait_s
        self._connection: Connection | None = None
        self._started: set[RemoteRole] = set()
        self._connected_s = self._built_s = 0.0
        self._loads_s: dict[RemoteRole, float] = {}
        """How long each can be expected to load, its process's start included: what it took last time."""
        self._away_since_s: dict[RemoteRole, float] = {}
        self._changed = asyncio.Event()

    def connected(self, connection: Connection, facts: EngineFacts, built_s: float = 0.0) -> None:
        """There is a process; its engines are not started.

        Args:
            connection: leads there.
            facts: what its engines say.
            built_s: how long it took since the process began.
        """
        self._connection, self.facts = connection, facts
        self._connected_s, self._built_s = loop_time_s(), built_s
        self._started.clear()

    def lost(self) -> None:
        """The process ended."""
        self._connection = None
        self._started.clear()
        self._away_since_s = dict.fromkeys(self._loads_s, loop_time_s())
        self._tell_change()

    async def start(self, role: RemoteRole) -> None:
        """Starts an engine in the present process.

        Raises:
            EngineError: it does not start, or the process ended.
        """
        connection = self._connection
        if connection is None:
            raise EngineProcessDied
        facts: EngineFacts = await connection.ask(StartEngine(role))
        if connection is self._connection:
            self.facts = facts
            if role not in self._started:
                took_s = self._built_s + loop_time_s() - self._connected_s
                self._loads_s[role] = took_s if role in self._loads_s else _FIRST_LOAD_COUNTS * took_s
                self._away_since_s.pop(role, None)
            self._started.add(role)
            self._tell_change()

    def present(self, role: RemoteRole) -> Connection | None:
        """The process whose engine has started, if there is one at this moment."""
        connection = self._connection
        return connection if connection is not None and connection.alive and role in self._started else None

    async def connection(self, role: RemoteRole) -> Connection:
        """The process whose engine has started, as soon as there is one.

        Raises:
            EngineError: there was none for as long as requests wait, or there will not be.
        """
        until_s = loop_time_s() + self._wait_s
        try:
            async with asyncio.timeout_at(until_s):
                while (connection := self.present(role)) is None:
                    self._require_back(role, until_s)
                    await self._changed.wait()
        except TimeoutError:
            raise EngineError(
                f"The engine process did not come back within {self._wait_s:g} s.",
                code="engine_process_missing",
            ) from None
        return connection

    def _require_back(self, role: RemoteRole, until_s: float) -> None:
        """Raises: EngineError: by what it took last time, the engine will not be back by then."""
        load_s = self._loads_s.get(role)
        if load_s is None:
            return
        since_s = self._away_since_s.setdefault(role, loop_time_s())
        if since_s + load_s > until_s:
            raise EngineError(
                f"The engine is being loaded again, for some {load_s:.0f} s; "
                f"requests wait {self._wait_s:g} s.",
                code="engine_process_missing",
            )

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def ask(self, role: RemoteRole, work: Work) -> Any:
        """Has work done; asks the next process, once, where the present one dies over it.

        Raises: as `Connection.ask`, and `EngineError` where no process came back in time.
        """
        try:
            return await (await self.connection(role)).ask(work)
        except EngineProcessDied:
            return await (await self.connection(role)).ask(work)

    async def stream(
        self, role: RemoteRole, work: Work, again: Work | None = None
    ) -> AsyncGenerator[Any, None]:
        """Yields the items of work; asks the next process, once, where the present one dies before the first.

        Args:
            role: which engine.
            work: what is asked.
            again: what is asked the second time; None for the same.

        Raises: as `ask`.
        """
        begun = False
        try:
            async with aclosing((await self.connection(role)).stream(work)) as items:
                async for item in items:
                    begun = True
                    yield item
            return
        except EngineProcessDied:
            if begun:
                raise
        async with aclosing((await self.connection(role)).stream(again or work)) as items:
            async for item in items:
                yield item
