"""Far sides that are called, and are slow or odd."""

from __future__ import annotations

import asyncio

import pytest
from sipmessage import Request

from signaling.phone.leg import NotAnswered
from signaling.sip.fields import parse_address
from signaling.sip.messages import response_to, to_tag
from tests import virtual_time
from tests.signaling.sip.agents import agent, raw_peer, until, with_sdp
from tests.signaling.sip.raw_calls import answer_to, asked, called, dialled, voice_and_raw


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
