"""Whose a datagram is that comes to the shared socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aioice import stun
from aioice.candidate import Candidate
from aioice.ice import StunProtocol

from signaling.udp_mux import IceAgent, SharedSocket

HERE = ("127.0.0.1", 5000)
THERE = ("127.0.0.1", 6000)
DTLS = b"\x16\xfe\xfd"


@dataclass
class Call:
    """What aioice's `StunProtocol` tells its connection, noted."""

    username: str
    data: list[bytes] = field(default_factory=list)
    checks: list[tuple[str, int]] = field(default_factory=list)
    lost: bool = False

    @property
    def password(self) -> str:
        return f"secret-of-{self.username}"

    def data_received(self, data: bytes, component: int) -> None:
        self.data.append(data)

    def request_received(self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        self.checks.append(addr)

    def protocol_lost(self, protocol: StunProtocol) -> None:
        self.lost = True

    def check(self, password: str | None = None) -> bytes:
        """A connectivity check that is meant for this call."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self.username}:peer"
        request.add_message_integrity((password or self.password).encode())
        return bytes(request)


class Wire(asyncio.DatagramTransport):
    """Notes what is sent. (The sockets themselves are tested with real calls.)"""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append((bytes(data), addr))


def attached(shared: SharedSocket, call: Call) -> StunProtocol:
    agent = IceAgent(call.username, call.password, lambda: StunProtocol(call))  # type: ignore[arg-type]
    end = shared.attach(agent)
    end.local_candidate = Candidate("1", 1, "udp", 1, *HERE, "host")
    return end


def shared_by(*calls: Call) -> tuple[SharedSocket, Wire, list[StunProtocol]]:
    shared, wire = SharedSocket(), Wire()
    shared.connection_made(wire)
    return shared, wire, [attached(shared, call) for call in calls]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_an_authenticated_check_tells_whose_an_address_is() -> None:
    async def main() -> None:
        one, other = Call("one1"), Call("two2")
        shared, _, _ = shared_by(one, other)
        shared.datagram_received(DTLS, THERE)
        shared.datagram_received(other.check(), THERE)
        shared.datagram_received(DTLS, THERE)
        assert (one.data, one.checks) == ([], [])
        assert (other.data, other.checks) == ([DTLS], [THERE])

    run(main)


def test_a_check_with_another_password_claims_nothing_and_is_not_answered() -> None:
    async def main() -> None:
        call = Call("one1")
        shared, wire, _ = shared_by(call)
        shared.datagram_received(call.check(password="guessed"), THERE)
        shared.datagram_received(DTLS, THERE)
        assert (call.data, call.checks, wire.sent) == ([], [], [])

    run(main)


def test_two_calls_may_have_the_same_username() -> None:
    class Namesake(Call):
        password = "another one"

    async def main() -> None:
        one, other = Call("same"), Namesake("same")
        shared, _, _ = shared_by(one, other)
        shared.datagram_received(other.check(), THERE)
        assert (one.checks, other.checks) == ([], [THERE])

    run(main)


def test_an_address_that_a_nat_gave_to_another_caller_is_that_callers() -> None:
    async def main() -> None:
        vanished, fresh = Call("one1"), Call("two2")
        shared, _, _ = shared_by(vanished, fresh)
        for call in (vanished, fresh):
            shared.datagram_received(call.check(), THERE)
        shared.datagram_received(DTLS, THERE)
        assert (vanished.data, fresh.data) == ([], [DTLS])

    run(main)


def test_an_answer_goes_to_whoever_asked() -> None:
    async def main() -> None:
        one, other = Call("one1"), Call("two2")
        shared, wire, (_, end) = shared_by(one, other)
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(end.request(request, THERE))
            await asyncio.sleep(0)
            assert wire.sent == [(bytes(request), THERE)]
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            shared.datagram_received(bytes(answer), THERE)
            assert (await asking)[1] == THERE
        # Nobody awaits it any more.
        shared.datagram_received(bytes(answer), THERE)

    run(main)


def test_what_is_nobodys_is_dropped() -> None:
    async def main() -> None:
        call = Call("one1")
        shared, wire, _ = shared_by(call)
        for datagram in (b"", b"\x00", b"\x00" * 20, DTLS, b"\x80" * 200, stun_indication()):
            shared.datagram_received(datagram, THERE)
        assert (call.data, call.checks, wire.sent) == ([], [], [])

    run(main)


def stun_indication() -> bytes:
    return bytes(stun.Message(stun.Method.BINDING, stun.Class.INDICATION))


def test_a_call_that_closes_is_told_and_nothing_comes_to_it_any_more() -> None:
    async def main() -> None:
        closing, staying = Call("one1"), Call("two2")
        shared, wire, (end, other_end) = shared_by(closing, staying)
        other = ("127.0.0.1", 6001)
        shared.datagram_received(closing.check(), THERE)
        shared.datagram_received(staying.check(), other)
        await end.close()
        assert closing.lost
        shared.datagram_received(DTLS, THERE)
        shared.datagram_received(DTLS, other)
        await end.send_data(b"late", THERE)
        await other_end.send_data(b"on time", other)
        assert (closing.data, staying.data) == ([], [DTLS])
        assert wire.sent == [(b"on time", other)]

    run(main)


def test_ipv6_addresses_lose_what_sockets_add_to_them() -> None:
    async def main() -> None:
        call = Call("one1")
        shared, _, _ = shared_by(call)
        shared.datagram_received(call.check(), ("2001:db8::1", 6000, 0, 0))
        shared.datagram_received(DTLS, ("2001:db8::1", 6000, 0, 0))
        assert (call.checks, call.data) == ([("2001:db8::1", 6000)], [DTLS])

    run(main)
