"""Far sides that are slow or odd within a call, and what is asked of them there."""

from __future__ import annotations

import asyncio
import re

import pytest
from sipmessage import Request

from media.errors import ToolError
from signaling.sip.hop import Transport
from signaling.sip.messages import response_to, serialise
from signaling.sip.session_timer import TimerTerms
from tests import virtual_time
from tests.signaling.sip.agents import LIMIT_S, raw_peer, until, with_sdp
from tests.signaling.sip.raw_calls import answer_to, asked, called, voice_and_raw


def test_requests_within_a_call() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw, X_Customer="4711")
            assert taken.party.parameters == {"x-customer": "4711"}

            def make(method: str, cseq: int, body: str = "", kind: str = "") -> Request:
                request = raw.make(method, voice.port, cseq=cseq, to_tag=tag)
                if kind:
                    request.headers.set("Content-Type", kind)
                    request.body = body.encode()
                return request

            for cseq, (method, body, kind, code) in enumerate(
                [
                    ("OPTIONS", "", "", 200),
                    ("INFO", "Signal=5\r\nDuration=160\r\n", "application/dtmf-relay", 200),
                    ("INFO", "Signal= 11\r\n", "application/dtmf-relay", 200),
                    ("INFO", "*", "application/dtmf", 200),
                    ("INFO", "Signal=!\r\n", "application/dtmf-relay", 200),
                    ("INFO", "<media_control/>", "application/media_control+xml", 415),
                    ("INFO", "", "", 200),
                    ("UPDATE", "", "", 200),
                    ("REFER", "", "", 603),
                    ("NOTIFY", "", "", 481),
                    ("MESSAGE", "hello", "text/plain", 405),
                    ("PRACK", "", "", 481),
                    ("UPDATE", "nonsense", "application/sdp", 488),
                    ("INVITE", "nonsense", "application/sdp", 488),
                ],
                start=2,
            ):
                answer = await asked(voice, raw, make(method, cseq, body, kind))
                assert answer.code == code, method
            assert taken.ear.digits == ["5", "#", "*"]
            assert (await asked(voice, raw, make("INFO", 3))).code == 500, "older than one that came"
            assert not taken.over.is_set()
            assert (await asked(voice, raw, make("BYE", 40))).code == 200
            await taken.over.wait()
            assert (await asked(voice, raw, make("INFO", 41))).code == 481

    virtual_time.run(main())


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_held_by_the_far_side(method: str) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)
            for cseq, direction, ours in (
                (2, "sendonly", "recvonly"),
                (3, "inactive", "inactive"),
                (4, "sendrecv", "sendrecv"),
            ):
                request = with_sdp(raw.make(method, voice.port, cseq=cseq, to_tag=tag), direction=direction)
                answer = await asked(voice, raw, request)
                assert answer.code == 200
                assert f"a={ours}".encode() in answer.body
                if method == "INVITE":
                    raw.send(raw.make("ACK", voice.port, cseq=cseq, to_tag=tag), voice.port)
            taken.leg.hang_up()

    virtual_time.run(main())


def test_a_reinvite_without_an_offer() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)
            answer = await asked(voice, raw, raw.make("INVITE", voice.port, cseq=2, to_tag=tag))
            assert answer.code == 200
            assert b"m=audio" in answer.body
            ack = raw.make("ACK", voice.port, cseq=2, to_tag=tag)
            raw.send(with_sdp(ack, direction="sendonly"), voice.port)
            await until(lambda: taken.leg._media.remote_holds)  # type: ignore[attr-defined]
            taken.leg.hang_up()

    virtual_time.run(main())


