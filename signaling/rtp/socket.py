"""Where a call's packets come in and go out: a UDP port for RTP, and the next one for RTCP."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, TypeAlias, cast

from media.errors import ServerFull
from signaling.udp_ports import RECEIVE_BUFFER_BYTES, bound_sockets

SETTING: Final = "sip.rtp.ports"
_RETRY_WHEN_USED_UP_S: Final = 5

_PHASES_S: Final = (0.0, 0.01, 0.005, 0.015)

Address: TypeAlias = tuple[str, int]
"""An IP address and a port."""
Taker: TypeAlias = Callable[[bytes, Address], None]

log = logging.getLogger(__name__)


class RtpPorts:
    """The pairs of ports of all calls. The system knows which are taken."""

    def __init__(self, ports: range) -> None:
        first = ports[0] + ports[0] % 2
        self._pairs = range(first, ports[-1], 2)
        self._next = 0
        self._phase = -1

    def next_phase_s(self) -> float:
        """When a call's frames are to leave, after the beat that all share: each time another.

        Telephones are sent packets all the time. If those of thirty calls left together, the last one would
        be some milliseconds late.
        """
        self._phase = (self._phase + 1) % len(_PHASES_S)
        return _PHASES_S[self._phase]

    def bound(self, address: str) -> tuple[socket.socket, socket.socket]:
        """A pair of sockets on an address of this machine: an even port, and the next (RFC 3550, section 11).

        Goes round, so that a pair rests before it is used again: late packets of its last call die out.

        Raises:
            ServerFull: `rtp_ports_used_up`.
        """
        for _ in self._pairs:
            port = self._pairs[self._next]
            self._next = (self._next + 1) % len(self._pairs)
            if (pair := _bound_pair(address, port)) is not None:
                return pair
        raise ServerFull(
            f"All UDP ports of {SETTING} are taken, or {address} is not an address of this machine.",
            retry_after_s=_RETRY_WHEN_USED_UP_S,
            code="rtp_ports_used_up",
        )


class PacketSocket(asyncio.DatagramProtocol):
    """One port. Datagrams are taken where they are received: no queue, and no task's turn."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._transport: asyncio.DatagramTransport | None = None
        loop = asyncio.get_running_loop()
        self._made: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def opened(cls, sock: socket.socket, taker: Taker) -> PacketSocket:
        """Takes over the socket, which is closed with it. Cancelled, it closes it."""
        loop = asyncio.get_running_loop()
        end = cls(taker)
        try:
            await loop.create_datagram_endpoint(lambda: end, sock=sock)
        except asyncio.CancelledError:
            # The transport is there, and uvloop leaves it open: its port would be taken for ever.
            await asyncio.shield(end._made)
            await end.close()
            raise
        return end

    def send(self, datagram: bytes, to: Address) -> None:
        """Sends, or does not: a packet that the system cannot take now is lost like any other."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(datagram, to)

    async def close(self) -> None:
        """Returns when the port is free again."""
        if self._transport is None:
            return
        self._transport.abort()
        await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._made.set_result(None)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._taker(data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there (ICMP), perhaps not yet: RTP goes on regardless."""
        log.debug("a packet was not delivered", extra={"reason": str(exc)})

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


def _bound_pair(address: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """None where one of the two is taken."""
    with ExitStack() as undo:
        pair: list[socket.socket] = []
        for one in (port, port + 1):
            try:
                opened = bound_sockets((address,), one, RECEIVE_BUFFER_BYTES)
            except OSError:
                return None
            for sock in opened:
                pair.append(undo.enter_context(sock))
        if len(pair) != 2:
            return None
        undo.pop_all()
        return pair[0], pair[1]
