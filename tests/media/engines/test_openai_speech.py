"""A voice behind a scripted endpoint: what it is sent, and every shape in which sound may come."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from media.audio import concatenate
from media.engines.host import ENGINE_HOST
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.protocols import SpeechChunk, SpokenWord, TtsRequest
from media.errors import EngineError, VoiceUnavailable
from media.speech_trim import PAUSE_AFTER_S
from media.wav import wav_bytes
from tests.openai_endpoint import (
    Answer,
    Endpoint,
    Exchange,
    event,
    refuses,
    sends,
    sends_and_cuts,
    sends_and_hangs,
)

QUICK = Patience(connect_s=1.0, first_s=2.0, idle_s=0.3, retries_s=(0.02, 0.05))
CLAUSE = TtsRequest("How are you?", "alloy")
PCM = "audio/pcm"
RATE_HZ = 24_000
EIGHT_BIT = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data\1\0\0\0\0"
QUESTION_PAUSE_S = PAUSE_AFTER_S["?"]


def tone(duration_s: float, rate_hz: int = RATE_HZ) -> npt.NDArray[np.int16]:
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (10_000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)


def surrounded(rate_hz: int = RATE_HZ) -> npt.NDArray[np.int16]:
    """A second of sound between silences, as models make it."""
    before, after = np.zeros(round(0.3 * rate_hz), np.int16), np.zeros(round(0.5 * rate_hz), np.int16)
    return np.concatenate([before, tone(1.0, rate_hz), after])


def cut(data: bytes, size: int = 4801) -> list[bytes]:
    """Anywhere: also within a sample."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def speaks(samples: npt.NDArray[np.int16], content_type: str = PCM) -> Answer:
    return sends(*cut(samples.astype("<i2").tobytes()), content_type=content_type)


@asynccontextmanager
async def connected(
    *answers: Answer, voices: Any = None, owner: str = "somebody", **more: Any
) -> AsyncIterator[tuple[Endpoint, OpenAiSpeech]]:
    async with Endpoint(answers, voices=voices, owner=owner).running() as endpoint:
        more = {"voice": "alloy", "patience": QUICK} | more
        tts = OpenAiSpeech(endpoint.base_url, "a-model", **more)
        await tts.start()
        try:
            yield endpoint, tts
        finally:
            await tts.close()


async def spoken(tts: OpenAiSpeech, request: TtsRequest = CLAUSE) -> list[SpeechChunk]:
    async with aclosing(tts.speak(request)) as chunks:
        return [chunk async for chunk in chunks]


async def rest(chunks: AsyncIterator[SpeechChunk]) -> None:
    async for _ in chunks:
        pass


def whole(chunks: list[SpeechChunk]) -> npt.NDArray[np.float32]:
    return concatenate([chunk.audio for chunk in chunks], RATE_HZ).as_float32()


