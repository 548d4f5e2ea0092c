"""The engine process, seen from the media process: started, watched, and started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, assert_never, get_args

from media.clock import thread_time_s
from media.engines.channel import Channel
from media.engines.gpu_pool import GpuPool
from media.engines.link import Connection, EngineLink, EngineProcessDied
from media.engines.protocols import Engines, VadEngine
from media.engines.remote import RemoteLlm, RemoteStt, RemoteTts, RemoteTurnEnd
from media.engines.wire import (
    CameBack,
    Done,
    Failed,
    FallbackLoad,
    FellBack,
    FromEngines,
    GiveBack,
    Hello,
    Item,
    Logged,
    Ping,
    Refused,
    RemoteRole,
    SetLogLevel,
    Unusable,
)
from media.errors import EngineError, VoxtralKokoroError
from server.backoff import SHORT_LIFE_S, delay_s
from server.config import Config
from server.engine_failures import PROCESS, EngineFailures
from server.engine_set import EngineSet
from server.engines import Tell

_log = logging.getLogger(__name__)

REMOTE_ROLES: tuple[RemoteRole, ...] = get_args(RemoteRole)

_CHECKOUT = Path(__file__).resolve().parent.parent

_SOCKET_BUFFER_BYTES = 1 << 20
"""So that what a turn's end is judged by (8 s, 256 KB) goes in one piece; the kernel may give less."""

_BUILD_LIMIT_S = 60.0
"""Its libraries are imported within this time, on a slow disk too."""

_PING_INTERVAL_S = 5.0
_SILENCE_LIMIT_S = 30.0
"""A process that does not answer a ping for so long is stuck, and killed."""

_END_LIMIT_S = 5.0
"""A process that was let go has so long to end by itself."""


@dataclass(frozen=True, slots=True)
class EngineProcessReport:
    """For `/status`.

    Attributes:
        pid: of the present process; None between two.
        restarts: how often it was started again.
        last_end: how the one before ended, in words.
    """

    pid: int | None
    restarts: int
    last_end: str | None


class EngineProcess:
    """The process that carries the engines; one after the other, as they die.

        with EngineProcess(config) as process:         # begins to load
            async with process.engines(vad) as engines:    # built; started by whoever starts engines
                ... process.keep_alive(engine_set, ...)

    Args:
        config: what its engines are built from.
        module: what it runs.
    """

    def __init__(self, config: Config, module: str = "server.engine_host") -> None:
        self.failures = EngineFailures()
        """What it tells of engines that fail."""
        self._config = config
        self._module = module
        self._link = EngineLink(config.performance.engine_wait_s)
        self._present: _Incarnation | None = None
        self._restarts = 0
        self._last_end: str | None = None
        self._replacing = False
        """The present process was ended for an engine's sake."""

    def __enter__(self) -> Self:
        """Starts it, and does not wait for it: this process has its own half to import meanwhile."""
        self._present = self._incarnation()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._present is not None:
            self._present.kill()

    @property
    def report(self) -> EngineProcessReport:
        pid = None if self._present is None else self._present.pid
        return EngineProcessReport(pid, self._restarts, self._last_end)

    @property
    def gpu_pools(self) -> tuple[GpuPool, ...]:
        """What its engines have of GPUs, as it said last."""
        return () if self._present is None else self._present.gpu_pools

    def give_back_gpu_memory(self) -> None:
        """Has it give back what it only keeps for later."""
        if self._present is not None:
            self._present.connection.tell(GiveBack())

    @asynccontextmanager
    async def engines(self, vad: VadEngine) -> AsyncIterator[Engines]:
        """The engines over there, and the one that is here. In the end the process ends.

        Raises:
            EngineError, ModelMissing: they cannot be built, or the process ended.
        """
        try:
            await self._meet()
            link = self._link
            yield Engines(vad, RemoteTurnEnd(link), RemoteStt(link), RemoteLlm(link), RemoteTts(link))
        finally:
            await self._part()

    async def keep_alive(self, engine_set: EngineSet, restarted: Callable[[], None]) -> None:
        """Starts another process each time that it dies, until cancelled.

        One that dies before the engines were ready for the first time is not replaced: starting them fails.

        Args:
            engine_set: the engines, whose states follow.
            restarted: called for each process that is started again.
        """
        await engine_set.until_ready()
        short_lives = 0
        while True:
            assert self._present is not None
            await self._present.until_it_dies()
            lived_s = thread_time_s() - self._present.began_s
            await self._lose(engine_set)
            while True:
                short_lives = short_lives + 1 if lived_s < SHORT_LIFE_S else 0
                await asyncio.sleep(delay_s(short_lives))
                began_s = thread_time_s()
                try:
                    await self._start_again(engine_set, restarted)
                    break
                except VoxtralKokoroError as error:
                    _log.error("the engine process did not come back", extra={"reason": str(error)})
                    self.failures.faults.not_mended(PROCESS)
                    lived_s = thread_time_s() - began_s
                    await self._lose(engine_set)

    def replace(self, reason: str) -> None:
        """Ends the present process, so that `keep_alive` starts another one: nothing less helps its engines.

        Args:
            reason: a sentence.
        """
        if self._present is not None:
            _log.error("the engine process is replaced", extra={"reason": reason})
            self._replacing = True
            self._present.strike()

    async def _start_again(self, engine_set: EngineSet, restarted: Callable[[], None]) -> None:
        self._restarts += 1
        restarted()
        self._present = self._incarnation()
        await self._meet()
        await engine_set.start(REMOTE_ROLES)
        self.failures.process_back()
        _log.info("the engine process is back", extra={"pid": self._present.pid})

    def _incarnation(self) -> _Incarnation:
        return _Incarnation(self._config, self._module, self.failures.take)

    async def _lose(self, engine_set: EngineSet) -> None:
        self._link.lost()
        was_stuck = self._present is not None and self._present.stuck
        await self._part()
        reason = f"The engine process ended: {self._last_end}."
        code = "engine_process_stuck" if was_stuck else "engine_process_died"
        self.failures.process_ended("" if self._replacing else code, reason)
        self._replacing = False
        engine_set.lost(REMOTE_ROLES, reason)
        _log.error("the engine process ended", extra={"reason": self._last_end})

    async def _meet(self) -> None:
        assert self._present is not None, "entered"
        hello = await self._present.hello()
        built_s = thread_time_s() - self._present.began_s
        self._link.connected(self._present.connection, hello.facts, built_s)

    async def _part(self) -> None:
        if self._present is not None:
            self._last_end = _in_words(await self._present.end())
            self._present = None


