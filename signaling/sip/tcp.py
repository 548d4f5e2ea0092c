"""One connection that carries SIP, over TCP or TLS."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from media.clock import loop_time_s
from signaling.sip.errors import BadMessage
from signaling.sip.framing import PING, PONG, Framer
from signaling.sip.hop import Hop

_MAX_UNSENT_BYTES = 1_000_000
"""What may wait for a far side that does not read; then the connection is cut."""
_CHALLENGE = b"SIP/2.0 401 "
FIRST_MESSAGE_S = 32.0
"""Whoever connects has so long to say something: 64*T1."""


class ConnectionHolder(Protocol):
    """Who is told of what happens to connections."""

    def connection_opened(self, connection: Connection) -> None: ...

    def connection_closed(self, connection: Connection) -> None: ...

    def message_came(self, data: bytes, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One.

    Args:
        holder: told of all that happens.
        hop: who is at the other end.
        idle_timeout_s: closed when nothing comes for so long.
        incoming: they connected to this side.

    Attributes:
        hop: the far side.
        known: this side connected, or something was sent over it: to whoever connected, an answer that was
            more than a challenge.
    """

    def __init__(self, holder: ConnectionHolder, hop: Hop, idle_timeout_s: float, *, incoming: bool) -> None:
        self.hop = hop
        self._incoming = incoming
        self._holder = holder
        self._idle_timeout_s = idle_timeout_s
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()
        self.known = not incoming
        self._deadline_s = 0.0
        self._idle: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> None:
        if self._transport is None:
            return
        self.known = self.known or not data.startswith(_CHALLENGE)
        if self._transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._transport.abort()
        else:
            self._transport.write(data)

    def cut(self) -> None:
        """Ends it soon. What waits to be sent is not."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Cuts it. The socket is closed when this returns."""
        if self._transport is not None:
            self._transport.abort()
            await self._closed.wait()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        first_s = min(FIRST_MESSAGE_S, self._idle_timeout_s) if self._incoming else self._idle_timeout_s
        self._deadline_s = loop_time_s() + first_s
        self._watch()
        self._holder.connection_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()
        self._closed.set()
        self._holder.connection_closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            pieces = self._framer.feed(data)
        except BadMessage:
            self.cut()
            return
        if pieces:
            self._deadline_s = loop_time_s() + self._idle_timeout_s
        for piece in pieces:
            if self._transport is None or self._transport.is_closing():
                return
            if piece == PING:
                # Whoever got no answer yet gets none to this either: they may be a stranger.
                if self.known:
                    self.send(PONG)
            else:
                self._holder.message_came(piece, self)

    def _watch(self) -> None:
        if loop_time_s() >= self._deadline_s:
            self.cut()
        else:
            self._idle = asyncio.get_running_loop().call_at(self._deadline_s, self._watch)