def test_a_clause_is_sent_and_its_sound_begins_before_it_is_whole() -> None:
    async def main() -> None:
        samples = surrounded().astype("<i2").tobytes()
        hangs = sends_and_hangs(*cut(samples[: len(samples) // 2]), content_type=PCM)
        async with connected(hangs, api_key="sk-123") as (endpoint, tts):
            async with aclosing(tts.speak(CLAUSE)) as chunks:
                first = await anext(chunks)
            await endpoint.aborted.wait()  # closing it closes the connection
            assert first.audio.duration_s > 0
            assert abs(first.audio.as_float32()[-200:]).max() > 0.1  # sound, not the silence before it
            assert endpoint.bodies == [
                {
                    "model": "a-model",
                    "input": "How are you?",
                    "voice": "alloy",
                    "speed": 1.0,
                    "response_format": "pcm",
                }
            ]
            assert set(endpoint.keys) == {"Bearer sk-123"}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rate_hz", "answer"),
    [
        (24_000, lambda: speaks(surrounded())),
        (16_000, lambda: speaks(surrounded(16_000), "audio/pcm;rate=16000")),
        (44_100, lambda: sends(*cut(wav_bytes(surrounded(44_100), 44_100)), content_type="audio/wav")),
        (22_050, lambda: sends(wav_bytes(surrounded(22_050), 22_050), content_type="audio/wav")),
    ],
)
def test_whatever_rate_comes_the_clause_is_trimmed_and_ends_with_its_pause(rate_hz: int, answer: Any) -> None:
    async def main() -> None:
        async with connected(answer()) as (_, tts):
            sound = whole(await spoken(tts))
        assert abs(len(sound) / RATE_HZ - (1.0 + QUESTION_PAUSE_S)) < 0.02
        sounding = np.flatnonzero(np.abs(sound) > 0.1)
        assert sounding[0] < 0.01 * RATE_HZ
        assert abs(sounding[-1] / RATE_HZ - 1.0) < 0.02
        # The pitch is what it was.
        crossings = np.count_nonzero(np.diff(np.signbit(sound[: RATE_HZ // 2])))
        assert abs(crossings - 440) <= 4

    asyncio.run(main())


def test_a_rate_that_is_only_configured_holds() -> None:
    async def main() -> None:
        async with connected(speaks(surrounded(48_000)), rate_hz=48_000) as (_, tts):
            assert abs(len(whole(await spoken(tts))) / RATE_HZ - 1.0 - QUESTION_PAUSE_S) < 0.02

    asyncio.run(main())


def test_a_clause_that_goes_on_has_no_pause_behind_it() -> None:
    async def main() -> None:
        async with connected(speaks(surrounded())) as (_, tts):
            sound = whole(await spoken(tts, TtsRequest("Well, I", "alloy", after="think so.")))
        assert abs(len(sound) / RATE_HZ - 1.0) < 0.02

    asyncio.run(main())


def test_a_pause_within_the_clause_stays() -> None:
    async def main() -> None:
        samples = np.concatenate([tone(0.5), np.zeros(RATE_HZ // 2, np.int16), tone(0.5)])
        async with connected(speaks(samples)) as (_, tts):
            sound = whole(await spoken(tts))
        assert abs(len(sound) / RATE_HZ - (1.5 + QUESTION_PAUSE_S)) < 0.02
        assert np.abs(sound[round(0.6 * RATE_HZ) : round(0.9 * RATE_HZ)]).max() == 0

    asyncio.run(main())


def test_stereo_floats_and_a_header_that_knows_no_length_are_read() -> None:
    async def main() -> None:
        left = surrounded().astype(np.float32) / 32768
        data = np.stack([left, left], axis=1).astype("<f4").tobytes()
        fmt = struct.pack("<HHIIHH", 3, 2, RATE_HZ, RATE_HZ * 8, 8, 32)
        chunks = b"fmt " + struct.pack("<I", 16) + fmt + b"LIST" + struct.pack("<I", 3) + b"abc\0"
        header = b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff"
        pieces = [*cut(header, 7), *cut(data)]
        async with connected(sends(*pieces, content_type="audio/wav")) as (_, tts):
            sound = whole(await spoken(tts))
        assert abs(len(sound) / RATE_HZ - (1.0 + QUESTION_PAUSE_S)) < 0.02

    asyncio.run(main())


def test_an_engine_host_tells_the_words_and_is_told_what_the_clause_goes_on_with() -> None:
    async def main() -> None:
        sound = base64.b64encode(tone(0.2).astype("<i2").tobytes()).decode()
        words = [{"text": "How", "start_s": 0.0, "end_s": 0.1}]
        answer = sends(
            event({"type": "speech.audio.delta", "audio": sound, "words": words}),
            event({"type": "speech.audio.done"}),
        )
        async with connected(answer, owner=ENGINE_HOST) as (endpoint, tts):
            request = TtsRequest("How are", "alloy", lead_s=1.5, before="So", after="you?")
            (chunk,) = await spoken(tts, request)
        assert chunk.words == (SpokenWord("How", 0.0, 0.1),)
        assert chunk.audio.duration_s == 0.2  # trimmed over there
        sent = endpoint.bodies[0]
        assert (sent["stream_format"], sent["before"], sent["after"], sent["lead_s"]) == (
            "sse",
            "So",
            "you?",
            1.5,
        )

    asyncio.run(main())


# Voices


@pytest.mark.parametrize(
    "listed",
    [
        {"voices": ["af_heart", "nova"]},
        {"voices": [{"id": "af_heart", "name": "Heart"}, {"name": "nova", "language": "fr"}]},
        ["af_heart", "nova"],
    ],
)
def test_it_is_asked_for_its_voices(listed: Any) -> None:
    async def main() -> None:
        async with connected(voices=listed, voice="af_heart", language="de") as (_, tts):
            assert [voice.name for voice in tts.voices] == ["af_heart", "nova"]
            assert tts.voices[0].language == "en-us"  # by its name
            assert tts.voices[1].language in ("de", "fr")

    asyncio.run(main())


def test_one_that_lists_none_has_those_that_are_configured() -> None:
    async def main() -> None:
        async with connected(voices=None) as (_, tts):
            assert [voice.name for voice in tts.voices] == ["alloy"]
        async with Endpoint(voices=["never asked"]).running() as endpoint:
            voices = ("alloy", "echo")
            tts = OpenAiSpeech(endpoint.base_url, "a-model", voice="alloy", voices=voices)
            await tts.start()
            assert tuple(voice.name for voice in tts.voices) == voices
            await tts.close()

    asyncio.run(main())


def test_a_voice_that_is_not_there_or_cannot_speak() -> None:
    async def main() -> None:
        listed = {"voices": [{"id": "jf_alpha", "unavailable": "Japanese needs an extra."}]}
        async with connected(voices=listed) as (endpoint, tts):
            with pytest.raises(VoiceUnavailable, match="no voice 'alloy'"):
                await spoken(tts)
            with pytest.raises(VoiceUnavailable, match="needs an extra"):
                await spoken(tts, TtsRequest("Hi.", "jf_alpha"))
            assert endpoint.bodies == []

    asyncio.run(main())


# Faults


@pytest.mark.parametrize(
    "fails",
    [
        refuses(503, {"error": {"message": "busy"}}, {"Retry-After": "0.05"}),
        refuses(429, {"error": {"message": "slow down"}}),
        sends_and_cuts(),
        sends(content_type=PCM),
    ],
)
def test_what_fails_before_its_first_sound_is_tried_again(fails: Answer) -> None:
    async def main() -> None:
        async with connected(fails, fails, speaks(surrounded())) as (endpoint, tts):
            assert await spoken(tts)
            assert len(endpoint.bodies) == 3

    asyncio.run(main())


def test_after_the_first_sound_nothing_is_tried_again() -> None:
    async def main() -> None:
        half = surrounded()[:12_000].astype("<i2").tobytes()
        heard = asyncio.Event()

        async def break_off(exchange: Exchange) -> None:
            exchange.content_type = PCM
            await exchange.send(half)
            await heard.wait()
            exchange.cut()

        breaking = [
            break_off,
            sends_and_hangs(half, content_type=PCM),
            sends(
                event(
                    {"type": "speech.audio.delta", "audio": base64.b64encode(half).decode()},
                ),
                event({"error": {"message": "lost a GPU"}}),
            ),
        ]
        for answer in breaking:
            async with connected(answer) as (endpoint, tts):
                chunks = tts.speak(CLAUSE)
                await anext(chunks)
                heard.set()
                with pytest.raises(EngineError):
                    await rest(chunks)
                assert len(endpoint.bodies) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (refuses(401, {"error": {"message": "no"}}), "tts_unauthorized", "does not accept tts.api_key"),
        (sends(b"ID3", content_type="audio/mpeg"), "engine_error", "sends audio/mpeg and not samples"),
        (sends(b"{}", content_type="application/json"), "engine_error", "no sound"),
        (sends_and_hangs(content_type=PCM), "tts_timeout", "did not answer in time"),
        (
            sends(EIGHT_BIT, content_type="audio/wav"),
            "engine_error",
            "8-bit samples",
        ),
    ],
)  # fmt: skip
def test_what_no_trying_helps_is_said_in_a_sentence(answer: Answer, code: str, sentence: str) -> None:
    async def main() -> None:
        patience = Patience(connect_s=1.0, first_s=0.3, idle_s=0.3, retries_s=(0.02,))
        async with connected(answer, patience=patience) as (_, tts):
            with pytest.raises(EngineError, match=sentence) as raised:
                await spoken(tts)
            assert raised.value.code == code

    asyncio.run(main())
