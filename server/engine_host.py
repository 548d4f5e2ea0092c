"""The engine process: `python -m server.engine_host SOCKET PARENT`, started by `server.engine_process`.

Its configuration comes on standard input. It ends when the other end of its socket is closed, and dies with
its parent.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from server.environment import prepare_environment, set_thread_switch_interval

if TYPE_CHECKING:
    from media.engines.host import HostedEngines
    from media.engines.wire import FromEngines, ToEngines
    from server.config import Config
    from server.engines import Tell

_CLOSING_LIMIT_S = 2.0
"""Freeing the engines may take so long: nothing of theirs needs to be saved."""

_PR_SET_PDEATHSIG = 1
"""prctl(2), Linux."""

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({})))


def main(build: Callable[[Config, Tell], HostedEngines]) -> None:
    """Serves one media process, to its end.

    Args:
        build: makes the engines, unstarted; given what to tell of those that fail.
    """
    socket_number, parent = map(int, sys.argv[1:])
    # The terminal's Ctrl-C and a service manager's SIGTERM reach both processes. Calls are drained first;
    # when this process is to end, its socket is closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent)
    os.set_inheritable(socket_number, False)
    prepare_environment()
    config: Config = pickle.load(sys.stdin.buffer)
    os.nice(config.performance.engine_niceness)
    set_thread_switch_interval(config.performance.thread_switch_interval_ms)
    with socket.socket(fileno=socket_number) as connection:
        asyncio.run(_serve(connection, config, build))
    # A thread that is still within a step of its engine would hold up the interpreter's own way out.
    sys.stderr.flush()
    os._exit(0)


async def _serve(
    connection: socket.socket, config: Config, build: Callable[[Config, Tell], HostedEngines]
) -> None:
    from media.engines.channel import Channel
    from media.engines.host import EngineHost
    from media.engines.wire import Failure, Hello, Refused
    from media.errors import VoxtralKokoroError

    inbox: asyncio.Queue[ToEngines | None] = asyncio.Queue()
    channel = Channel(inbox.put_nowait, lost=lambda: inbox.put_nowait(None))
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=connection)
    _log_to(channel.send, config.logging.level.upper())
    try:
        engines = build(config, channel.send)
    except VoxtralKokoroError as error:
        channel.send(Refused(Failure.of(error)))
        await inbox.get()  # the other side lets go when it has read it
        return
    channel.send(Hello(engines.facts))
    try:
        await EngineHost(engines, channel.send).serve(_until_none(inbox))
    finally:
        try:
            async with asyncio.timeout(_CLOSING_LIMIT_S):
                await engines.close()
        except TimeoutError:
            pass  # the process's end frees them


async def _until_none(inbox: asyncio.Queue[ToEngines | None]) -> AsyncIterator[ToEngines]:
    while (message := await inbox.get()) is not None:
        yield message


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, however that dies.

    Elsewhere than on Linux the socket's end has to do, which a process that is stuck does not notice.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _log_to(send: Callable[[FromEngines], None], level: str) -> None:
    """Sends log records to the media process, which writes them with its own."""
    from media.engines.wire import Logged

    loop = asyncio.get_running_loop()

    class Outlet(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            attributes = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
            if record.exc_info:
                attributes["exc_text"] = logging.Formatter().formatException(record.exc_info)
            for name in attributes.keys() - _STANDARD_ATTRIBUTES:
                attributes[name] = str(attributes[name])  # fields may be anything; this can be sent
            loop.call_soon_threadsafe(send, Logged(attributes))

    logging.getLogger().addHandler(Outlet())
    logging.getLogger().setLevel(level)


if __name__ == "__main__":
    from server.engines import build_hosted_engines

    main(build_hosted_engines)
