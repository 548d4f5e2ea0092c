"""SIP's UDP port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from signaling.sip.hop import Hop, Transport


class UdpPort(asyncio.DatagramProtocol):
    """Made by `open_udp_port`.

    Args:
        on_datagram: told of each, with who sent it.
    """

    def __init__(self, on_datagram: Callable[[bytes, Hop], None]) -> None:
        self._on_datagram = on_datagram
        self._transport: asyncio.DatagramTransport | None = None
        self._lost = asyncio.Event()
        self.address = ("", 0)
        """Where it is bound."""

    def send(self, data: bytes, hop: Hop) -> None:
        """Sends a datagram, if the port is open. An address of another family than the port's gets none."""
        if self._transport is not None and (":" in hop.ip) == (":" in self.address[0]):
            self._transport.sendto(data, (hop.ip, hop.port))

    async def close(self) -> None:
        """The port is free when this returns."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own is one only by its methods.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._on_datagram(data, Hop(Transport.UDP, addr[0], addr[1]))


async def open_udp_port(host: str, port: int, on_datagram: Callable[[bytes, Hop], None]) -> UdpPort:
    """Binds it.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: UdpPort(on_datagram), sock=sock)
    return protocol