@pytest.mark.parametrize("late", [False, True])
def test_requests_right_behind_the_ack(late: bool) -> None:
    """All in one segment of TCP: no task that waits for the ACK has had its turn."""

    async def main() -> None:
        async with voice_and_raw(tcp_port=0) as (voice, raw):
            port = voice.sip.endpoint.port(Transport.TCP)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            def made(method: str, cseq: int, tag: str = "") -> Request:
                request = raw.make(method, voice.port, cseq=cseq, to_tag=tag)
                request.headers.set("Via", request.headers["Via"].replace("UDP", "TCP"))
                return request

            async def answered(cseq: str) -> str:
                said = ""
                async with asyncio.timeout(LIMIT_S):
                    while not (found := re.search(rf"SIP/2.0 ([2-6]..)(?:.+\r\n)+CSeq: {cseq}\r\n", said)):
                        said += (await reader.read(65_536)).decode()
                tags = re.search(r"To: .*;tag=(\S+)", found[0])
                assert found[1] == "200"
                return tags[1] if tags else ""

            invite = made("INVITE", 1)
            writer.write(serialise(invite if late else with_sdp(invite)))
            tag = await answered("1 INVITE")
            ack = made("ACK", 1, tag)
            info = made("INFO", 2, tag)
            info.headers.set("Content-Type", "application/dtmf")
            info.body = b"7"
            burst = [with_sdp(ack) if late else ack, info, with_sdp(made("INVITE", 3, tag))]
            writer.write(b"".join(serialise(message) for message in burst))
            await answered("3 INVITE")
            writer.write(serialise(made("ACK", 3, tag)))
            taken = await voice.next_call()
            await until(lambda: taken.ear.digits == ["7"])
            taken.leg.hang_up()
            await taken.over.wait()
            writer.close()

    virtual_time.run(main())


def test_a_second_reinvite_before_the_first_ones_ack() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)
            first = with_sdp(raw.make("INVITE", voice.port, cseq=2, to_tag=tag))
            assert (await asked(voice, raw, first)).code == 200
            second = with_sdp(raw.make("INVITE", voice.port, cseq=3, to_tag=tag))
            raw.send(second, voice.port)
            refusal = await raw.response(500)
            assert 0 <= int(refusal.headers["Retry-After"]) <= 10
            taken.leg.hang_up()

    virtual_time.run(main())


def test_the_far_side_moves() -> None:
    """A re-INVITE's Contact is where requests go from then on (RFC 3261, 12.2.2)."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw), raw_peer() as elsewhere:
            taken, tag = await called(voice, raw)
            contact = f"<sip:raw@127.0.0.1:{elsewhere.port}>"
            request = raw.make("INVITE", voice.port, cseq=2, to_tag=tag, Contact=contact)
            assert (await asked(voice, raw, with_sdp(request))).code == 200
            raw.send(raw.make("ACK", voice.port, cseq=2, to_tag=tag), voice.port)
            await asyncio.sleep(0.1)
            taken.leg.hang_up()
            bye = await elsewhere.request("BYE")
            assert bye.uri.port == elsewhere.port
            elsewhere.send(response_to(bye, 200), voice.port)

    virtual_time.run(main())


def test_the_far_side_moves_as_it_takes_an_offer() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw), raw_peer() as elsewhere:
            taken, _ = await called(voice, raw)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(taken.leg.hold(True))
                answer = answer_to(await raw.request("INVITE"), 200, raw, "")
                answer.headers.set("Contact", f"<sip:raw@127.0.0.1:{elsewhere.port}>")
                raw.send(answer, voice.port)
                assert (await elsewhere.request("ACK")).uri.port == elsewhere.port
            taken.leg.hang_up()
            elsewhere.send(response_to(await elsewhere.request("BYE"), 200), voice.port)

    virtual_time.run(main())


def test_a_far_side_that_is_not_heard() -> None:
    """Its signalling is there, and not one packet of sound."""

    async def main() -> None:
        async with voice_and_raw(rtp={"timeout_s": 5}) as (voice, raw):
            taken, _ = await called(voice, raw)
            raw.send(response_to(await raw.request("BYE"), 200), voice.port)
            await taken.over.wait()
            assert taken.why not in ("", "hung up", "the far side hung up")

    virtual_time.run(main())


def test_proxies_stay_on_the_way() -> None:
    """Record-Route, with a strict router among them (RFC 3261, 12.2.1.1 and 16.12.1.2)."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            near, far = f"<sip:127.0.0.1:{raw.port};lr>", "<sip:far.example.org;lr>"
            taken, _ = await called(voice, raw, Record_Route=f"{near}, {far}", Contact="<sip:raw@192.0.2.7>")
            taken.leg.hang_up()
            bye = await raw.request("BYE")
            assert bye.uri.host == "192.0.2.7"
            assert bye.headers.getlist("Route") == [near, far]

    virtual_time.run(main())


