"""Whole calls over loopback: each codec, encryption, keys, hold, what is lost, and what ends a call."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from media.codecs import CodecName
from signaling.rtp.settings import RtpSettings
from tests.signaling.rtp.rtp_pair import RATE_HZ, agree, buzz, calling, pair, run, snr_db

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
