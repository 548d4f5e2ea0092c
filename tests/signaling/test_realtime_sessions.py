"""What a session's settings do, what comes back of them, and which are refused. Over a real conversation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from media.conversation_settings import ConversationSettings
from media.errors import EngineError
from media.session import Retention
from media.silence import SilenceSettings
from signaling.realtime_session_mapping import changed_session
from signaling.realtime_session_objects import SessionUpdate
from tests import virtual_time
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, speech
from tests.virtual_call import SESSION

TIMEOUT = {"type": "server_vad", "idle_timeout_ms": 5000}


def listening(**settings: Any) -> dict[str, Any]:
    """A session's settings of how it listens."""
    return {"audio": {"input": settings}}


def updated(session: dict[str, Any], then: dict[str, Any] | None = None) -> dict[str, Any]:
    """The session that comes back."""

    async def main() -> dict[str, Any]:
        async with realtime_call(ScriptedEngines()) as call:
            call.send("session.update", session=session)
            if then is not None:
                call.send("session.update", session=then)
            answer = call.events[-1]
            assert answer["type"] == "session.updated", answer
            whole: dict[str, Any] = answer["session"]
            return whole

    return virtual_time.run(main())


def refused(session: dict[str, Any]) -> tuple[str, str]:
    """The code and the parameter of the error. Nothing has changed then."""

    async def main() -> tuple[str, str]:
        async with realtime_call(ScriptedEngines()) as call:
            before = call.conversation.session
            (answer,) = call.send("session.update", session=session, event_id="mine")
            assert answer["type"] == "error"
            assert answer["error"]["type"] == "invalid_request_error"
            assert answer["error"]["event_id"] == "mine"
            assert call.conversation.session == before
            return answer["error"]["code"], answer["error"]["param"]

    return virtual_time.run(main())


def test_a_session_says_all_that_is_in_effect() -> None:
    whole = updated(listening(turn_detection={"type": "server_vad"}))
    assert whole["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": True,
        "interrupt_response": True,
    }
    assert whole["truncation"] == "auto"
    assert whole["type"] == "realtime"
    semantic = updated(listening(turn_detection={"type": "semantic_vad", "eagerness": "high"}))
    assert semantic["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }


@pytest.mark.parametrize(
    ("truncation", "retention"),
    [
        ("auto", Retention(0.5)),
        (None, Retention(0.5)),
        ("disabled", Retention(None)),
        ({"type": "retention_ratio", "retention_ratio": 0.8}, Retention(0.8)),
        (
            {
                "type": "retention_ratio",
                "retention_ratio": 0.8,
                "token_limits": {"post_instructions": 500},
            },
            Retention(0.8, 2000),
        ),
    ],
)
def test_how_much_of_the_conversation_is_kept(truncation: object, retention: Retention) -> None:
    update = SessionUpdate.model_validate({"truncation": truncation, "parallel_tool_calls": False})
    changed = changed_session(replace(SESSION, retention=Retention(0.1)), update, ())
    assert changed.retention == retention
    assert not changed.parallel_calls


def test_what_clients_ask_for_comes_back() -> None:
    given: dict[str, Any] = {
        "parallel_tool_calls": True,
        "tracing": {"workflow_name": "calls"},
        "truncation": {
            "type": "retention_ratio",
            "retention_ratio": 0.8,
            "token_limits": {"post_instructions": 500},
        },
        "include": ["item.input_audio_transcription.logprobs"],
        **listening(noise_reduction={"type": "near_field"}),
    }
    whole = updated(given)
    assert {name: whole[name] for name in given if name != "audio"} == {
        name: value for name, value in given.items() if name != "audio"
    }
    assert whole["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    kept = updated(given, listening(noise_reduction={"strength": 0.5}))
    assert kept["audio"]["input"]["noise_reduction"] == {"type": "near_field", "strength": 0.5}
    assert kept["truncation"] == given["truncation"]
    cleared = updated(given, {"truncation": None, "tracing": None, **listening(noise_reduction=None)})
    assert cleared["truncation"] == "auto"
    assert "tracing" not in cleared
    assert "noise_reduction" not in cleared["audio"]["input"]


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "invalid_value", "session.prompt"),
        ({"truncation": "sometimes"}, "invalid_value", "session.truncation"),
        (
            {"truncation": {"type": "retention_ratio", "retention_ratio": 1.5}},
            "invalid_value",
            "session.truncation",
        ),
        ({"tracing": "always"}, "invalid_value", "session.tracing"),
        ({"parallel_tool_calls": "yes"}, "invalid_type", "session.parallel_tool_calls"),
        ({"type": "translation"}, "invalid_value", "session.type"),
        ({"instructions": "x" * 20_001}, "string_above_max_length", "session.instructions"),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"audio": {"output": {"speed": 2.5}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": {"output": {"voice": "nobody"}}}, "voice_unavailable", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": "jf_alpha"}}}, "voice_unavailable", "session.audio.output.voice"),
        (
            listening(transcription={"language": "tlh"}),
            "language_unavailable",
            "session.audio.input.transcription.language",
        ),
        (
            listening(noise_reduction={"type": "mid_field"}),
            "invalid_value",
            "session.audio.input.noise_reduction.type",
        ),
        (
            listening(turn_detection={"type": "server_vad", "threshold": 1.5}),
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            listening(turn_detection={"type": "server_vad", "idle_timeout_ms": 4999}),
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            listening(turn_detection={"type": "semantic_vad", "idle_timeout_ms": 6000}),
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            listening(turn_detection={"type": "semantic_vad", "eagerness": "extreme"}),
            "invalid_value",
            "session.audio.input.turn_detection.eagerness",
        ),
    ],
)
def test_what_cannot_be_is_named(session: dict[str, Any], code: str, param: str) -> None:
    assert refused(session) == (code, param)


