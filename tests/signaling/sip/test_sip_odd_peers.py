"""Far sides that are slow, odd, old or hostile: their messages are written by hand."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sipmessage import Message, Request, Response

from media.errors import ToolError
from signaling.phone.leg import NotAnswered
from signaling.sip.fields import parse_address
from signaling.sip.hop import Transport
from signaling.sip.messages import response_to, serialise, to_tag
from signaling.sip.session_timer import TimerTerms
from tests import virtual_time
from tests.signaling.sip.agents import LIMIT_S, Agent, RawPeer, Taken, agent, raw_peer, until, with_sdp


@asynccontextmanager
async def voice_and_raw(**section: Any) -> AsyncIterator[tuple[Agent, RawPeer]]:
    async with agent(**section) as voice, raw_peer() as raw:
        yield voice, raw


async def called(voice: Agent, raw: RawPeer, **headers: str) -> tuple[Taken, str]:
    """A call that the raw side places. Returns it and our tag."""
    raw.send(with_sdp(raw.invite(voice.port, **headers)), voice.port)
    answer = await raw.response(200)
    tag = to_tag(answer) or ""
    raw.send(raw.make("ACK", voice.port, to_tag=tag), voice.port)
    return await voice.next_call(), tag


async def asked(voice: Agent, raw: RawPeer, request: Message) -> Response:
    raw.send(request, voice.port)
    return await raw.response()


def answer_to(invite: Request, code: int, raw: RawPeer, tag: str, *, sdp: bool = True) -> Message:
    response = response_to(invite, code, to_tag=tag)
    response.headers.set("Contact", f"<sip:raw@127.0.0.1:{raw.port}>")
    return with_sdp(response) if sdp else response


@asynccontextmanager
async def dialled(voice: Agent, raw: RawPeer) -> AsyncIterator[tuple[asyncio.Task[Taken], Request]]:
    """A call to the raw side, as far as its INVITE."""
    async with asyncio.TaskGroup() as tasks:
        dialling = tasks.create_task(voice.call(f"sip:raw@127.0.0.1:{raw.port}"))
        yield dialling, await raw.request("INVITE")


# Calls that come


def test_a_delayed_offer() -> None:
    """RFC 3261, 13.2.1: the INVITE has no SDP; ours is in the 2xx, theirs in the ACK."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            raw.send(raw.invite(voice.port), voice.port)
            answer = await raw.response(200)
            assert b"m=audio" in answer.body
            ack = raw.make("ACK", voice.port, to_tag=to_tag(answer) or "")
            raw.send(with_sdp(ack), voice.port)
            taken = await voice.next_call()
            taken.leg.hang_up()
            assert (await raw.request("BYE")).uri.port == raw.port

    virtual_time.run(main())


def test_a_delayed_offer_without_an_answer() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            raw.send(raw.invite(voice.port), voice.port)
            answer = await raw.response(200)
            raw.send(raw.make("ACK", voice.port, to_tag=to_tag(answer) or ""), voice.port)
            await raw.request("BYE")
            assert voice.desk.calls.empty()

    virtual_time.run(main())


