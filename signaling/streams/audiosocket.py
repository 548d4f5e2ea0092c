"""Where Asterisk's AudioSocket connects: a TCP port of its own."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from media.errors import ConfigError
from signaling.phone.leg import Switchboard
from signaling.streams.audiosocket_frames import HEADER_BYTES, AudioSocketWire, payload_bytes
from signaling.streams.opening import carry
from signaling.streams.settings import StreamsSettings
from signaling.streams.stream_routes import is_within

CLOSE_TIMEOUT_S: Final = 2.0
KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""Seconds, seconds, times: by then it is noticed that the other machine has gone. It may well be silent: a
caller on hold is."""
SEND_BYTES: Final = 16 * 1024
"""Of sound that the system keeps while the other machine does not read: none of it can be taken back. Else it
would keep minutes."""
_READ_BYTES: Final = 128 * 1024

log = logging.getLogger(__name__)


class AudioSocketConnection:
    """`signaling.streams.leg.StreamSocket` over TCP: its messages are whole frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes | None:
        """The next frame; None once there will be no more."""
        try:
            header = await self._reader.readexactly(HEADER_BYTES)
            return header + await self._reader.readexactly(payload_bytes(header))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def send(self, message: str | bytes) -> None:
        """Sends a frame in one piece, at the pace at which Asterisk reads."""
        assert isinstance(message, bytes)
        try:
            self._writer.write(message)
            await self._writer.drain()
        except OSError:
            # It went away meanwhile; `receive` says so too.
            log.debug("a frame was not sent")

    async def close(self) -> None:
        """Closes within a bounded time. May be called twice."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                with suppress(OSError):
                    await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()


@asynccontextmanager
async def audiosocket_listening(
    settings: StreamsSettings, switchboard: Switchboard
) -> AsyncIterator[int | None]:
    """Takes calls until the block ends; those that go on then are cut off. Gives the port; None: it is off.

    Raises:
        ConfigError: the port cannot be bound.
    """
    wanted = settings.audiosocket
    if wanted.port is None:
        yield None
        return
    names = itertools.count(1)
    connections: set[asyncio.Task[None]] = set()
    tasks = asyncio.TaskGroup()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        if not is_within(peer[0] if peer else None, wanted.networks):
            log.warning("a stranger was turned away", extra={"carrier": "audiosocket"})
            writer.transport.abort()
            return
        if len(connections) >= wanted.most_connections:
            log.warning("there are as many connections as there may be", extra={"carrier": "audiosocket"})
            writer.transport.abort()
            return
        prepare(writer)
        call = _carry(AudioSocketConnection(reader, writer), switchboard, settings.ahead_ms / 1000)
        task = tasks.create_task(call, name=f"audiosocket {next(names)}")
        connections.add(task)
        task.add_done_callback(connections.discard)

    try:
        server = await asyncio.start_server(
            connected, wanted.host or None, wanted.port, limit=_READ_BYTES, start_serving=False
        )
    except OSError as error:
        raise _cannot_listen(error, wanted.port) from error
    async with tasks:
        try:
            await server.start_serving()
            port = server.sockets[0].getsockname()[1]
            log.info("taking calls of AudioSocket", extra={"port": port})
            yield port
        finally:
            server.close()
            for task in tuple(connections):
                task.cancel()


def prepare(writer: asyncio.StreamWriter) -> None:
    """Each frame leaves at once, few wait, and an end that is not said is noticed."""
    writer.transport.set_write_buffer_limits(high=0)
    connection: sockets.socket = writer.get_extra_info("socket")
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SEND_BYTES)
    connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(sockets, name):  # Linux
            connection.setsockopt(sockets.IPPROTO_TCP, getattr(sockets, name), value)


async def _carry(connection: AudioSocketConnection, switchboard: Switchboard, ahead_s: float) -> None:
    try:
        await carry(connection, AudioSocketWire(), switchboard, ahead_s=ahead_s)
    except Exception:  # the boundary: whatever breaks one connection ends that connection only
        log.exception("a connection failed", extra={"carrier": "audiosocket"})


def _cannot_listen(error: OSError, port: int) -> ConfigError:
    setting = "streams.audiosocket.port"
    reason = (
        f"Port {port} is in use by another program: stop that one, or set {setting}."
        if error.errno == errno.EADDRINUSE
        else f"Cannot listen on port {port} for AudioSocket: {error.strerror}."
    )
    return ConfigError(reason, code="cannot_listen", param=setting)
