"""Engines that ran out of memory, break again and again, or are stuck: asked no more until started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from media.audio import Audio
from media.engines.failed_step import mark_failed_step
from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.protocols import (
    ChatMessage,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SpokenWord,
    SttOptions,
    ToolCallDelta,
    Transcript,
    TtsRequest,
)
from media.engines.watched_turn_end import WatchedTurnEnd
from media.engines.wire import CameBack, EngineEvent, FellBack, Unusable
from media.errors import EngineError, EngineOutOfMemory
from tests import virtual_time
from tests.scripted import ScriptedLlm, ScriptedStt, ScriptedSttSession, ScriptedTts, ScriptedTurnEnd, speech

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
FULL = EngineOutOfMemory("CUDA out of memory.")
BROKEN = EngineError("It broke.")
AHEAD = replace(REQUEST, max_tokens=0)


async def text_of(llm: FallbackLlm) -> str:
    async with aclosing(llm.reply(REQUEST)) as deltas:
        return "".join([delta.text async for delta in deltas])


@dataclass
class Counted(ScriptedLlm):
    """Counts its starts and closings; the first starts may fail."""

    starts: int = 0
    closings: int = 0
    refuses: list[EngineError] = field(default_factory=list)

    async def start(self) -> None:
        self.starts += 1
        if self.refuses:
            raise self.refuses.pop(0)
        await super().start()

    async def close(self) -> None:
        self.closings += 1
        await super().close()


def test_one_that_ran_out_of_memory_is_unloaded_before_it_is_started_again() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        engine = Counted(replies=(FULL, "better"))
        llm = FallbackLlm((engine,), told.append)
        await llm.start()
        with pytest.raises(EngineOutOfMemory):
            await text_of(llm)
        assert told == [
            FellBack("llm", "scripted", "out_of_memory", "CUDA out of memory."),
            Unusable("llm", "scripted", "CUDA out of memory.", stood_in_for=False),
        ]
        with pytest.raises(EngineError, match="is being started again") as refused:
            await text_of(llm)
        assert (refused.value.code, refused.value.retryable) == ("engine_restarting", True)
        assert len(engine.requests) == 1
        await llm.start()
        assert (engine.starts, engine.closings) == (2, 1)
        assert await text_of(llm) == "better"
        assert told[2:] == [CameBack("llm", "scripted")]
        await llm.start()
        assert engine.starts == 2  # it is

    virtual_time.run(main())


def test_meanwhile_another_one_works_and_then_it_has_the_work_again() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        first = Counted("first", replies=(FULL, "first"))
        second = Counted("second", replies=("second",))
        llm = FallbackLlm((first, second), told.append)
        await llm.start()
        assert await text_of(llm) == "second"
        assert told[1] == Unusable("llm", "first", "CUDA out of memory.", stood_in_for=True)
        first.refuses = [FULL]
        await llm.start()
        assert isinstance(told[2], FellBack)
        assert told[2].starting
        assert told[3] == told[1]
        assert await text_of(llm) == "second"
        await llm.start()
        assert (first.starts, second.starts) == (3, 1)
        assert await text_of(llm) == "first"  # at once, not after a rest
        assert told[4:] == [CameBack("llm", "first")]

    virtual_time.run(main())


def test_what_did_not_start_beside_others_is_told_to_be_started_again() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        first = Counted("first", replies=("first",), refuses=[BROKEN])
        llm = FallbackLlm((first, Counted(replies=("second",))), told.append)
        await llm.start()
        assert isinstance(told[1], Unusable)
        assert await text_of(llm) == "second"
        await asyncio.sleep(100)
        assert await text_of(llm) == "second"
        assert first.starts == 1  # no caller waits for a model to be loaded
        await llm.start()
        assert await text_of(llm) == "first"

    virtual_time.run(main())


def test_one_that_breaks_three_times_in_a_row_is_started_again() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        replies = (BROKEN, BROKEN, "well", BROKEN, BROKEN, BROKEN, "better", BROKEN, "well")
        engine = Counted(replies=replies)
        llm = FallbackLlm((engine,), told.append)
        await llm.start()
        for _ in range(6):
            try:
                await text_of(llm)
            except EngineError:
                assert engine.closings == 0
        assert sum(isinstance(event, Unusable) for event in told) == 1
        await llm.start()
        assert await text_of(llm) == "better"
        with pytest.raises(EngineError, match="It broke"):
            await text_of(llm)
        assert await text_of(llm) == "well"

    virtual_time.run(main())


def test_an_engine_that_raises_what_it_likes_has_failed_too() -> None:
    class Careless(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            raise KeyError("logits")
            yield  # pragma: no cover - makes it a generator

    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Careless(), ScriptedLlm(replies=("second",))), told.append)
        await llm.start()
        assert await text_of(llm) == "second"
        assert isinstance(told[0], FellBack)
        assert (told[0].code, told[0].reason) == ("engine_fault", "KeyError: 'logits'")

    virtual_time.run(main())


# What hangs


@dataclass
class Hanging(ScriptedLlm):
    """Begins, and says no more; unless it is told to go on."""

    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        self.requests.append(request)
        await self.goes_on.wait()
        yield LlmDelta("There.", "stop")


@dataclass
class Reading(ScriptedLlm):
    """Reads ahead slowly."""

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        await asyncio.sleep(100.0 if request.max_tokens == 0 else 1.0)
        yield LlmDelta("There.", "stop")


def test_one_that_is_stuck_is_asked_no_more() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Hanging(), ScriptedLlm(replies=("second",))), told.append, silence_limit_s=30)
        await llm.start()
        began_s = asyncio.get_running_loop().time()
        assert await text_of(llm) == "second"
        assert 30 <= asyncio.get_running_loop().time() - began_s < 31
        assert isinstance(told[0], FellBack)
        assert told[0].code == "engine_silent"
        reason = "scripted has brought nothing for 30 s."
        assert told[1] == Unusable("llm", "scripted", reason, stood_in_for=True, needs_process=True)
        assert await text_of(llm) == "second"
        assert asyncio.get_running_loop().time() - began_s < 32

    virtual_time.run(main())


def test_one_that_works_for_others_is_only_busy() -> None:
    """Whoever waits in a queue waits as long as anybody is served."""

    class Busy(Hanging):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            if len(self.requests) % 2 == 1:
                self.requests.append(request)
                for _ in range(10):
                    await asyncio.sleep(20)
                    yield LlmDelta("word ")
                yield LlmDelta("", "stop")
                self.goes_on.set()
            else:
                async for delta in super().reply(request):
                    yield delta

    async def main() -> None:
        llm = FallbackLlm((Busy(),), lambda _: None, silence_limit_s=30)
        await llm.start()
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(text_of(llm))
            await asyncio.sleep(0.1)
            served = tasks.create_task(text_of(llm))
        assert waiting.result() == "There."
        assert served.result() == "word " * 10

    virtual_time.run(main())


def test_a_caller_who_goes_away_proves_nothing() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Hanging(),), told.append, silence_limit_s=30)
        await llm.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await text_of(llm)
        assert told == []
        with pytest.raises(EngineError, match="brought nothing"):
            await text_of(llm)

    virtual_time.run(main())


def test_callers_who_give_up_one_after_the_other_have_waited_together() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Hanging(),), told.append, silence_limit_s=30)
        await llm.start()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(9):
                    await text_of(llm)
            await asyncio.sleep(1000)  # nobody waits
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(EngineError, match="brought nothing"):
            await text_of(llm)
        assert 3 <= asyncio.get_running_loop().time() - began_s < 4
        assert isinstance(told[-1], Unusable)

    virtual_time.run(main())


def test_what_is_waited_for_meanwhile_is_forgotten_with_a_sign_of_life() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        engine = Hanging()
        llm = FallbackLlm((engine,), told.append, silence_limit_s=30)
        await llm.start()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(20):
                    await text_of(llm)
            engine.goes_on.set()
            assert await text_of(llm) == "There."
            engine.goes_on.clear()
        assert told == []

    virtual_time.run(main())


def test_reading_ahead_that_is_always_dropped_is_no_silence() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        engine = Reading()
        llm = FallbackLlm((engine,), told.append, silence_limit_s=30)
        await llm.start()
        for _ in range(10):
            with suppress(TimeoutError):
                async with asyncio.timeout(9), aclosing(llm.reply(AHEAD)) as nothing:
                    async for _ in nothing:
                        raise AssertionError("it takes longer")
        assert await text_of(llm) == "There."
        assert told == []

    virtual_time.run(main())


def test_what_comes_unasked_is_a_sign_of_life_too() -> None:
    """A transcriber is so slow that each pause is over before it has read the turn; its partials come."""

    class Slow(ScriptedSttSession):
        async def flush(self) -> Transcript:
            await asyncio.sleep(25.0)
            return await super().flush()

    class Stt(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            return Slow(options, "one two three four five", 0.1)

    async def main() -> None:
        told: list[EngineEvent] = []
        stt = FallbackStt((Stt(),), told.append, silence_limit_s=30)
        await stt.start()
        session = stt.open(SttOptions("en"))

        async def follow() -> None:
            async for _ in session.partials():
                pass

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for _ in range(3):
                await session.push(speech(0.5))
                await asyncio.sleep(1.0)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(20.0):
                        await session.flush()
            await session.push(speech(0.5))
            await asyncio.sleep(1.0)
            assert (await session.flush()).text
            await session.abort()
        assert told == []

    virtual_time.run(main())


@pytest.mark.parametrize("raised", [BROKEN, KeyError("logits")])
def test_a_step_that_fails_several_requests_has_failed_once(raised: Exception) -> None:
    """Each of them sees an error of its own, made of the one that the step raised."""

    class Batching(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            await steps.pop(0).wait()
            if isinstance(raised, EngineError):
                raise raised
            raise EngineError(f"transformers: {raised}") from raised
            yield  # pragma: no cover - makes it a generator

    async def fails(llm: FallbackLlm) -> None:
        with pytest.raises(EngineError):
            await text_of(llm)

    steps: list[asyncio.Event] = []

    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Batching(),), told.append)
        await llm.start()
        for failed_before in range(3):
            step = asyncio.Event()
            steps[:] = [step] * 4
            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(fails(llm))
                await asyncio.sleep(1)
                mark_failed_step(raised)
                step.set()
            assert [type(event) for event in told[:3]] == [FellBack] * (failed_before + 1)
        assert [type(event) for event in told] == [FellBack] * 3 + [Unusable]

    virtual_time.run(main())


def test_one_that_is_stuck_is_left_alone_while_another_is_started_again() -> None:
    """Closing it would wait for its step."""

    async def main() -> None:
        stuck = Counted("first", replies=(EngineError("It says nothing.", code="engine_silent"),))
        other = Counted("second", replies=("second", FULL, "again"))
        llm = FallbackLlm((stuck, other), lambda _event: None)
        await llm.start()
        assert await text_of(llm) == "second"
        with pytest.raises(EngineError, match="first is being started again"):
            await text_of(llm)
        await llm.start()
        assert [(engine.starts, engine.closings) for engine in (stuck, other)] == [(1, 0), (2, 1)]
        assert await text_of(llm) == "again"

    virtual_time.run(main())


def test_who_has_failed_itself_stands_in_for_nobody() -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        engines = (ScriptedLlm("first", replies=(BROKEN,)), ScriptedLlm("second", replies=(BROKEN,)))
        llm = FallbackLlm(engines, told.append)
        await llm.start()
        with pytest.raises(EngineError, match="It broke"):
            await text_of(llm)
        stood_in = [event.stood_in_for for event in told if isinstance(event, FellBack)]
        assert stood_in == [True, False]

    virtual_time.run(main())


# Garbage


def test_a_voice_that_makes_no_sound_is_gone_on_from() -> None:
    class Noise(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            async for chunk in super().speak(request):
                word = chunk.words[0]
                yield SpeechChunk(chunk.audio.slice_s(word.start_s, word.end_s), (word,))
            yield SpeechChunk(Audio(np.full(240, np.nan, np.float32), self.rate_hz))

    async def main() -> None:
        told: list[EngineEvent] = []
        second = ScriptedTts()
        tts = FallbackTts((Noise(), second), ("af_heart", "af_heart"), told.append)
        await tts.start()
        request = TtsRequest("It opens at nine.", "af_heart")
        async with aclosing(tts.speak(request)) as chunks:
            sounds = [chunk.audio async for chunk in chunks]
        assert all(np.isfinite(sound.samples).all() for sound in sounds)
        assert second.spoken == ["opens at nine."]
        assert isinstance(told[0], FellBack)
        assert told[0].code == "engine_garbage"

    virtual_time.run(main())


NAN = float("nan")
VOICE_HZ = 24_000


def sound(level: float, rate_hz: int = VOICE_HZ) -> Audio:
    return Audio(np.full(240, level, np.float32), rate_hz)


def garbage(*made: Any) -> list[Any]:
    return [pytest.param(thing, id=repr(thing)[:60]) for thing in made]


@pytest.mark.parametrize(
    "thing",
    garbage(
        None,
        b"a sound",
        SpeechChunk(np.zeros(240, np.float32)),  # type: ignore[arg-type]
        SpeechChunk(sound(NAN)),
        SpeechChunk(sound(float("inf"))),
        SpeechChunk(sound(1000.0)),
        SpeechChunk(sound(0.1, 48_000)),
        SpeechChunk(sound(0.1), (SpokenWord("It", 0.0, NAN),)),
        SpeechChunk(sound(0.1), ("It",)),  # type: ignore[arg-type]
    ),
)
def test_what_is_no_sound_is_the_voices_failure(thing: Any) -> None:
    class Noise(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            yield thing if thing is not None else SpeechChunk(None)  # type: ignore[arg-type]

    async def main() -> None:
        told: list[EngineEvent] = []
        tts = FallbackTts((Noise(), ScriptedTts()), ("af_heart", "af_heart"), told.append)
        await tts.start()
        async with aclosing(tts.speak(TtsRequest("It opens at nine.", "af_heart"))) as chunks:
            (chunk,) = [chunk async for chunk in chunks]
        assert len(chunk.words) == 4
        assert [event.code for event in told if isinstance(event, FellBack)] == ["engine_garbage"]

    virtual_time.run(main())


@pytest.mark.parametrize(
    "thing",
    garbage(
        "a word",
        LlmDelta(None),  # type: ignore[arg-type]
        LlmDelta(b"a word"),  # type: ignore[arg-type]
        LlmDelta("", tool_calls=("look",)),  # type: ignore[arg-type]
        LlmDelta("", tool_calls=(ToolCallDelta(0, "", "look", {"at": "it"}),)),  # type: ignore[arg-type]
    ),
)
def test_what_is_no_text_is_the_language_models_failure(thing: Any) -> None:
    class Scribbling(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            yield thing

    async def main() -> None:
        told: list[EngineEvent] = []
        llm = FallbackLlm((Scribbling(), ScriptedLlm(replies=("second",))), told.append)
        await llm.start()
        assert await text_of(llm) == "second"
        assert [event.code for event in told if isinstance(event, FellBack)] == ["engine_garbage"]

    virtual_time.run(main())


@pytest.mark.parametrize(
    "thing",
    garbage(
        None,
        "what time is it",
        Transcript(None, 1.0),  # type: ignore[arg-type]
        Transcript(b"what time is it", 1.0),  # type: ignore[arg-type]
        Transcript("what time is it", NAN),
        Transcript("what time is it", -1.0),
        Transcript("what time is it", None),  # type: ignore[arg-type]
        Transcript("what time is it", 1.0, 12),  # type: ignore[arg-type]
    ),
)
def test_what_are_no_words_are_the_transcribers_failure(thing: Any) -> None:
    class Session(ScriptedSttSession):
        async def flush(self) -> Transcript:
            return thing  # type: ignore[no-any-return]

    class Mishearing(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            return Session(options, "", 0.1)

    async def main() -> None:
        told: list[EngineEvent] = []
        stt = FallbackStt((Mishearing(), ScriptedStt(says=("what time is it",))), told.append)
        await stt.start()
        session = stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        assert (await session.flush()).text == "what time is it"
        await session.abort()
        assert [event.code for event in told if isinstance(event, FellBack)] == ["engine_garbage"]

    virtual_time.run(main())


@pytest.mark.parametrize("thing", garbage(None, "0.5", NAN, -0.1, 1.1, float("inf"), np.float32("nan")))
def test_what_is_no_probability_is_the_turn_end_engines_failure(thing: Any) -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        engine = ScriptedTurnEnd(verdicts=(thing, np.float32(0.25)))  # type: ignore[arg-type]
        turn_end = WatchedTurnEnd(engine, told.append)
        await turn_end.start()
        with pytest.raises(EngineError) as raised:
            await turn_end.judge(speech(1.0))
        assert raised.value.code == "engine_garbage"
        assert await turn_end.judge(speech(1.0)) == 0.25
        assert [type(event) for event in told] == [FellBack, CameBack]

    virtual_time.run(main())


# A turn that lasts longer than its engine


def test_a_turn_goes_on_in_the_engine_that_was_started_again() -> None:
    async def main() -> None:
        engine = ScriptedStt(says=(FULL, "what time is it"))
        stt = FallbackStt((engine,), lambda _: None)
        await stt.start()
        other, session = stt.open(SttOptions("en")), stt.open(SttOptions("en"))
        await other.push(speech(0.5))
        await session.push(speech(1.0))
        with pytest.raises(EngineOutOfMemory):
            await other.flush()
        await session.push(speech(0.5))  # nobody hears it now
        await stt.start()
        await session.push(speech(0.5))
        transcript = await session.flush()
        assert (transcript.text, transcript.audio_s) == ("what time is it", 2.0)
        assert [opened.aborted for opened in engine.sessions] == [False, True, False]
        await other.abort()
        await session.abort()

    virtual_time.run(main())


def test_partials_begin_anew_with_it() -> None:
    async def main() -> None:
        engine = ScriptedStt(says=(FULL, "not heard", "what time is it"))
        stt = FallbackStt((engine,), lambda _: None)
        await stt.start()
        other, session = stt.open(SttOptions("en")), stt.open(SttOptions("en"))
        heard: list[str] = []

        async def follow(partials: AsyncIterator[Transcript]) -> None:
            async for transcript in partials:
                heard.append(transcript.text)

        async def follow_to_the_end(partials: AsyncIterator[Transcript]) -> None:
            with pytest.raises(EngineError, match="is being started again"):
                await follow(partials)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow_to_the_end(session.partials()))
            await session.push(speech(1.0))
            await asyncio.sleep(0.1)
            with pytest.raises(EngineOutOfMemory):
                await other.flush()
            await session.push(speech(1.0))
        assert heard == ["not heard"]
        await other.abort()
        await session.abort()

    virtual_time.run(main())