def test_the_ack_is_lost() -> None:
    """RFC 3261, 13.3.1.4: the 2xx is repeated for 64*T1, and then the call is ended."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            raw.send(with_sdp(raw.invite(voice.port)), voice.port)
            repeated = [await raw.response(200) for _ in range(5)]
            assert len({answer.headers["To"] for answer in repeated}) == 1
            await raw.request("BYE")
            assert voice.desk.calls.empty(), "who hears nothing is not talked to"
            await until(lambda: voice.desk.free == 10)

    virtual_time.run(main())


def test_a_late_ack_is_in_time() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            raw.send(with_sdp(raw.invite(voice.port)), voice.port)
            await raw.response(200)
            again = await raw.response(200)
            raw.send(raw.make("ACK", voice.port, to_tag=to_tag(again) or ""), voice.port)
            (await voice.next_call()).leg.hang_up()

    virtual_time.run(main())


def test_it_is_called_off_while_it_rings() -> None:
    async def main() -> None:
        async with voice_and_raw(answer_after_s=20.0) as (voice, raw):
            invite = raw.invite(voice.port)
            raw.send(with_sdp(invite), voice.port)
            await raw.response(180)
            cancel = raw.make("CANCEL", voice.port)
            cancel.headers.setlist("Via", invite.headers.getlist("Via"))
            raw.send(cancel, voice.port)
            codes = {(await raw.response()).code for _ in range(2)}
            assert codes == {200, 487}
            await until(lambda: voice.sip.calls == 0)

    virtual_time.run(main())


def test_a_bye_while_it_rings() -> None:
    """RFC 3261, 15: a caller may end an early dialog by BYE."""

    async def main() -> None:
        async with voice_and_raw(answer_after_s=20.0) as (voice, raw):
            raw.send(with_sdp(raw.invite(voice.port)), voice.port)
            tag = to_tag(await raw.response(180)) or ""
            raw.send(raw.make("BYE", voice.port, cseq=2, to_tag=tag), voice.port)
            codes = {(await raw.response()).code for _ in range(2)}
            assert codes == {200, 487}

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Require": "100rel"}, 420),
        ({"Require": "timer"}, 200),
        ({"Contact": "nonsense"}, 400),
        ({"Session_Expires": "30", "Supported": "timer"}, 422),
        ({"Session_Expires": "soon", "Supported": "timer"}, 400),
        ({"Content_Type": "multipart/mixed;boundary=x"}, 415),
        ({"Record_Route": "<sip:unclosed"}, 400),
    ],
)
def test_invites_with_odd_headers(headers: dict[str, str], code: int) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            invite = with_sdp(raw.invite(voice.port))
            for name, value in headers.items():
                invite.headers.set(name.replace("_", "-"), value)
            answer = await asked(voice, raw, invite)
            assert answer.code == code
            assert to_tag(answer)
            if code == 420:
                assert answer.headers["Unsupported"] == "100rel"
            if code == 422:
                assert answer.headers["Min-SE"] == "90"
            if code == 415:
                assert "application/sdp" in answer.headers["Accept"]
            if code == 200:
                raw.send(raw.make("ACK", voice.port, to_tag=to_tag(answer) or ""), voice.port)
                (await voice.next_call()).leg.hang_up()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("OPTIONS", 200),
        ("REGISTER", 405),
        ("MESSAGE", 405),
        ("SUBSCRIBE", 489),
        ("NOTIFY", 489),
        ("BYE", 481),
    ],
)
def test_requests_outside_of_calls(method: str, code: int) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            answer = await asked(voice, raw, raw.make(method, voice.port))
            assert answer.code == code
            if code in (200, 405):
                assert "INVITE" in answer.headers["Allow"]
            strange = raw.make("INFO", voice.port, to_tag="unknown")
            assert (await asked(voice, raw, strange)).code == 481

    virtual_time.run(main())


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER", "BYE"])
@pytest.mark.parametrize(
    "access", [{}, {"networks": ["192.0.2.0/24"]}, {"users": [{"name": "alice", "password": "x"}]}]
)
def test_scanners_get_nothing(method: str, access: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.INFO, "signaling.sip.access")
        async with voice_and_raw(access=access) as (voice, raw):
            for cseq in range(1, 6):
                raw.send(raw.make(method, voice.port, cseq=cseq), voice.port)
            raw.send(raw.make(method, voice.port, cseq=9, to_tag="guessed"), voice.port)
            await asyncio.sleep(40)
            assert raw.silent
            assert voice.sip.calls == 0
        assert len(caplog.records) == 1, "one line, however many they are"

    virtual_time.run(main())


# Within a call


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


# Calls that are placed


def test_the_2xx_is_repeated_and_acknowledged_each_time() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            async with dialled(voice, raw) as (dialling, invite):
                answer = answer_to(invite, 200, raw, "a")
                raw.send(answer, voice.port)
                first = await raw.request("ACK")
                raw.send(answer, voice.port)
                second = await raw.request("ACK")
                assert (
                    first.headers["CSeq"]
                    == second.headers["CSeq"]
                    == invite.headers["CSeq"].replace("INVITE", "ACK")
                )
            dialling.result().leg.hang_up()

    virtual_time.run(main())


def test_whoever_is_called_may_hang_up() -> None:
    """Also one who may not call."""

    async def main() -> None:
        async with voice_and_raw(access={}) as (voice, raw):
            async with dialled(voice, raw) as (dialling, invite):
                raw.send(answer_to(invite, 200, raw, "a"), voice.port)
                await raw.request("ACK")
            bye = raw.make("BYE", voice.port)
            bye.headers.set("From", f"{invite.headers['To']};tag=a")
            bye.headers.set("To", invite.headers["From"])
            bye.headers.set("Call-ID", invite.headers["Call-ID"])
            assert (await asked(voice, raw, bye)).code == 200
            await dialling.result().over.wait()
            await until(lambda: voice.sip.calls == 0)
            raw.send(raw.make("OPTIONS", voice.port, cseq=3), voice.port)
            await asyncio.sleep(40)
            assert raw.silent

    virtual_time.run(main())


def test_of_several_who_answer_the_first_is_talked_to() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            async with dialled(voice, raw) as (dialling, invite):
                for tag in ("a", "b", "c"):
                    raw.send(answer_to(invite, 180, raw, tag, sdp=False), voice.port)
                for tag in ("b", "c", "a"):
                    raw.send(answer_to(invite, 200, raw, tag), voice.port)
                byes = [await raw.request("BYE") for _ in range(2)]
                for bye in byes:
                    raw.send(response_to(bye, 200), voice.port)
                assert {to_tag(bye) for bye in byes} == {"a", "c"}
            taken = dialling.result()
            assert not taken.over.is_set()
            taken.leg.hang_up()
            assert to_tag(await raw.request("BYE")) == "b"

    virtual_time.run(main())


@pytest.mark.parametrize("race", [False, True])
def test_it_is_called_off(race: bool) -> None:
    """Where a 2xx crosses our CANCEL, it is acknowledged and ended by BYE (RFC 3261, 9.1 and 15)."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            async with asyncio.TaskGroup() as tasks:
                dialling = tasks.create_task(voice.call(f"sip:raw@127.0.0.1:{raw.port}"))
                invite = await raw.request("INVITE")
                dialling.cancel()
                await asyncio.sleep(0.2)
                while not raw.silent:  # repeated, and no CANCEL among them
                    message = await raw.message()
                    assert isinstance(message, Request)
                    assert message.method == "INVITE"
                raw.send(answer_to(invite, 180, raw, "a", sdp=False), voice.port)
                cancel = await raw.request("CANCEL")
                assert cancel.headers["Via"] == invite.headers["Via"]
                if race:
                    raw.send(answer_to(invite, 200, raw, "a"), voice.port)
                    raw.send(response_to(cancel, 200, to_tag="a"), voice.port)
                    await raw.request("ACK")
                    raw.send(response_to(await raw.request("BYE"), 200), voice.port)
                else:
                    raw.send(response_to(cancel, 200, to_tag="a"), voice.port)
                    raw.send(answer_to(invite, 487, raw, "a", sdp=False), voice.port)
                    await raw.request("ACK")
            await until(lambda: voice.sip.calls == 0)
            assert voice.desk.calls.empty()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (486, "busy"),
        (600, "busy"),
        (603, "refused"),
        (404, "unreachable"),
        (480, "no_answer"),
        (500, "failed"),
    ],
)
def test_refusals(code: int, outcome: str) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            rings: list[None] = []

            async def far_side() -> None:
                invite = await raw.request("INVITE")
                raw.send(response_to(invite, code, to_tag="a"), voice.port)
                await raw.request("ACK")

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(far_side())
                with pytest.raises(NotAnswered) as refused:
                    await voice.sip.dial(f"sip:raw@127.0.0.1:{raw.port}", None, lambda: rings.append(None))
            assert (refused.value.outcome, refused.value.sip_status) == (outcome, code)
            assert not rings

    virtual_time.run(main())


