"""What the relay does to packets, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.udp_relay import LOOPBACK, Address, Impairment, Relay
from media.clock import loop_time_s


@dataclass
class Peer(asyncio.DatagramProtocol):
    """Notes what comes and when; answers it if it is to."""

    answers: bool = False
    received: list[tuple[float, bytes, Address]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.append((loop_time_s(), data, addr))
        self.more.set()
        if self.answers:
            self.transport.sendto(b"re:" + data, addr)

    def send(self, port: int, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.transport.sendto(datagram, (LOOPBACK, port))

    @property
    def address(self) -> Address:
        address: Address = self.transport.get_extra_info("sockname")
        return address

    @property
    def data(self) -> list[bytes]:
        return [data for _, data, _ in self.received]

    async def has(self, count: int) -> None:
        while len(self.received) < count:
            self.more.clear()
            await self.more.wait()


@asynccontextmanager
async def peer(*, answers: bool = False) -> AsyncIterator[Peer]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Peer(answers), local_addr=(LOOPBACK, 0))
    try:
        yield protocol
    finally:
        transport.close()
        await asyncio.sleep(0)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await main()

    asyncio.run(limited())


PACKETS = [bytes([number]) * 100 for number in range(200)]
LAST = b"last"
"""Sent once the impairment is over: when it is there, all that was to come has come."""


async def through(relay_seed: int, impairment: Impairment) -> list[bytes]:
    """What of `PACKETS` came, in its order."""
    async with peer() as target, Relay(target.address, relay_seed) as relay, peer() as caller:
        with relay.impaired(impairment):
            caller.send(relay.port, *PACKETS)
            await relay_has_read(relay, len(PACKETS))
        caller.send(relay.port, LAST)
        while LAST not in target.data or len(target.received) < relay.to_target.counts.passed:
            target.more.clear()
            await target.more.wait()
        return [data for data in target.data if data != LAST]


async def relay_has_read(relay: Relay, count: int) -> None:
    counts = relay.to_target.counts
    while counts.passed + counts.lost + counts.too_large < count:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)


def test_both_sides_reach_each_other_and_callers_are_told_apart() -> None:
    async def main() -> None:
        async with (
            peer(answers=True) as target,
            Relay(target.address) as relay,
            peer() as one,
            peer() as other,
        ):
            one.send(relay.port, b"1")
            other.send(relay.port, b"2")
            await asyncio.gather(one.has(1), other.has(1))
            assert (one.data, other.data) == ([b"re:1"], [b"re:2"])
            assert one.received[0][2] == (LOOPBACK, relay.port)
            assert len({address for _, _, address in target.received}) == 2

    run(main)


def test_losses_are_those_of_the_seed() -> None:
    async def main() -> None:
        impairment = Impairment(loss=0.1)
        first = await through(1, impairment)
        assert first == await through(1, impairment)
        assert first != await through(2, impairment)
        assert len(PACKETS) - len(first) == pytest.approx(20, abs=12)
        assert first == [packet for packet in PACKETS if packet in first]

    run(main)


def test_one_direction_can_be_impaired_alone() -> None:
    async def main() -> None:
        async with peer(answers=True) as target, Relay(target.address) as relay, peer() as caller:
            relay.from_target.impairment = Impairment(outage=True)
            caller.send(relay.port, b"1")
            await target.has(1)
            while not relay.from_target.counts.lost:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
            relay.from_target.impairment = Impairment()
            caller.send(relay.port, b"2")
            await caller.has(1)
            assert caller.data == [b"re:2"]

    run(main)


def test_jitter_delays_and_keeps_the_order() -> None:
    async def main() -> None:
        begun_s = loop_time_s()
        assert await through(1, Impairment(jitter_s=0.06)) == PACKETS
        assert loop_time_s() - begun_s > 0.04

    run(main)


def test_reordering_loses_nothing() -> None:
    async def main() -> None:
        came = await through(1, Impairment(reordering=0.1, reordering_s=0.02))
        assert sorted(came) == PACKETS
        assert came != PACKETS

    run(main)


def test_an_outage_loses_everything_and_a_stall_nothing() -> None:
    async def main() -> None:
        assert await through(1, Impairment(outage=True)) == []
        assert await through(1, Impairment(held=True)) == PACKETS

    run(main)


def test_what_is_larger_than_the_mtu_is_dropped() -> None:
    async def main() -> None:
        async with peer() as target, Relay(target.address) as relay, peer() as caller:
            relay.impair(Impairment(mtu_bytes=1280))
            caller.send(relay.port, b"x" * 1233, b"y" * 1232)
            await target.has(1)
            assert target.data == [b"y" * 1232]
            assert relay.to_target.counts.too_large == 1

    run(main)
