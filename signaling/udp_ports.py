"""Which UDP ports the calls' media takes, where it is not the system that chooses: `ice.udp_ports`."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Protocol

from aioice.ice import StunProtocol

from media.errors import ConfigError, ServerFull
from signaling.udp_mux import IceAgent, SharedSocket

SETTING = "ice.udp_ports"
RECEIVE_BUFFER_BYTES = 262_144
"""Of a call's own socket, as aioice has it; the system may allow less."""
SHARED_RECEIVE_BUFFER_BYTES = 4 * RECEIVE_BUFFER_BYTES

_RETRY_WHEN_USED_UP_S = 5

log = logging.getLogger(__name__)


class UdpPorts(Protocol):
    """Where the calls get their sockets."""

    async def open(self, agent: IceAgent, addresses: Iterable[str]) -> list[StunProtocol]:
        """The call's protocols, one for each local address that can be bound.

        Whoever calls closes their transports; that gives the ports back.

        Raises:
            ServerFull: `udp_ports_used_up`.
        """


class PortRange:
    """A port for each call, the same on every local address. The system knows which are taken."""

    def __init__(self, ports: range) -> None:
        self._ports = ports
        self._next = 0

    @classmethod
    def tried(cls, ports: range, addresses: Iterable[str]) -> PortRange:
        """The range, of which at least one port can be taken now.

        Raises:
            ConfigError: none can.
        """
        reasons = set()
        for port in ports:
            try:
                for sock in bound_sockets(addresses, port, RECEIVE_BUFFER_BYTES):
                    sock.close()
            except OSError as error:
                reasons.add(str(error.strerror))
                continue
            return cls(ports)
        raise ConfigError(
            f"No UDP port from {ports[0]} to {ports[-1]} can be taken"
            f" ({', '.join(sorted(reasons))}): set {SETTING}.",
            code="cannot_listen",
            param=SETTING,
        )

    async def open(self, agent: IceAgent, addresses: Iterable[str]) -> list[StunProtocol]:
        loop = asyncio.get_running_loop()
        ends: list[StunProtocol] = []
        for sock in self._bound(tuple(addresses)):
            _, end = await loop.create_datagram_endpoint(agent.make_end, sock=sock)
            ends.append(end)
        return ends

    def _bound(self, addresses: tuple[str, ...]) -> list[socket.socket]:
        """Goes round, so that a port rests before it is used again: late packets of its last call die out."""
        for _ in self._ports:
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            with suppress(OSError):
                return bound_sockets(addresses, port, RECEIVE_BUFFER_BYTES)
        raise ServerFull(
            f"All UDP ports of {SETTING} are taken. Try again in a moment.",
            retry_after_s=_RETRY_WHEN_USED_UP_S,
            code="udp_ports_used_up",
        )


class SharedPort:
    """One port for all calls. `opened` makes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: dict[str, SharedSocket] = {}
        """By local address: an answer must leave from the address that was asked."""
        self._opening = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, addresses: Iterable[str]) -> AsyncIterator[SharedPort]:
        """Holds the port for as long as the block lasts.

        Args:
            port: to bind.
            addresses: this machine's, as they are now; one that comes later is bound when a call needs it.

        Raises:
            ConfigError: another program has the port, or this one may not take it.
        """
        shared = cls(port)
        try:
            for address in addresses:
                try:
                    await shared._socket(address)
                except OSError as error:
                    raise _cannot_bind(error, address, port) from error
            yield shared
        finally:
            await shared._close()

    async def open(self, agent: IceAgent, addresses: Iterable[str]) -> list[StunProtocol]:
        ends = []
        for address in addresses:
            try:
                opened = await self._socket(address)
            except OSError as error:
                log.warning(
                    "an address cannot be bound", extra={"address": address, "reason": error.strerror}
                )
                continue
            if opened is not None:
                ends.append(opened.attach(agent))
        return ends

    async def _socket(self, address: str) -> SharedSocket | None:
        """The socket on a local address; None if the machine does not have that address any more.

        Raises:
            OSError: it cannot be bound.
        """
        async with self._opening:
            if address not in self._sockets:
                for sock in bound_sockets((address,), self._port, SHARED_RECEIVE_BUFFER_BYTES):
                    loop = asyncio.get_running_loop()
                    _, self._sockets[address] = await loop.create_datagram_endpoint(SharedSocket, sock=sock)
            return self._sockets.get(address)

    async def _close(self) -> None:
        for opened in self._sockets.values():
            await opened.close()
        self._sockets.clear()


def bound_sockets(addresses: Iterable[str], port: int, receive_buffer_bytes: int) -> list[socket.socket]:
    """A UDP socket on each of the addresses that this machine has (one may be about to go, or to come).

    Raises:
        OSError: one of them cannot have the port; none of them is bound then.
    """
    bound: list[socket.socket] = []
    with ExitStack() as undo:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            try:
                sock.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    sock.close()
                    continue
                raise
            bound.append(sock)
        undo.pop_all()
    return bound


def _cannot_bind(error: OSError, address: str, port: int) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            reason = (
                f"UDP port {port} on {address} is in use by another program: stop that one, or set {SETTING}."
            )
        case errno.EACCES:
            reason = (
                f"UDP port {port} on {address} needs privileges that this program has not: set {SETTING}."
            )
        case _:
            reason = f"UDP port {port} on {address} cannot be taken: {error.strerror}."
    return ConfigError(reason, code="cannot_listen", param=SETTING)