def test_what_lies_beyond_what_is_possible_here_is_clamped() -> None:
    assert updated({"audio": {"output": {"speed": 0.25}}})["audio"]["output"]["speed"] == 0.5
    assert updated({"audio": {"output": {"speed": 2}}})["audio"]["output"]["speed"] == 2
    for asked, had in ((0, 0.05), (1, 0.95)):
        detection = {"type": "server_vad", "threshold": asked}
        effective = updated(listening(turn_detection=detection))["audio"]["input"]["turn_detection"]
        assert effective["threshold"] == had


@pytest.mark.parametrize(
    ("asked", "had"),
    [("marin", "af_heart"), ("alloy", "bf_emma"), ({"id": "af_heart"}, "af_heart"), ("bf_emma", "bf_emma")],
)
def test_a_vendors_voice_is_answered_by_the_nearest(asked: Any, had: str) -> None:
    """Of these engines' voices, `alloy` has no namesake: the session's stays."""
    session = updated({"audio": {"output": {"voice": "bf_emma"}}}, {"audio": {"output": {"voice": asked}}})
    assert session["audio"]["output"]["voice"] == had


def test_how_turns_are_heard() -> None:
    engines = ScriptedEngines()
    detection = {
        "type": "server_vad",
        "threshold": 0.3,
        "prefix_padding_ms": 640,
        "silence_duration_ms": 1500,
        "create_response": False,
    }
    update = listening(turn_detection=detection, transcription={"language": "es-MX", "prompt": "Tlacotalpan"})

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=update) as call:
            await call.listen(2)
            await call.say(speech(1))
            await call.listen(1)
            assert not call.of("input_audio_buffer.speech_stopped")
            await call.listen(1)
            await call.event("conversation.item.done")
            return call

    call = virtual_time.run(main())
    (stt,) = engines.stt.sessions
    assert (stt.options.language, stt.options.prompt) == ("es", "Tlacotalpan")
    assert stt.pushed_s == pytest.approx(0.64 + 1 + 0.128, abs=0.04)  # with the pause's first hint
    assert not call.of("response.created")
    echoed = call.of("session.created")[0]["session"]["audio"]["input"]
    assert echoed["turn_detection"] == {**detection, "interrupt_response": True}
    assert echoed["transcription"] == {"language": "es", "prompt": "Tlacotalpan"}


def test_without_transcription_no_words_are_told_but_answered() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=("hello",)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=listening(transcription=None)) as call:
            await call.say(speech(1))
            await call.listen()
            await call.response()
            return call

    call = virtual_time.run(main())
    assert not [event for event in call.events if "input_audio_transcription" in event["type"]]
    (done, *_) = call.of("conversation.item.done")
    assert done["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert engines.llm.requests[-1].messages[-1].text == "hello"


def test_without_transcription_a_failure_is_told_as_an_error() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=(EngineError("It is gone.", code="stt_gone"),)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=listening(transcription=None)) as call:
            await call.say(speech(1))
            await call.listen()
            await call.event("conversation.item.done")
            return call

    call = virtual_time.run(main())
    assert [event["error"]["code"] for event in call.of("error")] == ["stt_gone"]
    assert not call.of("conversation.item.input_audio_transcription.failed")


