"""The real transcriber: sessions, partials, long speech, silence."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from media.audio import Audio, concatenate, silence
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_pieces import quietest_cut
from media.engines.whisper import Whisper
from media.engines.whisper_decoder import Unwanted
from media.engines.whisper_session import WhisperSession
from media.errors import EngineError, ModelMissing
from tests.media.engines.speech import QUESTION, STORY
from tests.peers.voices import spoken, word_error_rate

pytestmark = pytest.mark.models

ENGLISH = SttOptions(language="en")


@pytest.fixture(scope="module")
def whisper(models_dir: Path) -> Iterator[Whisper]:
    engine = english(models_dir)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


def english(models_dir: Path) -> Whisper:
    return Whisper(models_dir / "whisper-tiny.en", threads=1, model_name="tiny.en", partial_interval_s=0.5)


async def follow(session: WhisperSession, partials: list[Transcript], enough: asyncio.Event) -> None:
    async for partial in session.partials():
        partials.append(partial)
        enough.set()


def test_a_question_is_transcribed_while_it_is_asked(whisper: Whisper, question: Audio) -> None:
    async def main() -> None:
        session = whisper.open(ENGLISH)
        partials: list[Transcript] = []
        async with asyncio.TaskGroup() as group:
            enough = asyncio.Event()
            group.create_task(follow(session, partials, enough))
            await session.push(question.slice_s(0, 1.5))
            await asyncio.wait_for(enough.wait(), 60)
            await session.push(question.slice_s(1.5))
            final = await session.flush()
            await session.abort()
        assert word_error_rate(QUESTION, final.text) < 0.1
        assert final.audio_s == pytest.approx(question.duration_s)
        assert final.language == "en"
        assert partials[0].text
        assert partials[0].audio_s == pytest.approx(1.5)
        assert "capital" in partials[0].text

    asyncio.run(main())


def test_a_flush_does_not_end_the_turn(whisper: Whisper, question: Audio) -> None:
    async def main() -> None:
        session = whisper.open(ENGLISH)
        await session.push(question)
        first = await session.flush()
        assert await session.flush() is first  # nothing came: nothing is done
        await session.push(silence(0.5, 16_000))
        waited = await session.flush()
        assert waited.text == first.text
        assert waited.audio_s == pytest.approx(question.duration_s + 0.5)
        await session.push(question)
        both = await session.flush()
        assert word_error_rate(f"{QUESTION} {QUESTION}", both.text) < 0.2
        await session.abort()
        await session.abort()
        with pytest.raises(EngineError, match="aborted"):
            await session.flush()

    asyncio.run(main())


def test_what_a_flush_has_just_said_is_the_partial(whisper: Whisper, question: Audio) -> None:
    async def main() -> None:
        session = whisper.open(ENGLISH)
        partials: list[Transcript] = []
        await session.push(question.slice_s(0, 1.5))
        flushed = await session.flush()
        async with asyncio.TaskGroup() as group:
            enough = asyncio.Event()
            group.create_task(follow(session, partials, enough))
            await asyncio.wait_for(enough.wait(), 60)
            assert partials == [flushed]
            await session.push(question.slice_s(1.5, 1.7))
            await session.flush()
            await asyncio.sleep(0.1)
            assert partials == [flushed], "partials are as seldom as they were"
            await session.abort()

    asyncio.run(main())


def test_a_cancelled_flush_can_be_asked_again(whisper: Whisper, question: Audio) -> None:
    async def main() -> str:
        session = whisper.open(ENGLISH)
        await session.push(question)
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(session.flush())
            await asyncio.sleep(0)
            flushing.cancel()
        text = (await session.flush()).text
        await session.abort()
        return text

    assert word_error_rate(QUESTION, asyncio.run(main())) < 0.1


@pytest.mark.timeout(400)
def test_what_nobody_wants_any_more_stops_between_two_steps(whisper: Whisper, question: Audio) -> None:
    decoder = whisper.open(ENGLISH)._decoder
    asked: list[bool] = []

    def wanted() -> bool:
        asked.append(True)
        return False

    with pytest.raises(Unwanted):
        decoder.transcribe(question.as_float32(), wanted=wanted)
    assert len(asked) == 1, "after the encoder, before the decoder"


def test_a_flush_goes_before_the_partial_that_runs(whisper: Whisper, question: Audio) -> None:
    async def main() -> None:
        session = whisper.open(ENGLISH)
        partials: list[Transcript] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(session, partials, asyncio.Event()))
            await session.push(question)
            await asyncio.sleep(0.01)  # the partial is in its encoder
            final = await session.flush()
            assert not partials, "it was given up, or had come before"
            await session.push(question.slice_s(0, 0.2))
            await asyncio.sleep(0.3)
            assert len(partials) <= 1
            await session.abort()
        assert word_error_rate(QUESTION, final.text) < 0.1

    asyncio.run(main())


def test_speech_beyond_the_window_is_transcribed_whole(whisper: Whisper, models_dir: Path) -> None:
    told = [spoken(models_dir, part) for part in STORY]
    speech = concatenate([heard for part in told for heard in (part, silence(0.4, 16_000))], 16_000)
    assert speech.duration_s > 24

    async def main() -> Transcript:
        session = whisper.open(ENGLISH)
        await session.push(speech)
        transcript = await session.flush()
        await session.abort()
        return transcript

    transcript = asyncio.run(main())
    assert transcript.audio_s == pytest.approx(speech.duration_s)
    assert word_error_rate(" ".join(STORY), transcript.text) < 0.15


def test_silence_and_noise_say_nothing(whisper: Whisper) -> None:
    rng = np.random.default_rng(5)

    async def heard(audio: Audio) -> str:
        session = whisper.open(ENGLISH)
        await session.push(audio)
        text = (await session.flush()).text
        await session.abort()
        return text

    async def main() -> None:
        assert await heard(silence(0, 16_000)) == ""
        assert await heard(silence(2, 16_000)) == ""
        for level in (0.001, 0.01, 0.1):
            noise = rng.normal(0, level, 32_000).astype(np.float32)
            assert await heard(Audio(noise, 16_000)) == "", level

    asyncio.run(main())


def test_the_multilingual_model_detects_what_it_was_not_told(models_dir: Path) -> None:
    french = spoken(models_dir, "Bonjour, je voudrais réserver une table.", "ff_siwis")

    async def main() -> None:
        whisper = Whisper(models_dir / "whisper-base", threads=1, model_name="base", partial_interval_s=0.5)
        await whisper.start()
        try:
            assert {"en", "fr", "de", "es", "ja", "zh"} <= set(whisper.languages)
            for language in (None, "fr"):
                session = whisper.open(SttOptions(language=language))
                await session.push(french)
                transcript = await session.flush()
                await session.abort()
                assert transcript.language == "fr"
                assert "réserver une table" in transcript.text
        finally:
            await whisper.close()

    asyncio.run(main())


def test_a_language_it_does_not_know_is_refused(whisper: Whisper) -> None:
    assert whisper.languages == ("en",)
    with pytest.raises(EngineError, match="does not transcribe the language fr"):
        whisper.open(SttOptions(language="fr"))


def test_closing_leaves_no_thread(models_dir: Path) -> None:
    threads = set(threading.enumerate())

    async def main() -> None:
        whisper = english(models_dir)
        await whisper.close()
        whisper = english(models_dir)
        await whisper.start()
        session = whisper.open(ENGLISH)
        await whisper.close()
        await whisper.close()
        await session.push(Audio(np.ones(16_000, np.float32), 16_000))
        with pytest.raises(EngineError, match="closed"):
            await session.flush()

    asyncio.run(main())
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize(
    ("file", "kept_bytes"), [("model.bin", 0), ("model.bin", 10_000_000), ("tokenizer.json", None)]
)
def test_damaged_files_are_refused(
    models_dir: Path, tmp_path: Path, file: str, kept_bytes: int | None
) -> None:
    copy = shutil.copytree(models_dir / "whisper-tiny.en", tmp_path / "whisper-tiny.en")
    if kept_bytes is None:
        (copy / file).unlink()
    else:
        with (copy / file).open("r+b") as damaged:
            damaged.truncate(kept_bytes)
    with pytest.raises(ModelMissing, match=rf"{file} is (missing|empty|truncated or damaged): run `voxtral"):
        asyncio.run(english(tmp_path).start())


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    speech = np.random.default_rng(1).normal(0, 0.1, 30 * 16_000).astype(np.float32)
    pause = slice(round(18.0 * 16_000), round(18.5 * 16_000))
    speech[pause] *= 0.01
    assert pause.start < quietest_cut(speech) < pause.stop
