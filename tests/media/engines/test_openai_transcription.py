"""A transcriber behind a scripted endpoint: what it is sent, and when, and what it may answer."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.openai_endpoint import Patience
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import SttOptions, SttSession, Transcript
from media.errors import EngineError
from tests.openai_endpoint import (
    DONE,
    Answer,
    Endpoint,
    Exchange,
    event,
    hears,
    refuses,
    sends,
    sends_and_cuts,
    sends_and_hangs,
)
from tests.scripted import quiet, speech

QUICK = Patience(connect_s=1.0, first_s=2.0, idle_s=0.3, retries_s=(0.02, 0.05))
STARTS = hears("")


@asynccontextmanager
async def connected(
    *answers: Answer, patience: Patience = QUICK, **more: Any
) -> AsyncIterator[tuple[Endpoint, OpenAiTranscription]]:
    """A started one; the endpoint's first answer is to that."""
    async with Endpoint((STARTS, *answers)).running() as endpoint:
        more = {"languages": ("en", "de"), "partial_interval_s": 0.5} | more
        stt = OpenAiTranscription(endpoint.base_url, "a-model", patience=patience, **more)
        await stt.start()
        try:
            yield endpoint, stt
        finally:
            await stt.close()


@asynccontextmanager
async def turn(stt: OpenAiTranscription, **options: Any) -> AsyncIterator[SttSession]:
    session = stt.open(SttOptions(**options))
    try:
        yield session
    finally:
        await session.abort()


def seconds(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SPEECH_RATE_HZ)
        return file.getnframes() / SPEECH_RATE_HZ


async def first(transcripts: AsyncIterator[Transcript]) -> Transcript:
    return await anext(transcripts)


def test_a_turn_is_sent_as_a_recording_and_its_words_come_back() -> None:
    async def main() -> None:
        async with connected(hears(" What time is it? ", language="en"), api_key="sk-123") as (endpoint, stt):
            async with turn(stt, language="en", prompt="Voxtral", partials=False) as session:
                await session.push(speech(1.5))
                transcript = await session.flush()
            assert transcript == Transcript("What time is it?", 1.5, "en")
            body = endpoint.bodies[-1]
            assert seconds(body.pop("file")) == 1.5
            assert body == {
                "model": "a-model",
                "response_format": "json",
                "language": "en",
                "prompt": "Voxtral",
            }
            assert set(endpoint.keys) == {"Bearer sk-123"}

    asyncio.run(main())


def test_a_language_is_detected_where_none_is_said_and_refused_where_it_is_not_spoken() -> None:
    async def main() -> None:
        async with connected(hears("Guten Tag", language="de"), extra_body={"temperature": 0}) as (
            endpoint,
            stt,
        ):
            async with turn(stt) as session:
                await session.push(speech(1.0))
                assert (await session.flush()).language == "de"
            assert "language" not in endpoint.bodies[-1]
            assert endpoint.bodies[-1]["temperature"] == "0"
            with pytest.raises(EngineError, match="does not transcribe the language fr") as raised:
                stt.open(SttOptions("fr"))
            assert raised.value.code == "language_unavailable"

    asyncio.run(main())


def test_nothing_is_asked_twice_and_silence_never() -> None:
    async def main() -> None:
        async with connected(hears("Yes."), hears("Yes. No.")) as (endpoint, stt):
            async with turn(stt, partials=False) as session:
                await session.push(quiet(1.0))
                assert (await session.flush()).text == ""
                assert len(endpoint.bodies) == 1  # the start's
                await session.push(speech(0.2))
                assert (await session.flush()).text == "Yes."
                await session.push(quiet(0.3))
                assert await session.flush() == Transcript("Yes.", 1.5, None)
                assert len(endpoint.bodies) == 2
                await session.push(speech(0.5))
                assert (await session.flush()).text == "Yes. No."
                assert seconds(endpoint.bodies[-1]["file"]) == 2.0  # all of the turn

    asyncio.run(main())


def test_a_short_clip_is_filled_up() -> None:
    async def main() -> None:
        async with connected(hears("Hm")) as (endpoint, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(0.05))
                assert (await session.flush()).audio_s == 0.05
            assert seconds(endpoint.bodies[-1]["file"]) == 0.5

    asyncio.run(main())


def test_partials_come_one_at_a_time_and_only_with_new_speech() -> None:
    async def main() -> None:
        async with connected(hears("what"), hears("what time"), hears("What time?")) as (endpoint, stt):
            async with turn(stt) as session:
                partials = session.partials()
                await session.push(speech(0.4))
                async with asyncio.TaskGroup() as tasks:
                    waiting = tasks.create_task(first(partials))
                    await asyncio.sleep(0)
                    assert len(endpoint.bodies) == 1  # not due yet
                    await session.push(speech(0.2))
                assert waiting.result().text == "what"
                await session.push(speech(2.0))
                assert (await first(partials)).text == "what time"
                assert len(endpoint.bodies) == 3
                await session.push(speech(0.1))
                assert (await session.flush()).text == "What time?"
                await session.abort()
                assert [item async for item in partials] == []

    asyncio.run(main())


def test_a_partial_that_fails_is_left_out_and_not_asked_for_again_at_once() -> None:
    async def main() -> None:
        full = refuses(503, {"error": {"message": "full"}}, {"Retry-After": "30"})
        async with connected(full, hears("what time"), hears("What time?")) as (endpoint, stt):
            async with turn(stt) as session:
                await session.push(speech(1.0))
                async with asyncio.TaskGroup() as tasks:
                    waiting = tasks.create_task(first(session.partials()))
                    while len(endpoint.bodies) < 2:  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.005)
                    await session.push(speech(1.0))
                    await asyncio.sleep(0.05)
                    assert len(endpoint.bodies) == 2
                    # Enough wherever the rest began: the refusal may have come after the second push.
                    await session.push(speech(4.0))
                assert waiting.result().text == "what time"
                assert (await session.flush()).audio_s == 6.0

    asyncio.run(main())


