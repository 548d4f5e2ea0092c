"""SIPp and an endpoint of ours: what is lost is repeated by both, and neither is confused by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from signaling.sip.endpoint import SipEndpoint
from signaling.sip.hop import Transport
from signaling.sip.incoming import ServerTransaction
from signaling.sip.settings import SipSettings
from signaling.sip.transactions import Timers
from tests.peers.sipp import Counts, Sipp, played, sipp
from tests.signaling.sip.sip_texts import ack_of, new_request

LIMIT_S = 90.0
TIMERS = Timers(t1_s=0.2)

Answering = Callable[[ServerTransaction], Awaitable[None]]


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main

    asyncio.run(bounded())


@asynccontextmanager
async def station(answer: Answering) -> AsyncIterator[SipEndpoint]:
    """An endpoint that answers each request in a task of its own."""
    async with asyncio.TaskGroup() as tasks:

        def begin(server: ServerTransaction) -> None:
            tasks.create_task(_answered(server))

        async def _answered(server: ServerTransaction) -> None:
            await answer(server)

        settings = SipSettings(udp_port=0, tcp_port=0)
        async with SipEndpoint(settings, begin, admits=lambda ip: True, timers=TIMERS) as endpoint:
            yield endpoint


async def unexpected(server: ServerTransaction) -> None:
    raise AssertionError(server.request.method)


async def scenario(
    endpoint: SipEndpoint, folder: Path, name: str, transport: Literal["udp", "tcp"] = "udp", calls: int = 1
) -> Sipp:
    """SIPp calls."""
    port = endpoint.port(Transport(transport.upper()))
    return await asyncio.to_thread(played, folder, name, port, transport=transport, calls=calls)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_whose_answer_is_not_acknowledged(tmp_path: Path, transport: Literal["udp", "tcp"]) -> None:
    acknowledged: list[bool] = []

    async def answer(server: ServerTransaction) -> None:
        if server.request.method == "INVITE":
            server.respond(server.response(180))
            await asyncio.sleep(0.5)
        server.respond(server.response(200))
        if server.request.method == "INVITE":
            acknowledged.append(await server.acknowledged() is not None)

    async def main() -> None:
        async with station(answer) as endpoint:
            # Over TCP, SIPp takes nothing for a repetition: each is written down.
            name = "is_slow_to_acknowledge" if transport == "udp" else "is_slow_to_acknowledge_over_tcp"
            called = await scenario(endpoint, tmp_path, name, transport, calls=2)
            assert called.messages().count("SIP/2.0 200 OK") >= 2 * 4, (
                "three for each INVITE, one for each BYE"
            )
            assert acknowledged == [True, True]

    run(main())


def test_a_refusal_that_is_not_acknowledged(tmp_path: Path) -> None:
    async def answer(server: ServerTransaction) -> None:
        server.respond(server.response(486))
        assert await server.acknowledged() is None

    async def main() -> None:
        async with station(answer) as endpoint:
            called = await scenario(endpoint, tmp_path, "is_slow_to_give_in")
            assert called.messages().count("SIP/2.0 486") >= 3

    run(main())


def test_a_call_that_is_cancelled(tmp_path: Path) -> None:
    async def answer(server: ServerTransaction) -> None:
        server.respond(server.response(180))
        await server.cancelled.wait()
        server.respond(server.response(487))

    async def main() -> None:
        async with station(answer) as endpoint:
            await scenario(endpoint, tmp_path, "changes_its_mind")

    run(main())


def test_whom_we_call_takes_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with station(unexpected) as endpoint:
            with sipp(tmp_path, "is_slow_to_answer") as callee:
                client = await endpoint.request(new_request("INVITE", callee.uri))
                response = await client.final_response()
                await asyncio.sleep(1.0)  # SIPp says it again, and again
                client.acknowledge(response, ack_of(client.request, response), client.hop)
                bye = new_request("BYE", callee.uri)
                for name in ("From", "Call-ID"):
                    bye.headers.set(name, client.request.headers[name])
                bye.headers.set("To", response.headers["To"])
                bye.headers.set("CSeq", "2 BYE")
                assert (await (await endpoint.request(bye)).final_response()).code == 200
                counts: Counts = await asyncio.to_thread(callee.until_done)
                assert counts.successful == 1
                story = callee.messages()
            assert story.count("INVITE sip:sipp") >= 2, "it is asked again while it says nothing"
            assert story.count("CSeq: 1 INVITE") > story.count("INVITE sip:sipp") + 2, (
                "its answers came again"
            )

    run(main())


def test_whom_we_call_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with station(unexpected) as endpoint:
            with sipp(tmp_path, "is_cancelled") as callee:
                client = await endpoint.request(new_request("INVITE", callee.uri))
                client.cancel()
                assert (await client.final_response()).code == 487
                await asyncio.to_thread(callee.until_done)

    run(main())
