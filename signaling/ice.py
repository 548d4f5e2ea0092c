"""Two things that aioice does not offer: gathering loopback, and letting go of sockets at once.

The only file that touches aioice's insides; tests/signaling/test_ice.py says loudly when they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aioice.ice
from aiortc import RTCIceTransport

LOOPBACK = "127.0.0.1"

CHECK_INTERVAL_S = 0.02
"""How often aioice, while it looks for a way to the peer, looks whether it was closed."""

_gather_loopback: ContextVar[bool] = ContextVar("gather_loopback", default=False)
_get_host_addresses = aioice.ice.get_host_addresses


def _with_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """aioice's list of addresses, and loopback last where it is asked for: aioice never lists it."""
    addresses: list[str] = _get_host_addresses(use_ipv4, use_ipv6)
    if use_ipv4 and _gather_loopback.get() and LOOPBACK not in addresses:
        addresses.append(LOOPBACK)
    return addresses


aioice.ice.get_host_addresses = _with_loopback


@contextmanager
def loopback_gathered(wanted: bool) -> Iterator[None]:
    """Within it, what gathers candidates offers 127.0.0.1 too, so that a machine without a network works."""
    token = _gather_loopback.set(wanted)
    try:
        yield
    finally:
        _gather_loopback.reset(token)


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