def test_a_transcription_session_answers_nothing() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=("one", "two")))
    update = {"type": "transcription", **listening(turn_detection={"type": "server_vad"})}

    async def main() -> RealtimeCall:
        session = replace(SESSION, greeting="Hello!")
        async with realtime_call(engines, session=session, update=update) as call:
            for count in (1, 2):
                await call.say(speech(1))
                await call.listen()
                await call.event("conversation.item.input_audio_transcription.completed", count)
            (answer,) = call.send("response.create")
            assert answer["error"]["code"] == "session_cannot_respond"
            (answer,) = call.send("session.update", session={"type": "realtime"})
            assert (answer["error"]["code"], answer["error"]["param"]) == ("invalid_value", "session.type")
            call.send("session.update", session={"type": "transcription"})
            return call

    call = virtual_time.run(main())
    whole = call.of("session.updated")[0]["session"]
    assert whole["type"] == "transcription"
    assert whole["object"] == "realtime.transcription_session"
    assert "instructions" not in whole
    assert call.said() == [("user", "one"), ("user", "two")]
    assert not [event for event in call.events if event["type"].startswith("response.")]
    assert engines.llm.requests == engines.llm.read_ahead == []


def test_before_anything_was_said_a_session_may_become_another() -> None:
    assert updated({"type": "transcription"})["type"] == "transcription"
    assert updated({"type": "transcription"}, {"type": "realtime"})["object"] == "realtime.session"


def test_whoever_says_nothing_is_spoken_to() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("It is noon.", "Anything else?", "Still there?")))

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=listening(turn_detection=TIMEOUT)) as call:
            # Before the first answer there is nothing to go on from.
            await call.listen(8)
            await call.say(speech(1))
            await call.listen(1)
            await call.event("output_audio_buffer.stopped")
            await call.listen(5.2)
            await call.event("output_audio_buffer.stopped", 2)
            await call.listen(5.2)
            await call.event("output_audio_buffer.stopped", 3)
            return call

    call = virtual_time.run(main())
    first, second = call.of("input_audio_buffer.timeout_triggered")
    assert first["audio_end_ms"] - first["audio_start_ms"] == 5000
    assert second["audio_start_ms"] > first["audio_end_ms"]
    at = call.events.index(first)
    assert [event["type"] for event in call.events[at : at + 5]] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert {event.get("item_id") for event in call.events[at : at + 2]} == {first["item_id"]}
    assert [text for role, text in call.said() if role == "assistant"] == [
        "It is noon.",
        "Anything else?",
        "Still there?",
    ]
    assert engines.llm.requests[-1].messages[-1].role == "user"
    assert engines.llm.requests[-1].conversation == engines.llm.requests[0].conversation


def test_a_timeout_of_the_sessions_takes_the_place_of_the_servers_questions() -> None:
    settings = ConversationSettings(silence=SilenceSettings(ask_after_s=2))

    async def main() -> None:
        async with realtime_call(ScriptedEngines(), settings) as call:
            call.send("response.create")
            await call.event("output_audio_buffer.stopped")
            call.send("session.update", session=listening(turn_detection=TIMEOUT))
            await asyncio.sleep(4.9)
            assert len(call.of("response.created")) == 1
            await call.event("input_audio_buffer.timeout_triggered")
            await call.event("output_audio_buffer.stopped", 2)
            quiet = {"type": "server_vad", "idle_timeout_ms": None}
            call.send("session.update", session=listening(turn_detection=quiet))
            await call.event("response.created", 3)
            assert len(call.of("input_audio_buffer.timeout_triggered")) == 1

    virtual_time.run(main())


def test_the_model_is_called_what_the_client_calls_it() -> None:
    async def main() -> None:
        async with realtime_call(ScriptedEngines(), update={"model": "gpt-realtime"}) as call:
            assert call.of("session.created")[0]["session"]["model"] == "gpt-realtime"
            call.send("session.update", session={"model": "other"})
            assert call.events[-1]["session"]["model"] == "gpt-realtime"

    virtual_time.run(main())