class _Incarnation:
    """One process, from its start until it was reaped.

    Args:
        config: what its engines are built from.
        module: what it runs.
        tell: given what it tells of engines that fail.
    """

    def __init__(self, config: Config, module: str, tell: Tell) -> None:
        self._tell = tell
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        with theirs, tempfile.TemporaryFile() as configuration:
            pickle.dump(config, configuration)
            configuration.seek(0)
            # faulthandler: where a library crashes, standard error says where. -P: the folder in which the
            # server was started is no place to import from.
            command = [sys.executable, "-X", "faulthandler", "-P", "-m", module]
            paths = [str(_CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid())],
                stdin=configuration,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                # A group of its own: the terminal's Ctrl-C is not for it. Not a session of its own: niceness
                # counts only within a session where the kernel groups by them (sched(7), "autogroup").
                process_group=0,
            )
        self.began_s = thread_time_s()
        self._said: asyncio.Queue[Hello | Refused | None] = asyncio.Queue()
        self._lost = asyncio.Event()
        self._channel = Channel(self._received, self._was_lost)
        self.connection = Connection(self._channel)
        self.stuck = False
        """It answered no ping, and was killed."""
        self.gpu_pools: tuple[GpuPool, ...] = ()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hello(self) -> Hello:
        """Returns when its engines are built.

        Raises:
            EngineError, ModelMissing: they cannot be, or it ended.
        """
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._channel, sock=self._socket)
        try:
            async with asyncio.timeout(_BUILD_LIMIT_S):
                said = await self._said.get()
        except TimeoutError:
            raise EngineError(f"The engine process said nothing for {_BUILD_LIMIT_S:g} s.") from None
        match said:
            case Hello():
                return said
            case Refused(failure=failure):
                raise failure.error()
            case None:
                status = _in_words(await self.end())
                raise EngineError(f"The engine process ended while its engines were built: {status}.")

    async def until_it_dies(self) -> None:
        """Returns when it is gone, or is stuck and should be."""
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_INTERVAL_S):
                    await self._lost.wait()
            self.connection.tell(SetLogLevel(logging.getLogger().level))
            try:
                async with asyncio.timeout(_SILENCE_LIMIT_S):
                    self.gpu_pools = await self.connection.ask(Ping())
            except TimeoutError:
                _log.error("the engine process is stuck", extra={"pid": self.pid})
                self.stuck = True
                self.kill()
                return
            except EngineProcessDied:
                return
            except EngineError:  # it lives, and has logged what it cannot tell
                self.gpu_pools = ()

    async def end(self) -> int:
        """Lets it go, kills it if it does not, and gives its exit status as `subprocess` does."""
        self._channel.close()
        self._socket.close()
        waiting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-process")
        try:
            ended = asyncio.get_running_loop().run_in_executor(waiting, self._process.wait)
            await asyncio.wait({ended}, timeout=_END_LIMIT_S)
            self._process.kill()
            return await ended
        finally:
            self.kill()
            waiting.shutdown(wait=True)

    def strike(self) -> None:
        """Kills it; that it is gone is noticed as ever."""
        self._process.kill()

    def kill(self) -> None:
        """Ends and reaps it at once. May be called at any time, and twice."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _received(self, message: FromEngines) -> None:
        match message:
            case Item() | Done() | Failed():
                self.connection.received(message)
            case Hello() | Refused():
                self._said.put_nowait(message)
            case FellBack() | CameBack() | Unusable() | FallbackLoad():
                self._tell(message)
            case Logged(record=attributes):
                record = logging.makeLogRecord(attributes)
                logger = logging.getLogger(record.name)
                if logger.isEnabledFor(record.levelno):
                    logger.handle(record)
            case _:
                assert_never(message)

    def _was_lost(self) -> None:
        self._said.put_nowait(None)
        self._lost.set()
        self.connection.lost()


def _in_words(status: int) -> str:
    """An exit status as `subprocess` gives it."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
