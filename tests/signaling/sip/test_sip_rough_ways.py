"""Calls whose far side, or whose way there, is not what it says; and what this side must not tell anybody."""

from __future__ import annotations

import asyncio
import re

import pytest
from sipmessage import Request, Response

from signaling.phone.leg import NotAnswered
from signaling.sip.hop import Transport
from signaling.sip.inbound_call import InboundCall
from signaling.sip.messages import parse, response_to, serialise, to_tag
from signaling.sip.session_timer import TimerTerms
from tests import virtual_time
from tests.signaling.sip.agents import agent, raw_peer, with_sdp
from tests.signaling.sip.raw_calls import answer_to, called, voice_and_raw


def test_the_server_stops_while_it_rings() -> None:
    async def main() -> None:
        async with raw_peer() as raw:
            async with agent(answer_after_s=20.0) as voice:
                raw.send(with_sdp(raw.invite(voice.port)), voice.port)
                await raw.response(180)
            refusal = await raw.response()
            assert refusal.code == 503
            while not raw.silent:
                assert isinstance(await raw.message(), Response), (
                    "there is no dialog yet that a BYE could end"
                )

    virtual_time.run(main())


def test_a_contact_that_there_is_not() -> None:
    """Phones behind a NAT, and those in browsers, are where their INVITE came from."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, _ = await called(voice, raw, Contact="<sip:raw@a..b>")
            taken.leg.hang_up()
            bye = await raw.request("BYE")
            assert bye.uri.host == "a..b"
            raw.send(response_to(bye, 200), voice.port)
            await taken.over.wait()

    asyncio.run(main())  # names are looked up in a thread


def test_the_far_side_comes_over_another_connection() -> None:
    """A telephone behind a NAT lost its connection, made another, and is reached over that."""

    async def main() -> None:
        async with asyncio.timeout(20), voice_and_raw(tcp_port=0) as (voice, raw):
            port = voice.sip.endpoint.port(Transport.TCP)
            tag = ""

            def text(method: str, cseq: int) -> bytes:
                request = raw.make(method, voice.port, cseq=cseq, to_tag=tag, Contact="<sip:raw@127.0.0.1:9>")
                request.headers.set("Via", request.headers["Via"].replace("UDP", "TCP"))
                return serialise(with_sdp(request) if method == "INVITE" else request)

            async def response(reader: asyncio.StreamReader) -> Response:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"Content-Length: ([0-9]+)", head)
                    message = parse(head + await reader.readexactly(int(length[1]) if length else 0))
                    assert isinstance(message, Response)
                    if message.code >= 200:
                        return message

            first, writing = await asyncio.open_connection("127.0.0.1", port)
            writing.write(text("INVITE", 1))
            tag = to_tag(await response(first)) or ""
            writing.write(text("ACK", 1))
            taken = await voice.next_call()
            writing.close()
            await writing.wait_closed()
            second, writing = await asyncio.open_connection("127.0.0.1", port)
            writing.write(text("INFO", 2))
            assert (await response(second)).code == 200
            taken.leg.hang_up()
            bye = parse(await second.readuntil(b"\r\n\r\n"))
            assert isinstance(bye, Request)
            assert bye.method == "BYE"
            writing.write(serialise(response_to(bye, 200)))
            await taken.over.wait()
            writing.close()
            await writing.wait_closed()

    asyncio.run(main())


def test_a_flood_of_strangers_does_not_take_the_calls_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, _ = await called(voice, raw)
            asked: list[InboundCall] = []

            def addresses(call: InboundCall) -> set[str]:
                asked.append(call)
                return {"203.0.113.1"}

            monkeypatch.setattr(InboundCall, "addresses", property(addresses))
            await asyncio.sleep(1)
            assert not any(voice.sip._admits("203.0.113.9") for _ in range(100))
            assert all(voice.sip._admits("203.0.113.1") for _ in range(100))
            assert len(asked) == 1
            await asyncio.sleep(1)
            voice.sip._admits("203.0.113.9")
            assert len(asked) == 2
            taken.leg.hang_up()
            raw.send(response_to(await raw.request("BYE"), 200), voice.port)
            await taken.over.wait()

    virtual_time.run(main())


def test_a_challenge_is_not_repeated() -> None:
    """Whoever asks under another's address would have this side send ten times as much there."""

    async def main() -> None:
        users = [{"name": "raw", "password": "secret"}]
        async with voice_and_raw(access={"users": users}) as (voice, raw):
            raw.send(with_sdp(raw.invite(voice.port)), voice.port)
            await raw.response(401)
            assert voice.sip.endpoint.transactions == 0
            await asyncio.sleep(40)
            assert raw.silent

    virtual_time.run(main())


def test_a_far_side_that_says_it_takes_updates_and_does_not() -> None:
    async def main() -> None:
        async with voice_and_raw(terms=TimerTerms(interval_s=90)) as (voice, raw):
            taken, _ = await called(voice, raw, Allow="INVITE, UPDATE")
            update = await raw.request("UPDATE")
            raw.send(response_to(update, 405), voice.port)
            invite = await raw.request("INVITE")
            raw.send(answer_to(invite, 200, raw, "raw"), voice.port)
            await raw.request("ACK")
            taken.leg.hang_up()
            raw.send(response_to(await raw.request("BYE"), 200), voice.port)
            await taken.over.wait()

    virtual_time.run(main())


def test_a_password_is_not_shown_where_a_call_is_redirected_to() -> None:
    async def main() -> None:
        async with raw_peer() as other, raw_peer() as raw:
            account = {"uri": f"sip:me@localhost:{raw.port}", "password": "secret", "registers": False}
            async with agent(max_redirects=1, may_call=lambda target: True, accounts=[account]) as voice:

                async def far_sides() -> None:
                    invite = await raw.request("INVITE")
                    moved = response_to(invite, 302, "Moved", to_tag="a")
                    moved.headers.set("Contact", f"<sip:other@127.0.0.1:{other.port}>")
                    raw.send(moved, voice.port)
                    asking = response_to(await other.request("INVITE"), 401, to_tag="b")
                    asking.headers.set("WWW-Authenticate", 'Digest realm="pbx", nonce="n", qop="auth"')
                    other.send(asking, voice.port)
                    await other.request("ACK")

                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(far_sides())
                    with pytest.raises(NotAnswered) as refused:
                        await voice.sip.dial("+4930123456", None, lambda: None)
                assert refused.value.sip_status == 401
                assert other.silent

    asyncio.run(main())  # names are looked up in a thread