@pytest.mark.parametrize(("redirects", "allowed"), [(0, True), (1, False), (1, True)])
def test_redirections(redirects: int, allowed: bool) -> None:
    async def main() -> None:
        async with raw_peer() as other, raw_peer() as raw:
            async with agent(max_redirects=redirects, may_call=lambda target: allowed) as voice:

                async def far_side() -> None:
                    invite = await raw.request("INVITE")
                    moved = response_to(invite, 302, "Moved", to_tag="a")
                    moved.headers.set("Contact", f"<tel:+1900>, <sip:other@127.0.0.1:{other.port}>;q=0.5")
                    raw.send(moved, voice.port)
                    await raw.request("ACK")
                    if redirects and allowed:
                        invite = await other.request("INVITE")
                        assert invite.uri.user == "other"
                        other.send(answer_to(invite, 200, other, "b"), voice.port)
                        await other.request("ACK")

                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(far_side())
                    if redirects and allowed:
                        (await voice.call(f"sip:raw@127.0.0.1:{raw.port}")).leg.hang_up()
                    else:
                        with pytest.raises(NotAnswered) as refused:
                            await voice.call(f"sip:raw@127.0.0.1:{raw.port}")
                        assert refused.value.outcome == "refused"
                        assert other.silent

    virtual_time.run(main())


