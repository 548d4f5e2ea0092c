"""A bad network between two peers on one machine: a UDP relay that loses, delays, reorders and drops.

It is a NAT: each address that sends to its front gets a socket of its own towards the target, and what comes
back there leaves from the front. Each direction has an impairment, which may change at any time, and a seeded
source of chance, so that the same packets meet the same fate each time.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from media.clock import loop_time_s

Address = tuple[str, int]

LOOPBACK = "127.0.0.1"
LARGEST_DATAGRAM_BYTES = 65_535
_BUFFER_BYTES = 1 << 20
_HEADERS_BYTES = 48
"""IPv6 and UDP; 20 bytes fewer with IPv4, which is why this is on the safe side."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to the packets of one direction.

    Attributes:
        loss: probability that a packet is lost.
        jitter_s: each packet is delayed by a random time up to this; their order stays.
        reordering: probability that a packet is held up, so that later ones overtake it.
        reordering_s: for how long.
        outage: everything is lost.
        held: nothing is lost, but all of it comes at once when this is over.
        mtu_bytes: larger packets, IP and UDP headers included, are dropped. 0 for no limit.
    """

    loss: float = 0.0
    jitter_s: float = 0.0
    reordering: float = 0.0
    reordering_s: float = 0.04
    outage: bool = False
    held: bool = False
    mtu_bytes: int = 0


NONE = Impairment()


@dataclass(slots=True)
class Counts:
    """Packets of one direction."""

    passed: int = 0
    lost: int = 0
    too_large: int = 0
    held_up: int = 0


@dataclass(slots=True)
class Path:
    """One direction."""

    seed: int
    counts: Counts = field(default_factory=Counts)
    _impairment: Impairment = NONE
    _chance: random.Random = field(init=False)
    _last_release_s: float = 0.0
    _withheld: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    @property
    def impairment(self) -> Impairment:
        return self._impairment

    @impairment.setter
    def impairment(self, impairment: Impairment) -> None:
        self._impairment = impairment
        if not impairment.held:
            withheld, self._withheld = self._withheld, []
            for forward in withheld:
                forward()

    def carry(self, size_bytes: int, forward: Callable[[], None]) -> None:
        """A packet has come: forwards it, now or later, or not at all."""
        impairment, counts = self._impairment, self.counts
        # Drawn for each packet, used or not, so that one impairment does not shift another's luck.
        loss, delay, order = (self._chance.random() for _ in range(3))
        if impairment.mtu_bytes and size_bytes + _HEADERS_BYTES > impairment.mtu_bytes:
            counts.too_large += 1
            return
        if impairment.outage or loss < impairment.loss:
            counts.lost += 1
            return
        counts.passed += 1
        if impairment.held:
            self._withheld.append(forward)
            return
        now_s = loop_time_s()
        if order < impairment.reordering:
            counts.held_up += 1
            asyncio.get_running_loop().call_at(now_s + impairment.reordering_s, forward)
            return
        release_s = max(self._last_release_s, now_s + delay * impairment.jitter_s)
        if release_s <= now_s:
            forward()
            return
        # Timers that are due at the same time run in no order.
        self._last_release_s = release_s + 1e-6
        asyncio.get_running_loop().call_at(release_s, forward)


class Relay:
    """The relay for one target. Within the block, `port` is where to send instead.

    Args:
        target: where everything goes.
        seed: of both directions' chance.
    """

    def __init__(self, target: Address, seed: int = 0) -> None:
        self.to_target = Path(2 * seed)
        self.from_target = Path(2 * seed + 1)
        self._target = target
        self._front: socket.socket | None = None
        self._backs: dict[Address, socket.socket] = {}
        """Towards the target, by the address they stand for."""

    @property
    def port(self) -> int:
        assert self._front is not None
        return int(self._front.getsockname()[1])

    async def __aenter__(self) -> Self:
        self._front = self._socket(self._from_caller)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for opened in (self._front, *self._backs.values()):
            assert opened is not None
            loop.remove_reader(opened)
            opened.close()

    def impair(self, impairment: Impairment) -> None:
        """Both directions, from now on."""
        self.to_target.impairment = self.from_target.impairment = impairment

    @contextmanager
    def impaired(self, impairment: Impairment) -> Iterator[None]:
        """Both directions, for as long as the block lasts."""
        self.impair(impairment)
        try:
            yield
        finally:
            self.impair(NONE)

    def _socket(self, receive: Callable[[socket.socket], None]) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        opened.bind((LOOPBACK, 0))
        asyncio.get_running_loop().add_reader(opened, receive, opened)
        return opened

    def _from_caller(self, front: socket.socket) -> None:
        for datagram, caller in _received(front):
            back = self._backs.get(caller)
            if back is None:
                back = self._backs[caller] = self._socket(partial(self._from_target, caller))
            self.to_target.carry(len(datagram), _sending(back, datagram, self._target))

    def _from_target(self, caller: Address, back: socket.socket) -> None:
        assert self._front is not None
        for datagram, _ in _received(back):
            self.from_target.carry(len(datagram), _sending(self._front, datagram, caller))


def _received(from_socket: socket.socket) -> Iterator[tuple[bytes, Address]]:
    while True:
        try:
            yield from_socket.recvfrom(LARGEST_DATAGRAM_BYTES)
        except BlockingIOError:
            return


def _sending(by: socket.socket, datagram: bytes, to: Address) -> Callable[[], None]:
    def send() -> None:
        # A full buffer or a socket that was closed meanwhile: a network loses packets, too.
        with suppress(OSError):
            by.sendto(datagram, to)

    return send
