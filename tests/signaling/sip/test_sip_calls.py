"""Whole calls between two user agents of ours: real sockets and real media on loopback, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from media.errors import CallerError, ServerFull, ToolError
from signaling.phone.leg import NotAnswered
from signaling.sip.session_timer import TimerTerms
from tests import virtual_time
from tests.free_ports import free_ports
from tests.signaling.sip.agents import Agent, Taken, agent, until


@asynccontextmanager
async def two(
    alice: dict[str, Any] | None = None, bob: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Agent, Agent]]:
    ports = free_ports(80)
    async with (
        agent(**({"ports": ports[:40]} | (alice or {}))) as one,
        agent(**({"ports": ports[40:]} | (bob or {}))) as other,
    ):
        yield one, other


async def connected(alice: Agent, bob: Agent) -> tuple[Taken, Taken]:
    calling = await alice.call(bob.uri("bob"))
    return calling, await bob.next_call()


async def nobody_calls(*agents: Agent) -> None:
    await until(lambda: all(one.sip.calls == 0 for one in agents))


@pytest.mark.parametrize("who", ["caller", "called"])
def test_a_call_is_answered_carried_and_ended(who: str) -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            calling, called = await connected(alice, bob)
            assert called.party.direction == "inbound"
            assert called.party.called == f"sip:bob@127.0.0.1:{bob.port}"
            assert calling.party.direction == "outbound"
            assert calling.party.call_ref == called.party.call_ref
            await asyncio.sleep(2.0)
            for side in (calling, called):
                assert side.leg.figures.received_packets > 50
                assert side.leg.abilities == {"digits", "transfer"}
            first, second = (calling, called) if who == "caller" else (called, calling)
            first.leg.hang_up()
            await second.over.wait()
            await first.over.wait()
            assert (first.why, second.why) == ("hung up", "the far side hung up")
            await nobody_calls(alice, bob)
            with pytest.raises(ToolError, match="over"):
                await first.leg.send_digits("1")
            with pytest.raises(ToolError, match="over"):
                await first.leg.transfer("sip:carol@127.0.0.1")

    virtual_time.run(main())


def test_keys_are_heard_at_the_other_side() -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            calling, called = await connected(alice, bob)
            await calling.leg.send_digits("12#")
            await asyncio.sleep(0.5)
            assert called.ear.digits == ["1", "2", "#"]
            called.leg.hang_up()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("section", "outcome", "status"),
    [
        ({"slots": 0}, "busy", 486),
        ({"rtp": {"codecs": ["opus"]}}, "failed", 488),
        ({"access": {"networks": ["192.0.2.0/24"]}}, "unreachable", None),
    ],
)
def test_a_call_that_is_not_taken(section: dict[str, Any], outcome: str, status: int | None) -> None:
    async def main() -> None:
        async with two({"rtp": {"codecs": ["pcmu"]}}, section) as (alice, bob):
            with pytest.raises(NotAnswered) as refused:
                await alice.call(bob.uri())
            assert (refused.value.outcome, refused.value.sip_status) == (outcome, status)
            assert bob.desk.calls.empty()

    virtual_time.run(main())


def test_no_port_is_left() -> None:
    async def main() -> None:
        ports = free_ports(45)
        two_pairs = range(ports[40] + ports[40] % 2, ports[40] + ports[40] % 2 + 4)
        async with agent(ports=ports[:40]) as alice, agent(ports=two_pairs) as bob:
            calls = [await connected(alice, bob) for _ in range(2)]
            with pytest.raises(NotAnswered, match="503"):
                await alice.call(bob.uri())
            with pytest.raises(ServerFull):
                await bob.call(alice.uri())
            calls[0][0].leg.hang_up()
            await until(lambda: bob.sip.calls == 1)
            await connected(alice, bob)

    virtual_time.run(main())


def test_a_call_without_a_conversation_is_hung_up() -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            bob.desk.refusal = CallerError("There is no such voice.", code="voice_unavailable")
            calling = await alice.call(bob.uri())
            await calling.over.wait()
            assert calling.why == "the far side hung up"

    virtual_time.run(main())


def test_a_call_that_nobody_takes_over_ends_by_itself() -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            await alice.sip.dial(bob.uri(), None, lambda: None)
            called = await bob.next_call()
            await called.over.wait()
            await nobody_calls(alice, bob)

    virtual_time.run(main())


def test_it_rings_as_long_as_is_configured() -> None:
    async def main() -> None:
        rings: list[float] = []
        loop = asyncio.get_running_loop()
        async with two(bob={"answer_after_s": 3.0}) as (alice, bob):
            leg = await alice.sip.dial(bob.uri(), None, lambda: rings.append(loop.time()))
            assert rings
            assert loop.time() - rings[0] == pytest.approx(3.0, abs=0.2)
            leg.hang_up()

    virtual_time.run(main())


def test_a_call_that_is_called_off_while_it_rings() -> None:
    async def main() -> None:
        async with two(bob={"answer_after_s": 30.0}) as (alice, bob):
            rings = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                dialling = tasks.create_task(alice.sip.dial(bob.uri(), None, rings.set))
                await rings.wait()
                assert bob.desk.free == 9, "the place is taken while it rings"
                dialling.cancel()
            await nobody_calls(alice, bob)
            assert bob.desk.calls.empty()
            assert bob.desk.free == 10

    virtual_time.run(main())


def test_a_call_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with two(bob={"answer_after_s": 60.0}) as (alice, bob):
            monkeypatch.setattr("signaling.sip.outbound_call._RING_LIMIT_S", 5.0)
            with pytest.raises(NotAnswered) as nobody:
                await alice.call(bob.uri())
            assert nobody.value.outcome == "no_answer"
            await nobody_calls(alice, bob)

    virtual_time.run(main())


def test_nobody_is_there() -> None:
    async def main() -> None:
        async with agent() as alice:
            with pytest.raises(NotAnswered) as nobody:
                await alice.call("sip:bob@127.0.0.1:9")
            assert nobody.value.outcome == "unreachable"
            with pytest.raises(CallerError, match="trunk"):
                await alice.call("+4930123456")

    virtual_time.run(main())


@pytest.mark.parametrize("who", ["caller", "called"])
def test_hold_and_resume(who: str) -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            calling, called = await connected(alice, bob)
            holder, held = (calling, called) if who == "caller" else (called, calling)
            await asyncio.sleep(0.5)
            await holder.leg.hold(True)
            assert held.leg._media.remote_holds  # type: ignore[attr-defined]
            await holder.leg.hold(False)
            assert not held.leg._media.remote_holds  # type: ignore[attr-defined]
            before = held.leg.figures.received_packets
            await asyncio.sleep(1.0)
            assert held.leg.figures.received_packets > before + 20
            holder.leg.hang_up()

    virtual_time.run(main())


def test_both_hold_at_once() -> None:
    """RFC 3261, 14.1: both are told 491, wait, and try again, not at the same time."""

    async def main() -> None:
        async with two() as (alice, bob):
            calling, called = await connected(alice, bob)
            await asyncio.sleep(0.2)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(calling.leg.hold(True))
                tasks.create_task(called.leg.hold(True))
            assert called.leg._media.remote_holds  # type: ignore[attr-defined]
            assert calling.leg._media.remote_holds  # type: ignore[attr-defined]
            calling.leg.hang_up()

    virtual_time.run(main())


@pytest.mark.parametrize("interval_s", [(20, 0), (0, 20), (30, 20), (20, 30)])
def test_session_timers_keep_a_call(interval_s: tuple[int, int]) -> None:
    async def main() -> None:
        ours, theirs = (TimerTerms(interval, 10) for interval in interval_s)
        async with two({"terms": ours}, {"terms": theirs}) as (alice, bob):
            calling, called = await connected(alice, bob)
            await asyncio.sleep(100.0)
            assert not calling.over.is_set()
            assert not called.over.is_set()
            calling.leg.hang_up()
            await called.over.wait()

    virtual_time.run(main())


@pytest.mark.parametrize("who", ["caller", "called"])
def test_a_far_side_that_died_in_silence(who: str) -> None:
    """Its signalling is gone, and its media goes on: only the session timer can tell."""

    async def main() -> None:
        terms = TimerTerms(20, 10)
        async with two({"terms": terms}, {"terms": terms}) as (alice, bob):
            calling, called = await connected(alice, bob)
            dead, left = (alice, called) if who == "caller" else (bob, calling)
            dead.sip._receive = lambda transaction: transaction.ignore()  # type: ignore[method-assign]
            dead.sip._endpoint._layer._on_request = dead.sip._receive
            other = calling if left is called else called
            other.leg._usage._timer.disarm()
            async with asyncio.timeout(60):
                await left.over.wait()
            assert left.why == "the far side does not answer any more" or "time" in left.why
            other.leg.hang_up()

    virtual_time.run(main())


def test_a_smaller_session_interval_is_negotiated() -> None:
    async def main() -> None:
        async with two({"terms": TimerTerms(20, 10)}, {"terms": TimerTerms(60, 40)}) as (alice, bob):
            calling, _ = await connected(alice, bob)
            assert calling.leg._usage._timer.interval_s == 40
            calling.leg.hang_up()

    virtual_time.run(main())


def test_transfers_are_refused_politely() -> None:
    async def main() -> None:
        async with two() as (alice, bob):
            calling, called = await connected(alice, bob)
            with pytest.raises(ToolError, match="refuses to transfer"):
                await calling.leg.transfer("sip:carol@127.0.0.1")
            await asyncio.sleep(1.0)
            assert not called.over.is_set()
            calling.leg.hang_up()

    virtual_time.run(main())


WITH_PASSWORD = {"access": {"users": [{"name": "alice", "password": "wonderland"}]}}


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_password_lets_in(algorithm: str) -> None:
    async def main() -> None:
        access = WITH_PASSWORD["access"] | {"algorithms": [algorithm]}
        async with agent(access=access) as bob:
            account = {
                "uri": f"sip:alice@127.0.0.1:{bob.port}",
                "password": SecretStr("wonderland"),
                "registers": False,
            }
            async with agent(accounts=[account]) as alice:
                calling, called = await connected(alice, bob)
                assert called.party.caller == f"sip:alice@127.0.0.1:{bob.port}"
                await calling.leg.hold(True)
                called.leg.hang_up()
                await calling.over.wait()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("account", "outcome"),
    [
        ({"uri": "sip:alice@127.0.0.1:{port}", "password": "guess"}, "refused"),
        ({"uri": "sip:alice@127.0.0.1:{port}"}, "refused"),
        ({"uri": "sip:mallory@127.0.0.1:{port}", "password": "wonderland"}, "unreachable"),
    ],
)
def test_a_wrong_password_does_not(account: dict[str, str], outcome: str) -> None:
    async def main() -> None:
        async with agent(**WITH_PASSWORD) as bob:
            uri = account["uri"].replace("{port}", str(bob.port))
            async with agent(accounts=[account | {"uri": uri, "registers": False}]) as alice:
                with pytest.raises(NotAnswered) as refused:
                    await alice.call(bob.uri())
                assert refused.value.outcome == outcome
                assert bob.desk.calls.empty()

    virtual_time.run(main())


@pytest.mark.parametrize("transport", ["tcp"])
def test_calls_over_tcp(transport: str) -> None:
    async def main() -> None:
        port = free_ports(1)[0]
        async with two({"tcp_port": 0}, {"tcp_port": port}) as (alice, _bob):
            calling = await alice.call(f"sip:bob@127.0.0.1:{port};transport={transport}")
            called = await _bob.next_call()
            await called.leg.hold(True)
            called.leg.hang_up()
            await calling.over.wait()
            assert calling.why == "the far side hung up"

    virtual_time.run(main())


def test_calls_end_when_the_server_stops() -> None:
    async def main() -> None:
        ports = free_ports(80)
        async with agent(ports=ports[:40]) as alice:
            async with agent(ports=ports[40:]) as bob:
                calling, called = await connected(alice, bob)
            assert called.why == "the server stops"
            await calling.over.wait()
            assert calling.why == "the far side hung up"

    virtual_time.run(main())


def test_many_calls_leave_nothing_behind() -> None:
    async def main() -> None:
        async with two({"slots": 40}, {"slots": 40}) as (alice, bob):
            for _ in range(3):
                async with asyncio.TaskGroup() as tasks:
                    dialled = [tasks.create_task(alice.call(bob.uri())) for _ in range(15)]
                for task in dialled:
                    task.result().leg.hang_up()
                await nobody_calls(alice, bob)

    virtual_time.run(main())