@pytest.mark.parametrize("refresher", ["uac", "uas"])
def test_a_far_side_that_refreshes_or_is_refreshed(refresher: str) -> None:
    async def main() -> None:
        async with voice_and_raw(terms=TimerTerms(0, 10)) as (voice, raw):
            taken, tag = await called(
                voice, raw, Session_Expires=f"20;refresher={refresher}", Supported="timer", Allow="INVITE"
            )
            if refresher == "uas":
                # It does not take UPDATE.
                invite = await raw.request("INVITE")
                assert invite.headers["Session-Expires"] == "20;refresher=uac"
                answer = answer_to(invite, 200, raw, "", sdp=True)
                answer.headers.set("Session-Expires", "20;refresher=uac")
                raw.send(answer, voice.port)
                await raw.request("ACK")
            else:
                await asyncio.sleep(8)
                update = raw.make(
                    "UPDATE", voice.port, cseq=2, to_tag=tag, Session_Expires="20;refresher=uac"
                )
                update.headers.set("Supported", "timer")
                assert (await asked(voice, raw, update)).headers["Session-Expires"] == "20;refresher=uac"
            await asyncio.sleep(9)
            assert not taken.over.is_set()
            await raw.request("BYE")  # nobody has refreshed since
            assert taken.why == "the far side does not answer any more" or refresher == "uas"

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["SIP/2.0 100 Trying", "SIP/2.0 200 OK"], None),
        (["SIP/2.0 486 Busy Here"], "busy"),
        (["SIP/2.0 480 Gone"], "Nobody answers"),
        (["SIP/2.0 603 Decline"], "declined"),
        (["SIP/2.0 404 Not Found"], "no such number"),
        (["bye"], None),
        ([""], "without a word"),
        ([], "does not say"),
    ],
)
def test_a_transfer_and_its_outcome(said: list[str], sentence: str | None) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)

            async def far_side() -> None:
                refer = await raw.request("REFER")
                assert refer.headers["Refer-To"] == "<sip:carol@192.0.2.9>"
                assert refer.headers["Referred-By"].startswith("<sip:voice@")
                raw.send(response_to(refer, 202), voice.port)
                for cseq, line in enumerate(said, start=2):
                    if line == "bye":
                        raw.send(raw.make("BYE", voice.port, cseq=cseq, to_tag=tag), voice.port)
                        return
                    notify = raw.make("NOTIFY", voice.port, cseq=cseq, to_tag=tag, Event="refer")
                    final = line != "SIP/2.0 100 Trying"
                    notify.headers.set("Subscription-State", "terminated" if final else "active;expires=60")
                    notify.headers.set("Content-Type", "message/sipfrag;version=2.0")
                    notify.body = f"{line}\r\n".encode()
                    assert (await asked(voice, raw, notify)).code == 200

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(far_side())
                if sentence is None:
                    await taken.leg.transfer("sip:carol@192.0.2.9")
                else:
                    with pytest.raises(ToolError, match=sentence):
                        await taken.leg.transfer("sip:carol@192.0.2.9")
                    assert not taken.over.is_set(), "the call goes on"
            taken.leg.hang_up()

    virtual_time.run(main())


def test_a_number_is_handed_on_to_as_one_of_the_far_side() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, _ = await called(voice, raw)

            async def far_side() -> None:
                refer = await raw.request("REFER")
                assert refer.headers["Refer-To"] == f"<sip:+4930123@127.0.0.1:{raw.port};user=phone>"
                raw.send(response_to(refer, 603), voice.port)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(far_side())
                with pytest.raises(ToolError, match="refuses"):
                    await taken.leg.transfer("+4930123")
            taken.leg.hang_up()

    virtual_time.run(main())


def test_a_transfer_that_nobody_waits_for_any_more_ends_the_call_all_the_same() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(taken.leg.transfer("sip:carol@192.0.2.9"))
                raw.send(response_to(await raw.request("REFER"), 202), voice.port)
                await asyncio.sleep(1)
                waiting.cancel()
            notify = raw.make("NOTIFY", voice.port, cseq=2, to_tag=tag, Event="refer")
            notify.headers.set("Subscription-State", "terminated")
            notify.headers.set("Content-Type", "message/sipfrag;version=2.0")
            notify.body = b"SIP/2.0 200 OK\r\n"
            assert (await asked(voice, raw, notify)).code == 200
            await raw.request("BYE")
            assert taken.why == "transferred"

    virtual_time.run(main())
