"""The real conversation, with scripted engines, over real WebRTC: what a client sees of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scripted import ScriptedEngines, ScriptedLlm, ScriptedStt
from scripted_call import serving

from media.audio import Audio, concatenate, silence
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import CallEvent
from media.overlap import OverlapScores
from media.session import SessionConfig
from signaling.caller import Caller, CallerOptions

RATE_HZ = 16_000


def question(duration_s: float = 1.2) -> Audio:
    """Loud enough for the scripted ear, and what a codec carries: a tone."""
    t = np.arange(round(duration_s * RATE_HZ), dtype=np.float32) / RATE_HZ
    tone = Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), RATE_HZ)
    return concatenate([tone, silence(2.0, RATE_HZ)], RATE_HZ)


class PatientJudge:
    """What is speech for 160 ms is an interruption."""

    def judge(self, sound: Audio, speech: Sequence[float], /) -> OverlapScores:
        interruption = 1.0 if sum(probability > 0.5 for probability in speech) >= 5 else 0.3
        return OverlapScores(interruption, 0.0, 1.0 - interruption)


def talk(
    test: Callable[[Caller], Any],
    engines: ScriptedEngines,
    judge: PatientJudge | None = None,
    **session: Any,
) -> None:
    def converse(config: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        return Conversation(engines.engines(), ConversationSettings(), config, notify, judge)

    async def main() -> None:
        async with asyncio.timeout(30), serving(converse=converse) as server:
            async with Caller(server.url, CallerOptions(session=session)) as caller:
                await test(caller)
            assert not server.host.failures

    asyncio.run(main())


def test_a_question_is_answered() -> None:
    engines = ScriptedEngines(
        stt=ScriptedStt(says=("what time is it",)), llm=ScriptedLlm(replies=("It is noon.",))
    )

    async def test(caller: Caller) -> None:
        spoken_at_s = await caller.say(question())
        await caller.next_event("output_audio_buffer.stopped")
        first = caller.first_audible(spoken_at_s)
        assert first is not None
        assert first.at_s - spoken_at_s < 2.5
        types = [received.type for received in caller.events if not received.type.endswith(".delta")]
        expected = [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.input_audio_transcription.completed",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.done",
            "output_audio_buffer.stopped",
        ]
        # `output_audio_buffer.started` and the latency come with the first sound, wherever that falls.
        positions = [types.index(name) for name in expected if types.count(name) == 1]
        assert positions == sorted(positions)
        assert set(expected) | {"output_audio_buffer.started", "vk.turn.latency"} <= set(types)
        said = next(e.event for e in caller.events if e.type == "response.output_audio_transcript.done")
        assert said["transcript"] == "It is noon."
        completed = "conversation.item.input_audio_transcription.completed"
        heard = next(e.event for e in caller.events if e.type == completed)
        assert heard["transcript"] == "what time is it"

    talk(test, engines, greeting="")


def test_who_speaks_before_the_call_stands_is_heard_from_the_first_packet() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=("what time is it",)))

    def converse(config: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        return Conversation(engines.engines(), ConversationSettings(), config, notify)

    async def main() -> None:
        async with asyncio.timeout(30), serving(converse=converse) as server, asyncio.TaskGroup() as tasks:
            caller = Caller(server.url, CallerOptions(session={"greeting": "Good morning everybody"}))
            # Its first packet leaves with the connection, before the data channel is there.
            speaking = tasks.create_task(caller._microphone.say(question(1.2)))
            async with caller:
                spoken_at_s = await speaking
                await caller.next_event("input_audio_buffer.committed")
                transcribed = engines.stt.sessions[0]
                # With the pause of 0.13 s that ends it; a codec's first frames are half as loud.
                assert transcribed.pushed_s == pytest.approx(1.2 + 0.13, abs=0.05)
                await caller.next_audible(spoken_at_s)
            assert not server.host.failures

    asyncio.run(main())


def test_the_greeting_is_heard_from_its_first_word() -> None:
    async def test(caller: Caller) -> None:
        await caller.next_event("output_audio_buffer.stopped")
        loud = [frame for frame in caller.heard if frame.is_active]
        # Three words of 0.3 s each.
        assert 0.02 * len(loud) == pytest.approx(0.9, abs=0.1)

    talk(test, ScriptedEngines(), greeting="Good morning everybody")


def test_barging_in_stops_the_voice() -> None:
    words = " ".join(["word"] * 30)
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(f"{words}.", "Yes.")))

    async def test(caller: Caller) -> None:
        caller.type_text("Tell me a story.")
        started = await caller.next_event("output_audio_buffer.started")
        await caller.next_audible(started.at_s + 1.0)
        await caller.say(question(2.0).slice_s(0, 2.0))
        truncated = await caller.next_event("conversation.item.truncated")
        assert 900 < truncated.event["audio_end_ms"] < 2500
        heard_words = truncated.event["transcript"].split()
        assert len(heard_words) == pytest.approx(truncated.event["audio_end_ms"] / 300, abs=2)
        await asyncio.sleep(0.1)
        late = [frame for frame in caller.heard if frame.at_s > truncated.at_s + 0.06 and frame.is_active]
        assert not late

    talk(test, engines, greeting="")


def test_a_page_that_calls_again_goes_on_where_it_was() -> None:
    engines = ScriptedEngines()

    async def test(caller: Caller) -> None:
        for role, part in (
            ("user", {"type": "input_text", "text": "My name is Ada."}),
            ("assistant", {"type": "output_audio", "transcript": "Hello Ada."}),
        ):
            item = {"type": "message", "role": role, "content": [part]}
            caller.send_event({"type": "conversation.item.create", "item": item})
        caller.type_text("What is my name?")
        await caller.next_event("response.done")
        (request,) = engines.llm.requests
        assert [message.text for message in request.messages[1:]] == [
            "My name is Ada.",
            "Hello Ada.",
            "What is my name?",
        ]

    talk(test, engines, greeting="")


def test_an_unknown_voice_is_named_in_the_error() -> None:
    async def test(caller: Caller) -> None:
        update = {"audio": {"output": {"voice": "nobody"}}}
        caller.send_event({"type": "session.update", "event_id": "e1", "session": update})
        error = (await caller.next_event("error", "session.updated")).event["error"]
        assert (error["code"], error["param"]) == ("voice_unavailable", "session.audio.output.voice")
        assert error["event_id"] == "e1"

    talk(test, ScriptedEngines(), greeting="")


def test_a_client_that_stops_at_speech_started_is_told_only_of_interruptions() -> None:
    """Of one that is decided, and dated back to where it began; of a short sound before it, not at all."""
    story = "One two three four five six seven. Eight nine ten eleven twelve thirteen. And that is all."
    engines = ScriptedEngines(
        stt=ScriptedStt(says=("go on", "mm-hm", "stop")), llm=ScriptedLlm(replies=(story, "Yes."))
    )
    started = "input_audio_buffer.speech_started"

    async def test(caller: Caller) -> None:
        asked_s = await caller.say(question()) - 1.2
        await caller.next_event("output_audio_buffer.started")
        await asyncio.sleep(0.5)
        await caller.say(question(0.12))
        await asyncio.sleep(0.6)
        assert [event.type for event in caller.events].count(started) == 1
        interrupted_s = await caller.say(question(0.8)) - 0.8
        await caller.next_event("output_audio_buffer.cleared")
        first, second = (received for received in caller.events if received.type == started)
        assert 0.15 < second.at_s - interrupted_s < 0.5, "it is told once it is decided"
        apart_ms = second.event["audio_start_ms"] - first.event["audio_start_ms"]
        assert apart_ms == pytest.approx(1000 * (interrupted_s - asked_s), abs=70)

    talk(test, engines, PatientJudge(), greeting="")
