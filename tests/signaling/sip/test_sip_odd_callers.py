"""Callers that are slow, odd, old or hostile: their messages are written by hand."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from signaling.sip.messages import to_tag
from tests import virtual_time
from tests.signaling.sip.agents import until, with_sdp
from tests.signaling.sip.raw_calls import asked, voice_and_raw


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