def test_a_partial_gives_way_to_the_end_of_the_turn() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def hang(_exchange: Exchange) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with connected(hang, hears("Hello.")) as (endpoint, stt):
            async with turn(stt) as session:
                await session.push(speech(1.0))
                async with asyncio.TaskGroup() as tasks:
                    partials = tasks.create_task(_listed(session.partials()))
                    await asked.wait()
                    assert (await session.flush()).text == "Hello."
                    await endpoint.aborted.wait()
                    await session.abort()
                assert partials.result() == []

    asyncio.run(main())


async def _listed(transcripts: AsyncIterator[Transcript]) -> list[Transcript]:
    return [transcript async for transcript in transcripts]


def test_a_flush_that_was_cancelled_closes_its_connection_and_can_be_asked_again() -> None:
    async def main() -> None:
        hangs = sends_and_hangs(b" ", content_type="application/json")
        async with connected(hangs, hears("Hello.")) as (endpoint, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(1.0))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await session.flush()
                await endpoint.aborted.wait()
                assert (await session.flush()).text == "Hello."
                await session.abort()
                with pytest.raises(EngineError, match="aborted"):
                    await session.flush()

    asyncio.run(main())


def test_the_older_part_of_a_long_turn_is_not_sent_again() -> None:
    async def main() -> None:
        answers = (hears("The first part,"), hears("and the rest."))
        async with connected(*answers) as (endpoint, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(17.0))
                await session.push(quiet(1.0))
                await session.push(speech(9.0))
                transcript = await session.flush()
            assert transcript.text == "The first part, and the rest."
            assert transcript.audio_s == 27.0
            first_s, rest_s = (seconds(body["file"]) for body in endpoint.bodies[1:])
            assert 17.0 < first_s < 18.0
            assert round(first_s + rest_s, 3) == 27.0
            assert endpoint.bodies[-1]["prompt"] == "The first part,"

    asyncio.run(main())


@pytest.mark.parametrize(
    "events",
    [
        (
            event({"type": "transcript.text.delta", "delta": "Good"}),
            event({"type": "transcript.text.delta", "delta": " evening"}),
            event({"type": "transcript.text.done", "text": "Good evening."}),
        ),
        (
            event({"choices": [{"delta": {"content": "Good"}}]}),
            event({"choices": [{"delta": {"content": " evening."}, "finish_reason": "stop"}]}),
            DONE,
        ),
        (event({"text": "Good"}), event({"text": " evening."}), DONE),
    ],
)
def test_a_transcript_may_come_in_pieces(events: Sequence[bytes]) -> None:
    async def main() -> None:
        async with connected(sends(*events)) as (_, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(1.0))
                assert (await session.flush()).text == "Good evening."

    asyncio.run(main())


@pytest.mark.parametrize(
    "fails",
    [
        refuses(503, {"error": {"message": "busy"}}, {"Retry-After": "0.05"}),
        sends_and_cuts(),
        sends(event({"type": "transcript.text.delta", "delta": "Go"})),
    ],
)
def test_what_trying_again_may_mend_is_tried_again(fails: Answer) -> None:
    async def main() -> None:
        async with connected(fails, fails, hears("There.")) as (endpoint, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(1.0))
                assert (await session.flush()).text == "There."
            assert len(endpoint.bodies) == 4

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (
            refuses(401, {"error": {"message": "key sk-123"}}),
            "stt_unauthorized",
            "accept model.api_key: ",
        ),
        (
            refuses(404, {"detail": "no a-model"}),
            "stt_not_found",
            "no such model .model.name, ",
        ),
        (sends(b"<html>", content_type="application/json"), "engine_error", "not JSON"),
        (sends(b"{}", content_type="application/json"), "engine_error", "holds no text"),
        (sends_and_hangs(b" ", content_type="application/json"), "stt_timeout", "did not answer in time"),
    ],
)
def test_what_no_trying_helps_is_said_in_a_sentence(answer: Answer, code: str, sentence: str) -> None:
    async def main() -> None:
        patience = Patience(connect_s=1.0, first_s=0.3, idle_s=0.3, retries_s=(0.02,))
        async with connected(answer, patience=patience, api_key="sk-123") as (_, stt):
            async with turn(stt, partials=False) as session:
                await session.push(speech(1.0))
                with pytest.raises(EngineError, match=sentence) as raised:
                    await session.flush()
                assert raised.value.code == code
                assert "sk-123" not in str(raised.value)

    asyncio.run(main())


def test_an_endpoint_that_does_not_transcribe_is_found_out_at_the_start() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.refuse(400, {"error": {"message": "no audio here"}})

    async def main() -> None:
        async with Endpoint((refuse,)).running() as endpoint:
            stt = OpenAiTranscription(endpoint.base_url, "a-model", languages=("en",), patience=QUICK)
            with pytest.raises(EngineError, match="no audio here"):
                await stt.start()
            base_url = endpoint.base_url
        stt = OpenAiTranscription(base_url, "a-model", languages=("en",), patience=QUICK)
        with pytest.raises(EngineError, match="cannot be reached") as raised:
            await stt.start()
        assert raised.value.code == "stt_unreachable"

    asyncio.run(main())


def test_another_rate_is_refused() -> None:
    async def main() -> None:
        async with connected() as (_, stt):
            async with turn(stt) as session:
                with pytest.raises(ValueError, match="16000 Hz"):
                    await session.push(Audio(np.zeros(160, np.int16), 8000))

    asyncio.run(main())
