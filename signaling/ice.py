"""What aioice does not offer: loopback, chosen ports, advertised addresses; letting go of sockets at once.

The only file that touches aioice's insides; tests/signaling/test_ice.py says loudly when they change.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import chain

import aioice.ice
from aioice import Candidate, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCIceTransport

from signaling.settings import IceSettings
from signaling.udp_mux import IceAgent
from signaling.udp_ports import PortRange, SharedPort, UdpPorts

LOOPBACK = "127.0.0.1"

CHECK_INTERVAL_S = 0.02
"""How often aioice, while it looks for a way to the peer, looks whether it was closed."""

_ADVERTISED_PREFERENCE = 65_534
"""Of 65535, which aioice gives to the addresses that the machine has: on a LAN these are the shorter way."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """How a peer connection looks for the addresses at which it can be reached.

    Attributes:
        loopback: offer 127.0.0.1 too.
        ports: where the sockets come from; None lets the system choose their ports.
        advertised: addresses at which others reach this machine, though it does not have them: a NAT's.
    """

    loopback: bool = False
    ports: UdpPorts | None = None
    advertised: tuple[str, ...] = ()


_AS_AIOICE_DOES = Gathering()
_gathering: ContextVar[Gathering] = ContextVar("gathering", default=_AS_AIOICE_DOES)


@contextmanager
def gathered_as(gathering: Gathering) -> Iterator[None]:
    """Within it, whatever gathers candidates does it this way."""
    token = _gathering.set(gathering)
    try:
        yield
    finally:
        _gathering.reset(token)


def loopback_gathered(wanted: bool) -> AbstractContextManager[None]:
    """Within it, what gathers candidates offers 127.0.0.1 too, so that a machine without a network works."""
    return gathered_as(Gathering(loopback=wanted))


@asynccontextmanager
async def gathering_for(settings: IceSettings) -> AsyncIterator[Gathering]:
    """How the server's calls gather. Holds the UDP port that they share, where one is configured.

    Raises:
        ConfigError: `cannot_listen`: the port is not to be had.
    """
    gathering = Gathering(settings.gather_loopback, None, settings.advertised_addresses)
    ports = settings.udp_port_range
    addresses = _local_addresses(settings.gather_loopback)
    if ports is None:
        yield gathering
    elif len(ports) == 1:
        async with SharedPort.opened(ports[0], addresses) as shared:
            yield replace(gathering, ports=shared)
    else:
        yield replace(gathering, ports=PortRange.tried(ports, addresses))


async def free_sockets(transport: RTCIceTransport, timeout_s: float) -> None:
    """Ends a transport of a connection whose own `close` did not finish, within a bounded time."""
    try:
        async with asyncio.timeout(timeout_s):
            await transport.stop()
    except TimeoutError:
        abort_sockets(transport)


def abort_sockets(transport: RTCIceTransport) -> None:
    """Closes a transport's sockets at once, whatever is under way. Nobody is told."""
    for protocol in transport._connection._protocols:
        protocol.transport.abort()


# What aioice does, done otherwise

_get_host_addresses = aioice.ice.get_host_addresses
_get_component_candidates = aioice.ice.Connection.get_component_candidates
_check_incoming = aioice.ice.Connection.check_incoming


def _local_addresses(loopback: bool, use_ipv4: bool = True, use_ipv6: bool = True) -> list[str]:
    """This machine's addresses; loopback last, and only where it is asked for: aioice never lists it."""
    addresses: list[str] = _get_host_addresses(use_ipv4, use_ipv6)
    if use_ipv4 and loopback and LOOPBACK not in addresses:
        addresses.append(LOOPBACK)
    return addresses


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return _local_addresses(_gathering.get().loopback, use_ipv4, use_ipv6)


async def _gather(
    connection: aioice.Connection, component: int, addresses: list[str], timeout: int = 5
) -> list[Candidate]:
    """A connection's candidates, those that are advertised first: SDP's own address line names the first."""
    gathering = _gathering.get()
    if gathering.ports is None:
        found = await _get_component_candidates(connection, component, addresses, timeout)
    else:
        found = await _gather_at(gathering.ports, connection, component, addresses, timeout)
    return [*_advertised(component, gathering.advertised, found), *found]


async def _gather_at(
    ports: UdpPorts, connection: aioice.Connection, component: int, addresses: list[str], timeout_s: int
) -> list[Candidate]:
    """As aioice does it, but with sockets from `ports`."""
    agent = IceAgent(
        connection.local_username, connection.local_password, lambda: aioice.ice.StunProtocol(connection)
    )
    ends = await ports.open(agent, addresses)
    connection._protocols += ends
    for end in ends:
        host, port = end.transport.get_extra_info("sockname")[:2]
        end.local_candidate = _host_candidate(component, host, port)
    # Without addresses, aioice gathers what needs no socket of ours: a TURN server's.
    relayed, *reflexive = await asyncio.gather(
        _get_component_candidates(connection, component, [], timeout_s),
        *(_reflexive(end, connection.stun_server, timeout_s) for end in ends),
    )
    return [*(end.local_candidate for end in ends), *chain(*reflexive), *relayed]


async def _reflexive(
    end: aioice.ice.StunProtocol, stun_server: tuple[str, int] | None, timeout_s: int
) -> list[Candidate]:
    """What a STUN server sees of a socket: one candidate, or none."""
    if stun_server is None or ":" in end.local_candidate.host:
        return []
    try:
        async with asyncio.timeout(timeout_s):
            candidate, _ = await aioice.ice.server_reflexive_candidate(end, stun_server)
    except (TimeoutError, OSError, stun.TransactionError):
        return []
    return [candidate]


def _advertised(component: int, addresses: Sequence[str], found: Sequence[Candidate]) -> list[Candidate]:
    """A candidate for each advertised address and each port: nobody knows which of them leads where."""
    candidates: list[Candidate] = []
    for address in addresses:
        version = ipaddress.ip_address(address).version
        ports = {candidate.port for candidate in found if _is_reachable_host(candidate, version)}
        candidates += [
            _host_candidate(component, address, port, _ADVERTISED_PREFERENCE) for port in sorted(ports)
        ]
    return candidates


def _is_reachable_host(candidate: Candidate, version: int) -> bool:
    address = ipaddress.ip_address(candidate.host)
    return candidate.type == "host" and address.version == version and not address.is_loopback


def _host_candidate(component: int, host: str, port: int, preference: int = 65_535) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host", preference),
        host=host,
        port=port,
        type="host",
    )


def _checked(
    connection: aioice.Connection,
    message: stun.Message,
    address: tuple[str, int],
    end: aioice.ice.StunProtocol,
) -> None:
    """A check that was authenticated. FFmpeg's first WHIP muxer sends no PRIORITY; aioice relies on one."""
    message.attributes.setdefault("PRIORITY", candidate_priority(1, "prflx"))
    _check_incoming(connection, message, address, end)


aioice.ice.get_host_addresses = _host_addresses
aioice.ice.Connection.check_incoming = _checked  # type: ignore[method-assign, assignment]
aioice.ice.Connection.get_component_candidates = _gather  # type: ignore[method-assign, assignment]