def test_early_media_and_an_answer_without_a_description() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            async with dialled(voice, raw) as (dialling, invite):
                raw.send(answer_to(invite, 183, raw, "a"), voice.port)
                raw.send(answer_to(invite, 200, raw, "a", sdp=False), voice.port)
                await raw.request("ACK")
            dialling.result().leg.hang_up()

    virtual_time.run(main())


@pytest.mark.parametrize(
    "sdp", ["", "nonsense", "v=0\r\nm=audio 4000 RTP/AVP 99\r\na=rtpmap:99 speex/8000\r\n"]
)
def test_an_answer_that_cannot_be_used_is_ended(sdp: str) -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):

            async def far_side() -> None:
                invite = await raw.request("INVITE")
                answer = answer_to(invite, 200, raw, "a", sdp=bool(sdp))
                if sdp:
                    answer.body = sdp.encode()
                raw.send(answer, voice.port)
                await raw.request("ACK")
                raw.send(response_to(await raw.request("BYE"), 200), voice.port)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(far_side())
                with pytest.raises(NotAnswered) as failed:
                    await voice.call(f"sip:raw@127.0.0.1:{raw.port}")
                assert failed.value.outcome == "failed"

    virtual_time.run(main())


@pytest.mark.parametrize(("body", "code"), [(False, 200), (True, 491)])
def test_an_update_while_it_rings(body: bool, code: int) -> None:
    """PBXs tell so whom one is connected with (RFC 3311)."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            async with dialled(voice, raw) as (dialling, invite):
                raw.send(answer_to(invite, 180, raw, "a", sdp=False), voice.port)
                update = raw.make("UPDATE", voice.port)
                for name, other in (("From", "To"), ("To", "From"), ("Call-ID", "Call-ID")):
                    update.headers.set(name, invite.headers[other])
                update.headers.set("From", f"{invite.headers['To']};tag=a")
                raw.send(with_sdp(update) if body else update, voice.port)
                assert (await raw.response()).code == code
                raw.send(answer_to(invite, 200, raw, "a"), voice.port)
            dialling.result().leg.hang_up()

    virtual_time.run(main())


def test_a_fresh_offer_meets_one_of_theirs() -> None:
    """RFC 3261, 14.1 and 14.2: theirs is refused with 491 while ours is under way."""

    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, tag = await called(voice, raw)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(taken.leg.hold(True))
                ours = await raw.request("INVITE")
                assert b"a=sendonly" in ours.body or b"a=inactive" in ours.body
                theirs = with_sdp(raw.make("INVITE", voice.port, cseq=2, to_tag=tag))
                assert (await asked(voice, raw, theirs)).code == 491
                raw.send(response_to(ours, 491), voice.port)
                again = await raw.request("INVITE")
                assert parse_address(again.headers["From"]).parameters["tag"] == tag
                raw.send(answer_to(again, 200, raw, "", sdp=True), voice.port)
            taken.leg.hang_up()

    virtual_time.run(main())


def test_the_far_side_has_forgotten_the_call() -> None:
    async def main() -> None:
        async with voice_and_raw() as (voice, raw):
            taken, _ = await called(voice, raw)

            async def far_side() -> None:
                raw.send(response_to(await raw.request("INVITE"), 481), voice.port)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(far_side())
                with pytest.raises(Exception, match="481"):
                    await taken.leg.hold(True)
            await taken.over.wait()

    virtual_time.run(main())
