"""Engines in another process: the ports over the real wire, and what becomes of work when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.engines.protocols import (
    ChatMessage,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    TtsRequest,
)
from media.engines.wire import Cancel, OpenSession, PushAudio, Request, Speak
from media.errors import EngineError, VoiceUnavailable
from media.events import ResponseDone
from tests import virtual_time
from tests.scripted import (
    ScriptedEngines,
    ScriptedLlm,
    ScriptedStt,
    ScriptedSttSession,
    ScriptedTts,
    ScriptedTurnEnd,
    speech,
)
from tests.virtual_call import virtual_call
from tests.wired_engines import WiredEngines, wired

REQUEST = LlmRequest((ChatMessage("system", "Be brief."), ChatMessage("user", "Hello.")), 160, 0.3)
CLAUSE = TtsRequest("How are you?", "af_heart", lead_s=3.0)


def run(
    test: Callable[[WiredEngines], Coroutine[Any, Any, None]], scripted: ScriptedEngines | None = None
) -> None:
    async def main() -> None:
        async with wired(scripted or ScriptedEngines()) as process:
            await test(process)

    virtual_time.run(main())


async def listed(items: AsyncGenerator[Any, None]) -> list[Any]:
    async with aclosing(items):
        return [item async for item in items]


# The ports


def test_the_engines_say_what_they_are() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(name="whisper (tiny.en)"))

    async def test(process: WiredEngines) -> None:
        engines = process.engines()
        assert engines.stt.name == "whisper (tiny.en)"
        assert engines.stt.languages == scripted.stt.languages
        assert engines.tts.voices == scripted.tts.voices
        assert engines.tts.rate_hz == 24_000
        assert scripted.llm.started
        assert scripted.turn_end.started

    run(test, scripted)


def test_a_turn_is_judged() -> None:
    scripted = ScriptedEngines(turn_end=ScriptedTurnEnd(verdicts=(0.7,)))

    async def test(process: WiredEngines) -> None:
        assert await process.engines().turn_end.judge(speech(1.5)) == 0.7
        assert scripted.turn_end.judged == [1.5]

    run(test, scripted)


def test_a_reply_comes_delta_by_delta() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("Fine, thanks.",), word_s=0.5))

    async def test(process: WiredEngines) -> None:
        began_s = loop_time_s()
        arrivals = []
        async for delta in process.engines().llm.reply(REQUEST):
            arrivals.append((round(loop_time_s() - began_s, 2), delta))
        assert arrivals == [
            (0.05, LlmDelta("Fine,")),
            (0.55, LlmDelta(" thanks.")),
            (1.05, LlmDelta("", "stop", input_tokens=10, output_tokens=2)),
        ]
        assert scripted.llm.requests == [REQUEST]

    run(test, scripted)


def test_a_clause_comes_with_its_words() -> None:
    async def test(process: WiredEngines) -> None:
        (chunk,) = await listed(process.engines().tts.speak(CLAUSE))
        (original,) = await listed(process.scripted.tts.speak(CLAUSE))
        assert isinstance(chunk, SpeechChunk)
        assert chunk.words == original.words
        np.testing.assert_array_equal(chunk.audio.samples, original.audio.samples)

    run(test)


def test_a_turn_is_transcribed_while_it_is_spoken_and_when_it_is_over() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("what time is it",)))

    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en", "Voxtral"))
        partials: list[str] = []

        async def follow() -> None:
            async for transcript in session.partials():
                partials.append(transcript.text)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for _ in range(4):
                await session.push(speech(0.5))
                await asyncio.sleep(0.5)
            transcript = await session.flush()
            await session.abort()
            await session.abort()
        (over_there,) = scripted.stt.sessions
        assert partials == ["what", "what time", "what time is", "what time is it"]
        assert (transcript.text, transcript.audio_s) == ("what time is it", 2.0)
        assert over_there.options == SttOptions("en", "Voxtral")
        assert over_there.aborted

    run(test, scripted)


def test_pushing_takes_one_message_and_waits_for_nothing() -> None:
    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        await session.push(speech(0.032))
        told = len(process.told)
        pushing = session.push(speech(0.032))
        with pytest.raises(StopIteration):  # it ends without ever having waited
            pushing.send(None)
        await session.flush()
        assert [type(message) for message in process.told[told:]][-2:] == [PushAudio, Request]
        await session.abort()

    run(test)


def test_a_language_that_is_not_spoken_and_a_rate_that_is_not_heard_are_refused_at_once() -> None:
    async def test(process: WiredEngines) -> None:
        with pytest.raises(EngineError, match="does not transcribe the language fr") as raised:
            process.engines().stt.open(SttOptions("fr"))
        assert raised.value.code == "language_unavailable"
        session = process.engines().stt.open(SttOptions("en"))
        with pytest.raises(ValueError, match="16000 Hz"):
            await session.push(Audio(np.zeros(160, np.int16), 8000))

    run(test)


# Cancelling and failing


def test_whoever_stops_listening_stops_the_work() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("one two three four five six",), word_s=1.0))

    async def test(process: WiredEngines) -> None:
        async with aclosing(process.engines().llm.reply(REQUEST)) as deltas:
            async for _ in deltas:
                break
        await asyncio.sleep(0.01)
        assert scripted.llm.open_requests == 0
        assert isinstance(process.told[-1], Cancel)

    run(test, scripted)


def test_work_that_has_ended_is_not_cancelled() -> None:
    async def test(process: WiredEngines) -> None:
        await listed(process.engines().llm.reply(REQUEST))
        await process.engines().turn_end.judge(speech(1.0))
        await asyncio.sleep(1)
        assert not any(isinstance(message, Cancel) for message in process.told)

    run(test)


def test_a_flush_that_was_cancelled_can_be_asked_again() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("hello",), takes_s=1.0))

    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.flush()
        assert (await session.flush()).text == "hello"
        await session.abort()
        with pytest.raises(EngineError, match="aborted"):
            await session.flush()

    run(test, scripted)


def test_errors_arrive_as_what_they_are() -> None:
    class Mute(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            raise VoiceUnavailable("There is no such voice.")
            yield  # pragma: no cover - makes it a generator

    failing = ScriptedLlm(replies=(EngineError("too long", code="context_full"),))

    async def test(process: WiredEngines) -> None:
        with pytest.raises(EngineError, match="too long") as raised:
            await listed(process.engines().llm.reply(REQUEST))
        assert raised.value.code == "context_full"
        with pytest.raises(VoiceUnavailable, match="no such voice"):
            await listed(process.engines().tts.speak(CLAUSE))

    run(test, ScriptedEngines(llm=failing, tts=Mute()))


def test_an_engine_that_breaks_breaks_nobody_else() -> None:
    class Broken(ScriptedTurnEnd):
        async def judge(self, turn: Audio) -> float:
            raise KeyError("logits")

    async def test(process: WiredEngines) -> None:
        with pytest.raises(EngineError, match="KeyError: 'logits'") as raised:
            await process.engines().turn_end.judge(speech(1.0))
        assert raised.value.code == "engine_fault"
        assert await listed(process.engines().tts.speak(CLAUSE))

    run(test, ScriptedEngines(turn_end=Broken()))


def test_a_turn_that_takes_its_time_to_end_holds_up_nobody_else() -> None:
    """As where its endpoint is slow to say goodbye."""

    class Lingering(ScriptedSttSession):
        async def abort(self) -> None:
            await super().abort()
            await asyncio.sleep(5.0)

    class LingeringStt(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            return Lingering(options, "", self.takes_s)

    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        await session.abort()
        began_s = loop_time_s()
        await process.engines().turn_end.judge(speech(1.0))
        assert loop_time_s() - began_s < 1.0

    run(test, ScriptedEngines(stt=LingeringStt()))


# Dying and coming back


async def die_after(process: WiredEngines, alive_s: float, dead_s: float = 5.0) -> None:
    """Lives on for so long, and is back so much later."""
    await asyncio.sleep(alive_s)
    process.die()
    await asyncio.sleep(dead_s)
    await process.come_up()


def test_a_reply_that_had_not_begun_is_asked_again() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("Fine.",), first_s=1.0))

    async def test(process: WiredEngines) -> None:
        process.tasks.create_task(die_after(process, 0.5))
        deltas = await listed(process.engines().llm.reply(REQUEST))
        assert "".join(delta.text for delta in deltas) == "Fine."
        assert scripted.llm.requests == [REQUEST, REQUEST]
        assert loop_time_s() == pytest.approx(6.5, abs=0.1)

    run(test, scripted)


def test_a_reply_that_had_begun_fails() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=("one two three four",), word_s=1.0))

    async def test(process: WiredEngines) -> None:
        process.tasks.create_task(die_after(process, 1.5))
        said: list[str] = []

        async def listen() -> None:
            async for delta in process.engines().llm.reply(REQUEST):
                said.append(delta.text)

        with pytest.raises(EngineError) as raised:
            await listen()
        assert said == ["one", " two"]
        assert raised.value.code == "engine_process_died"
        assert len(scripted.llm.requests) == 1
        assert await listed(process.engines().tts.speak(CLAUSE))

    run(test, scripted)


def test_a_clause_that_had_not_begun_is_spoken_again_and_hurriedly() -> None:
    """What was still to be heard when it was asked for first has been heard since."""
    scripted = ScriptedEngines(tts=ScriptedTts(takes_s=1.0))

    async def test(process: WiredEngines) -> None:
        process.tasks.create_task(die_after(process, 0.5))
        assert await listed(process.engines().tts.speak(CLAUSE))
        asked = [message.work.request for message in process.told if _is_speech(message)]
        assert asked == [CLAUSE, replace(CLAUSE, lead_s=0.0)]

    run(test, scripted)


def _is_speech(message: object) -> bool:
    return isinstance(message, Request) and isinstance(message.work, Speak)


def test_a_request_that_kills_twice_is_not_asked_a_third_time() -> None:
    scripted = ScriptedEngines(llm=ScriptedLlm(first_s=60.0))

    async def test(process: WiredEngines) -> None:
        async def die_twice() -> None:
            await die_after(process, 1.0)
            await die_after(process, 1.0)

        process.tasks.create_task(die_twice())
        with pytest.raises(EngineError) as raised:
            await listed(process.engines().llm.reply(REQUEST))
        assert raised.value.code == "engine_process_died"
        assert len(scripted.llm.requests) == 2

    run(test, scripted)


def test_a_turn_survives_with_all_of_its_audio() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("one two three four five six",)))

    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        partials = []

        async def follow() -> None:
            async for transcript in session.partials():
                partials.append(transcript.text)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            tasks.create_task(die_after(process, 1.1, dead_s=1.0))
            for _ in range(6):  # before, during and after
                await session.push(speech(0.5))
                await asyncio.sleep(0.5)
            transcript = await session.flush()
            await session.abort()
        before, after = scripted.stt.sessions
        assert before.pushed_s == 1.5
        assert after.pushed_s == 3.0
        assert (transcript.text, transcript.audio_s) == ("one two three four five six", 3.0)
        assert partials[-1] == "one two three four five six"
        assert [type(message) for message in process.told].count(OpenSession) == 2

    run(test, scripted)


def test_a_flush_under_way_is_asked_again() -> None:
    scripted = ScriptedEngines(stt=ScriptedStt(says=("hello",), takes_s=1.0))

    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        process.tasks.create_task(die_after(process, 0.5))
        transcript = await session.flush()
        assert (transcript.text, transcript.audio_s) == ("hello", 1.0)
        assert scripted.stt.sessions[-1].pushed_s == 1.0
        await session.abort()

    run(test, scripted)


def test_partials_of_an_aborted_turn_end_though_the_process_is_dead() -> None:
    async def test(process: WiredEngines) -> None:
        session = process.engines().stt.open(SttOptions("en"))
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(listed(session.partials()))
            await session.push(speech(0.2))
            await asyncio.sleep(0.1)
            process.die()
            await asyncio.sleep(0.1)
            await session.abort()
            await process.come_up()
            assert await following == []
        assert [type(message) for message in process.told].count(OpenSession) == 1

    run(test)


def test_nobody_waits_for_ever() -> None:
    async def main() -> None:
        async with wired(ScriptedEngines(), wait_s=7.0) as process:
            process.die()
            await asyncio.sleep(0)
            began_s = loop_time_s()
            with pytest.raises(EngineError, match="did not come back within 7 s") as raised:
                await process.engines().turn_end.judge(speech(1.0))
            assert raised.value.code == "engine_process_missing"
            assert loop_time_s() - began_s == pytest.approx(7.0)

    virtual_time.run(main())


def test_what_takes_longer_to_load_than_requests_wait_is_not_waited_for_until_it_is_nearly_back() -> None:
    """It loads for 60 s, the first time for 120."""

    class Large(ScriptedLlm):
        loads_s = 120.0

        async def start(self) -> None:
            await asyncio.sleep(self.loads_s)
            self.loads_s = 60.0

    async def main() -> None:
        async with wired(ScriptedEngines(llm=Large(replies=("Here.",))), wait_s=20.0) as process:
            engines = process.engines()
            for _ in range(2):
                process.die()
                process.link.lost()
                process.tasks.create_task(process.come_up())
                began_s = loop_time_s()
                for after_s in (0.0, 30.0):
                    await asyncio.sleep(began_s + after_s - loop_time_s())
                    with pytest.raises(EngineError, match="being loaded again, for some 60 s") as raised:
                        await listed(engines.llm.reply(REQUEST))
                    assert raised.value.code == "engine_process_missing"
                    assert loop_time_s() - began_s == pytest.approx(after_s), "at once"
                assert await engines.turn_end.judge(speech(1.0)) is not None, "it is back"
                await asyncio.sleep(began_s + 45.0 - loop_time_s())
                (first, *_) = await listed(engines.llm.reply(REQUEST))
                assert first.text == "Here."
                assert loop_time_s() - began_s == pytest.approx(60.0, abs=1.0)

    virtual_time.run(main())


def test_who_waits_already_when_the_process_is_known_to_have_gone_is_let_go() -> None:
    async def main() -> None:
        class Large(ScriptedLlm):
            async def start(self) -> None:
                await asyncio.sleep(120.0)

        async with wired(ScriptedEngines(llm=Large()), wait_s=20.0) as process:
            streaming = process.tasks.create_task(fails(process.engines().llm.reply(REQUEST)))
            await asyncio.sleep(0.01)  # it is under way
            began_s = loop_time_s()
            process.die()
            await streaming
            assert loop_time_s() - began_s < 0.1

    async def fails(deltas: AsyncGenerator[LlmDelta, None]) -> None:
        with pytest.raises(EngineError, match="being loaded again"):
            await listed(deltas)

    virtual_time.run(main())


def test_an_engine_that_is_not_started_yet_is_waited_for() -> None:
    """The process is back, but the language model still loads."""

    class Slow(ScriptedLlm):
        async def start(self) -> None:
            await asyncio.sleep(3.0)

    async def test(process: WiredEngines) -> None:
        process.die()
        process.tasks.create_task(process.come_up())
        began_s = loop_time_s()
        await listed(process.engines().llm.reply(REQUEST))
        assert loop_time_s() - began_s > 3.0

    run(test, ScriptedEngines(llm=Slow()))


def test_who_starts_an_engine_is_told_of_the_death() -> None:
    class Deadly(ScriptedLlm):
        async def start(self) -> None:
            if self.requests:
                process_of_it[0].die()
                await asyncio.sleep(60)

    process_of_it: list[WiredEngines] = []

    async def test(process: WiredEngines) -> None:
        process_of_it.append(process)
        await listed(process.engines().llm.reply(REQUEST))
        with pytest.raises(EngineError) as raised:
            await process.engines().llm.start()
        assert raised.value.code == "engine_process_died"

    run(test, ScriptedEngines(llm=Deadly()))


@pytest.mark.parametrize("alive_s", [0.5, 1.3, 1.5, 1.7, 2.2])
def test_a_conversation_goes_on(alive_s: float) -> None:
    """The process dies while the caller speaks, is transcribed, is answered, is spoken to."""
    scripted = ScriptedEngines(
        stt=ScriptedStt(says=("what time is it",)),
        llm=ScriptedLlm(replies=("It is noon, and a fine day it is.",)),
    )

    async def test(process: WiredEngines) -> None:
        async with virtual_call(process) as call:
            process.tasks.create_task(die_after(process, alive_s))
            for turn in (1, 2):
                await call.say(speech(1.0))
                await call.listen()
                last = await call.event(ResponseDone, turn)
                await asyncio.sleep(10)  # its sound is over, too
            assert call.done_texts("user") == ["what time is it"] * 2
            assert last.response.status == "completed"
            assert call.said()[-1] == ("assistant", "It is noon, and a fine day it is.")

    run(test, scripted)


def test_audio_is_kept_as_it_is_heard() -> None:
    """What is kept for another process is 16 bit: what calls are made of survives to the sample."""

    async def test(process: WiredEngines) -> None:
        pushed = [
            Audio(np.arange(at, at + 512, dtype=np.int16), SPEECH_RATE_HZ) for at in range(0, 2048, 512)
        ]
        session = process.engines().stt.open(SttOptions("en"))
        for audio in pushed:
            await session.push(audio)
        process.die()
        await process.come_up()
        await session.flush()
        again = [message for message in process.told if isinstance(message, PushAudio)][-1]
        np.testing.assert_array_equal(again.audio.samples, np.arange(2048))
        await session.abort()

    run(test)
