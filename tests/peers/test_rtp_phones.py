"""Media with telephones that others wrote: each codec, encrypted or not, both ways, keys included."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from tests.peers.baresip_phone import Baresip, Codec, baresip, microphone
from tests.peers.baresip_python_phone import BaresipPython, baresip_python
from tests.signaling.sip.agents import Taken, agent

THEIRS_HZ = 440.0
OURS_HZ = 1100.0
SAID_S = 20.0
LIMIT_S = 60.0
HEARD_S = 1.5


def tone(frequency_hz: float, duration_s: float) -> Audio:
    t = np.arange(round(duration_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    return Audio((8000 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.int16), SPEECH_RATE_HZ)


def purity(audio: Audio, frequency_hz: float) -> float:
    """How much of the last second's power is within 40 Hz of a frequency."""
    samples = audio.as_float32()[-SPEECH_RATE_HZ:]
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SPEECH_RATE_HZ)
    return float(power[np.abs(hertz - frequency_hz) < 40].sum() / power.sum())


async def heard_enough(taken: Taken) -> None:
    """Waits until they have been heard for a while."""

    def loud_s() -> float:
        samples = taken.ear.audio.as_int16()
        return float(np.count_nonzero(np.abs(samples) > 1000)) / SPEECH_RATE_HZ

    async with asyncio.timeout(LIMIT_S):
        while loud_s() < HEARD_S:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)


async def pressed(taken: Taken, digits: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while "".join(taken.ear.digits) != digits:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("codec", "srtp"), [("PCMU", True), ("G722", False), ("opus", True)])
def test_baresip_calls(tmp_path: Path, codec: Codec, srtp: bool) -> None:
    speech = microphone(tmp_path, tone(THEIRS_HZ, SAID_S))
    with baresip(tmp_path / "b", speech, codecs=(codec,), srtp=srtp) as phone:
        taken = asyncio.run(_called_by_baresip(phone))
        heard = phone.heard()
    assert taken.leg._media.quality.codec == codec.lower()  # type: ignore[attr-defined]
    assert taken.leg._media.quality.encrypted is srtp  # type: ignore[attr-defined]
    assert purity(taken.ear.audio, THEIRS_HZ) > 0.95
    assert purity(heard, OURS_HZ) > 0.9
    assert taken.leg.figures.lost_packets <= 5


async def _called_by_baresip(phone: Baresip) -> Taken:
    async with agent() as ours:
        await asyncio.to_thread(phone.call, ours.uri())
        taken = await ours.next_call()
        taken.voice.open("r")
        taken.voice.append("r", tone(OURS_HZ, SAID_S))
        await heard_enough(taken)
        if taken.leg._media.sends_digits:
            await taken.leg.send_digits("7#")
            await asyncio.to_thread(phone.until, "CALL_DTMF_START", param="7")
            await asyncio.to_thread(phone.until, "CALL_DTMF_START", param="#")
        await asyncio.to_thread(phone.press, "195")
        await pressed(taken, "195")
        await asyncio.to_thread(phone.command, "hold")
        await asyncio.to_thread(phone.command, "resume")
        before = len(taken.ear.heard)
        async with asyncio.timeout(LIMIT_S):
            while len(taken.ear.heard) < before + 25:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.05)
        await asyncio.to_thread(phone.hang_up)
        async with asyncio.timeout(LIMIT_S):
            await taken.over.wait()
        return taken


@pytest.mark.parametrize(("codec", "srtp"), [("PCMA", True)])
def test_baresip_python_is_called(tmp_path: Path, codec: Codec, srtp: bool) -> None:
    """A stack five years younger; here the offer is ours."""
    speech = microphone(tmp_path, tone(THEIRS_HZ, SAID_S))
    with baresip_python(tmp_path / "p", codec=codec, srtp=srtp) as phone:
        taken = asyncio.run(_calls_baresip_python(phone, speech, "required" if srtp else "off"))
        heard = phone.heard()
    assert purity(taken.ear.audio, THEIRS_HZ) > 0.95
    assert purity(heard, OURS_HZ) > 0.9


async def _calls_baresip_python(phone: BaresipPython, speech: Path, srtp: str) -> Taken:
    async with agent(rtp={"srtp": srtp}) as ours:
        taken = await ours.call(phone.uri)
        await asyncio.to_thread(phone.until, "established")
        phone.order("say", str(speech))
        taken.voice.open("r")
        taken.voice.append("r", tone(OURS_HZ, SAID_S))
        await heard_enough(taken)
        await taken.leg.send_digits("42")
        assert await asyncio.to_thread(phone.until, "digit") == "4"
        assert await asyncio.to_thread(phone.until, "digit") == "2"
        phone.order("press", "3")
        await pressed(taken, "3")
        await asyncio.to_thread(phone.until_it_hears)
        await asyncio.to_thread(phone.hang_up)
        async with asyncio.timeout(LIMIT_S):
            await taken.over.wait()
        return taken
