"""One UDP socket for many calls: each datagram finds its call, and each call has a socket as if of its own.

The calls share the local address; the remote one tells them apart. A remote address belongs to a call once a
connectivity check from there was authenticated with that call's password (RFC 8445, section 7.3); whatever
comes from it afterwards, DTLS and SRTP (RFC 7983), goes to that call. What belongs to nobody is dropped.

Of aioice this knows a call's `StunProtocol` (what it awaits, how it takes a datagram) and the STUN parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aioice import stun
from aioice.ice import StunProtocol

Address = tuple[str, int]

_FIRST_BYTE_OF_STUN_BELOW = 4
"""RFC 7983, section 7: DTLS, SRTP and SRTCP begin with higher ones."""


@dataclass(frozen=True, slots=True)
class IceAgent:
    """A call's side of ICE.

    Attributes:
        username: its username fragment, which begins the USERNAME of checks that are meant for it.
        password: what those checks are authenticated with.
        make_end: makes its protocol for one more socket.
    """

    username: str
    password: str
    make_end: Callable[[], StunProtocol]

    def is_meant_by(self, request: stun.Message) -> bool:
        """Whether a check is for this call, and its sender knows the password."""
        username = str(request.attributes.get("USERNAME", ""))
        return username.partition(":")[0] == self.username and bool(
            request.check_message_integrity(self.password.encode())
        )


class SharedSocket(asyncio.DatagramProtocol):
    """The socket, and who uses it. Made by `loop.create_datagram_endpoint`."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._links: list[_Link] = []
        self._owners: dict[Address, _Link] = {}
        """By remote address."""
        self._lost = asyncio.Event()

    def attach(self, agent: IceAgent) -> StunProtocol:
        """One more call. It is let go when its transport is closed."""
        end = agent.make_end()
        link = _Link(self, agent, end)
        self._links.append(link)
        end.connection_made(link)
        return end

    def detach(self, link: _Link) -> None:
        """For the link itself."""
        self._links.remove(link)
        self._owners = {address: owner for address, owner in self._owners.items() if owner is not link}

    def send(self, datagram: bytes, to: Address) -> None:
        if self._transport is not None:
            self._transport.sendto(datagram, to)

    def extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    async def close(self) -> None:
        """Takes the socket from all that use it. The port is free when this returns."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own is one only by its methods.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        for link in tuple(self._links):
            link.abort()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        remote = (addr[0], addr[1])
        owner = self._owners.get(remote)
        if data and data[0] < _FIRST_BYTE_OF_STUN_BELOW:
            owner = self._owner_by_stun(data, remote) or owner
        if owner is not None:
            owner.end.datagram_received(data, remote)

    def _owner_by_stun(self, datagram: bytes, remote: Address) -> _Link | None:
        try:
            message = stun.parse_message(datagram)
        except ValueError:
            return None
        if message.message_class is stun.Class.REQUEST:
            # Also from an address that another call had: a NAT may have given it away since.
            owner = next((link for link in self._links if link.agent.is_meant_by(message)), None)
            if owner is not None:
                self._owners[remote] = owner
            return owner
        asked = (link for link in self._links if message.transaction_id in link.end.transactions)
        return next(asked, None)


class _Link(asyncio.DatagramTransport):
    """The shared socket as one call sees it: a transport of its own. Closing it leaves the socket open."""

    def __init__(self, socket: SharedSocket, agent: IceAgent, end: StunProtocol) -> None:
        super().__init__()
        self.agent = agent
        self.end = end
        self._socket = socket
        self._closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._closed:
            self._socket.send(data, addr)

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._socket.detach(self)
        asyncio.get_running_loop().call_soon(self.end.connection_lost, None)

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.extra_info(name, default)
