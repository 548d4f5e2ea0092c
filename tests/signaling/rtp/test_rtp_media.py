"""Whole calls over loopback: each codec, encryption, keys, hold, what is lost, and what ends a call."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from media.codecs import CodecName
from signaling.rtp.media import RtpMedia
from signaling.rtp.sdp import NotAcceptable
from signaling.rtp.settings import RtpSettings
from signaling.rtp.socket import RtpPorts
from tests.free_ports import free_ports
from tests.signaling.rtp.rtp_pair import RATE_HZ, End, agree, buzz, calling, pair, run, snr_db

FEWEST_SNR_DB: dict[CodecName, float] = {"opus": 8.0, "g722": 18.0, "pcmu": 25.0, "pcma": 25.0}
"""Of the buzz at 16 kHz, against itself as the codec's band has it."""


def banded(rate_hz: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The buzz at 16 kHz, without what this sampling rate cannot carry."""
    from media.resampler import resample

    return resample(resample(buzz(1.0), rate_hz), RATE_HZ).as_int16()


@pytest.mark.parametrize("codec", ["opus", "g722", "pcmu", "pcma"])
@pytest.mark.parametrize("srtp", ["off", "required"])
def test_each_codec_carries_a_voice_both_ways(codec: CodecName, srtp: Any) -> None:
    async def call() -> None:
        wishes = RtpSettings(codecs=(codec,), srtp=srtp, comfort_noise=False)
        async with pair(wishes, wishes) as (caller, called):
            agree(caller, called)
            caller.say(buzz(1.0))
            called.say(buzz(1.0))
            async with calling(caller, called):
                await asyncio.sleep(2.0)
            for end in (caller, called):
                assert end.media.quality.codec == codec
                assert end.media.quality.encrypted is (srtp == "required")
                assert end.media.figures.lost_packets == 0
                assert abs(end.ear.audio.duration_s - 2.0) < 0.1
                sent = banded(8_000 if codec in ("pcmu", "pcma") else RATE_HZ)
                heard = end.ear.audio.as_int16()
                if codec != "opus":
                    assert snr_db(sent, heard, 1600) > FEWEST_SNR_DB[codec]
                else:
                    assert level(heard) == pytest.approx(level(sent), rel=0.3)

    run(call())


def level(samples: np.ndarray[Any, np.dtype[np.int16]]) -> float:
    return float(np.sqrt(np.mean(np.square(samples[: RATE_HZ * 4 // 5], dtype=np.float64))))


def test_keys_are_heard_once_each_and_in_order() -> None:
    async def call() -> None:
        async with pair() as (caller, called):
            agree(caller, called)
            caller.say(buzz(3.0))
            async with calling(caller, called):
                await asyncio.sleep(0.3)
                assert caller.media.sends_digits
                await caller.media.send_digits("0123456789*#ABCD11")
                await called.media.send_digits("42")
                await asyncio.sleep(0.2)
            assert "".join(called.ear.digits) == "0123456789*#ABCD11"
            assert "".join(caller.ear.digits) == "42"
            assert called.media.figures.lost_packets == 0

    run(call())


def test_a_call_of_which_nothing_comes_ends_but_not_while_it_is_held() -> None:
    async def call() -> None:
        short = RtpSettings(timeout_s=5.0)
        async with pair(short, short) as (caller, called):
            agree(caller, called)
            caller.media.hold(True)
            called.media.answer(caller.media.offer())
            assert called.media.remote_holds is True
            loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(called.run())
                await asyncio.sleep(20.0)
                assert not task.done()
                caller.media.hold(False)
                called.media.answer(caller.media.offer())
                began_s = loop.time()
                await task
            assert called.ended == "nothing came from the far side for 5 s"
            assert loop.time() - began_s == pytest.approx(5.0, abs=0.1)

    run(call())


def version_of(sdp: str) -> int:
    (line,) = [line for line in sdp.splitlines() if line.startswith("o=")]
    return int(line.split()[2])


def test_a_description_has_another_version_when_it_says_something_else() -> None:
    async def call() -> None:
        async with pair() as (caller, called):
            offer, answer = agree(caller, called)
            again = caller.media.offer()
            assert version_of(again) == version_of(offer)
            caller.media.withdraw()
            # A refresh of the session: nothing changes, and the early answer may come again.
            assert called.media.answer(offer) == answer
            caller.media.accept(answer)
            caller.media.hold(True)
            held = caller.media.offer()
            assert version_of(held) == version_of(offer) + 1
            assert "a=sendonly" in held
            caller.media.accept(called.media.answer(held))
            assert called.media.remote_holds
            assert not caller.media.remote_holds

    run(call())


def test_whoever_asks_for_an_offer_gets_all_codecs_and_what_stands_keeps_its_payload_types() -> None:
    """A PBX that transfers the call hands it to somebody who may speak another codec."""

    async def call() -> None:
        async with pair(RtpSettings(srtp="required")) as (end, _):
            key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
            begin = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/SAVP "
            opus = "a=rtpmap:97 opus/48000/2\r\na=rtpmap:96 telephone-event/48000\r\n"
            answer = end.media.answer(f"{begin}97 96\r\n{opus}{key}")
            end.media.hold(True)
            assert "RTP/SAVP 97 96\r\n" in end.media.offer()
            end.media.withdraw()
            end.media.hold(False)
            offer = end.media.offer(anew=True)
            assert "RTP/SAVP 97 96 9 0 8 101 13\r\n" in offer
            for line in ("a=rtpmap:97 opus/48000/2", "a=rtpmap:96 telephone-event/48000", "a=sendrecv"):
                assert line in offer
            # Our key is what it was.
            keys = [[line for line in sdp.splitlines() if "crypto" in line] for sdp in (answer, offer)]
            assert keys[0] == keys[1]
            end.media.accept(f"{begin}0 101\r\na=rtpmap:101 telephone-event/8000\r\n{key}")
            assert end.media.quality.codec == "pcmu"
            assert end.media.sends_digits

    run(call())


def test_what_is_refused_changes_nothing() -> None:
    async def call() -> None:
        async with pair() as (caller, called):
            with pytest.raises(NotAcceptable):
                caller.media.accept("v=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1")
            _, answer = agree(caller, called)
            caller.say(buzz(3.0))
            called.say(buzz(3.0))
            async with calling(caller, called):
                await asyncio.sleep(0.5)
                for text in (
                    "",
                    answer.replace("127.0.0.1", "224.0.0.1"),
                    answer.replace("IP4 127.0.0.1", "IP6 ::1"),
                ):
                    with pytest.raises(NotAcceptable):
                        called.media.answer(text)
                    caller.media.offer()
                    with pytest.raises(NotAcceptable):
                        caller.media.accept(text)
                    caller.media.withdraw()
                await asyncio.sleep(0.5)
            assert caller.ear.audio.duration_s == pytest.approx(1.0, abs=0.1)
            assert called.ear.audio.duration_s == pytest.approx(1.0, abs=0.1)

    run(call())


def test_keys_and_codecs_may_change_within_a_call() -> None:
    """A re-INVITE of a far side that has begun anew, as after a transfer: another end under the same call."""

    async def call() -> None:
        secure = RtpSettings(srtp="required", codecs=("pcmu", "g722"))
        async with pair(secure, secure) as (caller, called), pair(secure) as (other, _):
            agree(caller, called)
            for end in (caller, called, other):
                end.say(buzz(3.0))
            async with calling(called):
                async with calling(caller):
                    await asyncio.sleep(0.5)
                heard = called.ear.audio.duration_s
                agree(other, called)
                async with calling(other):
                    await asyncio.sleep(0.5)
            assert heard == pytest.approx(0.5, abs=0.05)
            assert called.ear.audio.duration_s == pytest.approx(1.0, abs=0.1)
            assert other.ear.audio.duration_s == pytest.approx(0.5, abs=0.05)
            assert called.media.quality.foreign <= 2

    run(call())


def test_no_key_encrypts_again_after_that_of_another_suite() -> None:
    async def call() -> None:
        async with pair() as (end, _):
            keys = []
            for suite in ("80", "32", "32", "80"):
                key = (
                    f"a=crypto:1 AES_CM_128_HMAC_SHA1_{suite} inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
                )
                answer = end.media.answer(
                    f"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/SAVP 0\r\n{key}\r\n"
                )
                keys.append([line for line in answer.splitlines() if "crypto" in line])
            assert keys[1] == keys[2]
            assert len({str(key) for key in keys}) == 3

    run(call())


def test_no_key_encrypts_again_once_media_went_without() -> None:
    async def call() -> None:
        async with pair() as (caller, called), pair(RtpSettings(srtp="off")) as (plain, _):
            _, first = agree(caller, called)
            _, second = agree(plain, called)
            _, third = agree(caller, called)
            keys = [
                [line for line in answer.splitlines() if line.startswith("a=crypto")]
                for answer in (first, second, third)
            ]
            assert keys[0]
            assert not keys[1]
            assert keys[2]
            assert keys[0] != keys[2]

    run(call())


@pytest.mark.parametrize("srtp", ["off", "required"])
def test_reports_tell_both_sides_how_it_goes(srtp: Any) -> None:
    async def call() -> None:
        wishes = RtpSettings(srtp=srtp)
        async with pair(wishes, wishes) as (caller, called):
            agree(caller, called)
            caller.say(buzz(20.0))
            lag_s = caller.voice.heard_lag_s
            async with calling(caller, called):
                await asyncio.sleep(20.0)
            for end in (caller, called):
                quality = end.media.quality
                assert quality.round_trip_s == pytest.approx(0.0, abs=0.01)
                assert quality.remote_lost == 0.0
                assert quality.remote_jitter_s == pytest.approx(0.0, abs=0.005)
                assert quality.jitter_s < 0.005
            assert caller.voice.heard_lag_s == pytest.approx(lag_s, abs=0.01)

    run(call())


def test_calls_by_ipv6() -> None:
    async def call() -> None:
        ports = RtpPorts(free_ports(10))
        async with (
            RtpMedia(RtpSettings(), ports, "::1") as one,
            RtpMedia(RtpSettings(), ports, "::1") as other,
        ):
            caller, called = End(one), End(other)
            offer, _ = agree(caller, called)
            assert "c=IN IP6 ::1" in offer
            caller.say(buzz(2.0))
            async with calling(caller, called):
                await asyncio.sleep(1.0)
            assert called.ear.audio.duration_s == pytest.approx(1.0, abs=0.1)

    run(call())


def test_calls_on_uvloop() -> None:
    """As the server runs; in real time."""
    uvloop = pytest.importorskip("uvloop")

    async def call() -> None:
        async with pair() as (caller, called):
            agree(caller, called)
            called.say(buzz(1.0))
            async with calling(caller, called):
                await called.media.send_digits("5")
                async with asyncio.timeout(30):
                    while not caller.ear.digits or not caller.ear.heard:  # noqa: ASYNC110 - there is no event
                        await asyncio.sleep(0.02)
            assert caller.ear.digits == ["5"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())
