"""The apology is heard though its voice is not there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from media.clauses import StreamingSettings
from media.clock import loop_time_s
from media.conversation_settings import ConversationSettings
from media.engines.protocols import Engines, SpeechChunk, TtsRequest
from media.errors import EngineError, VoiceUnavailable
from media.events import ResponseDone
from media.kept_speech import KeptSpeech
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedTts, WordByWord, quiet, speech
from tests.virtual_call import virtual_call

SORRY = "Sorry, something went wrong. Please say that again."
CLAUSES = ["Sorry, something went wrong.", "Please say that again."]
GONE = EngineError("It is gone.")


def kept_speech(tts: ScriptedTts) -> KeptSpeech:
    return KeptSpeech(tts, SORRY, StreamingSettings())


async def spoken(
    tts: KeptSpeech, text: str, voice: str = "af_heart", speed: float = 1.0
) -> list[SpeechChunk]:
    async with aclosing(tts.speak(TtsRequest(text, voice, speed))) as chunks:
        return [chunk async for chunk in chunks]


def test_it_is_spoken_once_and_sounds_the_same_for_ever() -> None:
    async def main() -> None:
        engine = ScriptedTts()
        tts = kept_speech(engine)
        await tts.keep("af_heart", 1.0)
        assert engine.spoken == CLAUSES
        engine.fails = GONE
        began_s = loop_time_s()
        for clause in CLAUSES:
            (chunk,) = await spoken(tts, clause)
            (original,) = [chunk async for chunk in ScriptedTts().speak(TtsRequest(clause, "af_heart"))]
            np.testing.assert_array_equal(chunk.audio.samples, original.audio.samples)
            assert chunk.words == original.words
        assert loop_time_s() - began_s == pytest.approx(0.2), "that was the two originals"

    virtual_time.run(main())


def test_everything_else_is_the_voices_affair() -> None:
    async def main() -> None:
        engine = ScriptedTts()
        tts = kept_speech(engine)
        for _ in range(2):
            await spoken(tts, "How are you?")
        opening = TtsRequest(CLAUSES[0], "af_heart", after="And")
        async with aclosing(tts.speak(opening)) as chunks:
            assert [chunk async for chunk in chunks]
        assert engine.spoken == ["How are you?", "How are you?", CLAUSES[0]]
        engine.fails = GONE
        with pytest.raises(EngineError, match="It is gone"):
            await spoken(tts, "How are you?")

    virtual_time.run(main())


def test_in_another_voice_it_is_kept_when_it_is_heard_and_until_then_said_in_the_first_one() -> None:
    async def main() -> None:
        engine = ScriptedTts()
        tts = kept_speech(engine)
        await tts.keep("af_heart", 1.0)
        engine.fails = GONE
        assert await spoken(tts, CLAUSES[1], "bf_emma") == await spoken(tts, CLAUSES[1])
        engine.fails = None
        await spoken(tts, CLAUSES[1], "bf_emma")
        await spoken(tts, CLAUSES[1], "bf_emma")
        await spoken(tts, CLAUSES[1], "af_heart", 1.5)
        assert engine.spoken == [*CLAUSES, CLAUSES[1], CLAUSES[1]]

    virtual_time.run(main())


def test_what_breaks_off_is_not_kept_and_not_said_twice() -> None:
    class Breaking(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            async for chunk in super().speak(request):
                yield chunk
            raise GONE

    async def main() -> None:
        engine = Breaking()
        tts = kept_speech(engine)
        await tts.keep("af_heart", 1.0)  # says in the log that it is not
        chunks = tts.speak(TtsRequest(CLAUSES[0], "af_heart"))
        await anext(chunks)
        with pytest.raises(EngineError, match="It is gone"):
            await anext(chunks)
        assert engine.spoken == [CLAUSES[0]] * 2

    virtual_time.run(main())


def test_who_does_not_listen_to_the_end_keeps_nothing() -> None:
    async def main() -> None:
        engine = WordByWord()
        tts = kept_speech(engine)
        async with aclosing(tts.speak(TtsRequest(CLAUSES[0], "af_heart"))) as chunks:
            await anext(chunks)
        assert len(await spoken(tts, CLAUSES[0])) == 4
        assert engine.spoken == [CLAUSES[0]] * 2

    virtual_time.run(main())


def test_a_voice_that_there_is_not_stays_one() -> None:
    class Strict(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            if request.voice == "af_nobody":
                raise VoiceUnavailable("There is no such voice.")
            async for chunk in super().speak(request):
                yield chunk

    async def main() -> None:
        tts = kept_speech(Strict())
        await tts.keep("af_heart", 1.0)
        await tts.keep("af_nobody", 1.0)
        with pytest.raises(VoiceUnavailable):
            await spoken(tts, CLAUSES[0], "af_nobody")

    virtual_time.run(main())


def test_only_so_many_are_kept() -> None:
    async def main() -> None:
        engine = ScriptedTts()
        tts = kept_speech(engine)
        for speed in range(40):
            await spoken(tts, CLAUSES[0], speed=float(speed))
        await spoken(tts, CLAUSES[0], speed=39.0)
        assert len(engine.spoken) == 40
        await spoken(tts, CLAUSES[0], speed=0.0)
        assert len(engine.spoken) == 41

    virtual_time.run(main())


def test_a_caller_hears_it_whose_answer_has_no_voice() -> None:
    class Voiceless(ScriptedEngines):
        def engines(self) -> Engines:
            engines = super().engines()
            return Engines(engines.vad, engines.turn_end, engines.stt, engines.llm, kept)

    engine = ScriptedTts()
    kept = kept_speech(engine)

    async def main() -> None:
        await kept.keep("af_heart", 1.0)
        engine.fails = GONE
        engines = Voiceless(llm=ScriptedLlm(replies=("There.", "Here.")), tts=engine)
        async with virtual_call(engines, ConversationSettings(apology=SORRY)) as call:
            await call.say(speech(0.8), quiet(6.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed", "completed"]
            assert call.said()[-1] == ("assistant", SORRY)
            engine.fails = None
            await call.say(speech(0.8), quiet(4.0))
            assert call.said()[-1] == ("assistant", "Here.")

    virtual_time.run(main())
