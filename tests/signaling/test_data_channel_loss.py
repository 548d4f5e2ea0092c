"""Two of aiortc's associations over a link that loses what the test names, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport

from signaling.data_channel_loss import INITIAL_S, make_up_for_loss
from tests import virtual_time

INIT_ACK = 2
"""RFC 9260, section 3.2: a chunk's first byte is its type; it follows a header of 12 bytes."""


class Link:
    """One end of what DTLS would carry.

    Args:
        is_server: in the handshake that never was.
    """

    state = "connected"

    def __init__(self, is_server: bool) -> None:
        self._role = "server" if is_server else "client"
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self._receiver: Any = None

    async def carry(self, far: Link, lost: Callable[[bytes], bool]) -> None:
        """What this end sends comes to the other one, but for what is lost."""
        while True:
            packet = await self.sent.get()
            if not lost(packet) and far._receiver is not None:
                await far._receiver._handle_data(packet)

    def _register_data_receiver(self, receiver: Any) -> None:
        self._receiver = receiver

    def _unregister_data_receiver(self, _receiver: Any) -> None:
        self._receiver = None

    async def _send_data(self, data: bytes) -> None:
        self.sent.put_nowait(data)


def first_init_ack_lost() -> Callable[[bytes], bool]:
    came = False

    def lost(packet: bytes) -> bool:
        nonlocal came
        first = packet[12] == INIT_ACK and not came
        came = came or first
        return first

    return lost


async def states_after(duration_s: float, make_up: Callable[[RTCSctpTransport], None]) -> list[str]:
    """Of both ends' associations, each of which loses the other's first answer."""
    links = [Link(is_server=True), Link(is_server=False)]
    ends = [RTCSctpTransport(link) for link in links]  # type: ignore[arg-type]
    for end in ends:
        make_up(end)
    async with asyncio.TaskGroup() as tasks:
        for end in ends:
            await end.start(RTCSctpTransport.getCapabilities(), 5000)
        carrying = [
            tasks.create_task(link.carry(far, first_init_ack_lost()))
            for link, far in zip(links, reversed(links), strict=True)
        ]
        await asyncio.sleep(duration_s)
        states = [end.state for end in ends]
        for end in ends:
            await end.stop()
        for task in carrying:
            task.cancel()
    return states


def test_two_that_lost_both_answers_come_together() -> None:
    states = virtual_time.run(states_after(INITIAL_S + 0.1, make_up_for_loss))
    assert states == ["connected", "connected"]


def test_aiortc_alone_never_does() -> None:
    """The day that this fails, `make_up_for_loss` has less to do."""
    states = virtual_time.run(states_after(60, lambda end: None))
    assert states == ["closed", "closed"]


@pytest.mark.parametrize("late_s", [0, 5, 20])
def test_a_peer_whose_dtls_stands_late_has_its_channel(late_s: int) -> None:
    async def main() -> None:
        near, far = Link(is_server=True), Link(is_server=False)
        ours, theirs = RTCSctpTransport(near), RTCSctpTransport(far)  # type: ignore[arg-type]
        make_up_for_loss(ours)
        opened: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        ours.on("datachannel", opened.set_result)
        async with asyncio.TaskGroup() as tasks:
            await ours.start(RTCSctpTransport.getCapabilities(), 5000)
            carrying = [
                tasks.create_task(link.carry(to, lambda packet: False))
                for link, to in ((near, far), (far, near))
            ]
            await asyncio.sleep(late_s)
            RTCDataChannel(theirs, RTCDataChannelParameters(label="events"))
            await theirs.start(RTCSctpTransport.getCapabilities(), 5000)
            async with asyncio.timeout(1):
                assert (await opened).label == "events"
            for end in (theirs, ours):
                await end.stop()
            for task in carrying:
                task.cancel()

    virtual_time.run(main())


def test_a_peer_that_never_comes_is_not_asked_for_ever() -> None:
    async def main() -> None:
        ours = RTCSctpTransport(Link(is_server=True))  # type: ignore[arg-type]
        make_up_for_loss(ours)
        await ours.start(RTCSctpTransport.getCapabilities(), 5000)
        await asyncio.sleep(26.5)
        assert ours.state == "connecting"
        await asyncio.sleep(1)
        assert ours.state == "closed"

    virtual_time.run(main())


def test_an_aiortc_that_was_not_tested_keeps_its_timing(caplog: pytest.LogCaptureFixture) -> None:
    class Changed:
        """Its timeout is elsewhere."""

    make_up_for_loss(Changed())  # type: ignore[arg-type]
    assert "not the one that was tested" in caplog.text
