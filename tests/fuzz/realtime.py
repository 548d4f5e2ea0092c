"""Realtime sessions over real conversations; their clients send anything. Beside each is a decent one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, get_args

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openai.types import realtime as api
from pydantic import TypeAdapter

from media.errors import EngineError, ToolError
from signaling.realtime_events import ClientEventError, parse_client_event
from tests import virtual_time
from tests.fuzz.json_texts import texts
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedToolbox, calls, quiet, speech

BATCH = 12
"""Messages in one call."""

TEXT = {"type": "input_text", "text": "hello"}
SILENCE = "AAAA" * 160
RECORDING = {"type": "input_audio", "audio": SILENCE}
EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"instructions": "Sing.", "output_modalities": ["text"]}},
    {"type": "session.update", "session": {"output_modalities": ["audio"], "max_output_tokens": 3}},
    {"type": "session.update", "session": {"type": "transcription"}},
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "tracing": "auto",
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {}},
            "include": ["vk.turn.latency", "vk.heard_text"],
            "tools": [{"type": "function", "name": "clock", "parameters": {"type": "object"}}],
            "tool_choice": "auto",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": {"type": "near_field"},
                    "transcription": {"model": "whisper-1", "language": "en", "prompt": "names"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 200,
                        "idle_timeout_ms": 5000,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"voice": "marin", "speed": 1.5, "format": {"type": "audio/pcmu"}},
            },
        },
    },
    {
        "type": "session.update",
        "session": {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}},
    },
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
    {"type": "input_audio_buffer.append", "audio": SILENCE},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear", "event_id": "mine"},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "id": "item_1", "content": [TEXT]},
        "previous_item_id": "root",
    },
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [TEXT, RECORDING],
        },
    },
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "Hi."}],
        },
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
    },
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.retrieve", "item_id": "$item"},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "conversation.item.delete", "item_id": "$item"},
    {"type": "conversation.item.truncate", "item_id": "$item", "content_index": 0, "audio_end_ms": 200},
    {"type": "response.create"},
    {"type": "response.create", "response": {"conversation": "none", "output_modalities": ["text"]}},
    {"type": "response.create", "response": {"conversation": "none", "input": []}},
    {
        "type": "response.create",
        "response": {
            "instructions": "Sing.",
            "metadata": {"a": "b"},
            "max_output_tokens": "inf",
            "input": [{"type": "item_reference", "id": "item_1"}],
            "audio": {"output": {"voice": "bf_emma"}},
        },
    },
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": "$response"},
    {"type": "vk.conversation.reset"},
]
"""Every client event there is. `$item` and `$response` become the last of which the client was told."""

MESSAGES = texts(EVENTS)
PAUSES_S = st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.4])
SESSIONS = st.sampled_from([{}, {}, {"as_data": True}, {"speaks": False}])
SPEAKS_FOR_S = st.sampled_from([0.0, 0.0, 0.0, 0.6])
Step = tuple[str, float, float]
STEPS = st.lists(st.tuples(MESSAGES, PAUSES_S, SPEAKS_FOR_S), min_size=BATCH, max_size=BATCH)


def check(examples: int) -> None:
    """Tries so many calls."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(STEPS, SESSIONS)
    def calls_survive(steps: list[Step], options: dict[str, Any]) -> None:
        virtual_time.run(_two_calls(steps, options))

    calls_survive()


async def _two_calls(steps: list[Step], options: dict[str, Any]) -> None:
    """One is tried, the other goes on as if nothing was."""
    engines = ScriptedEngines()
    llm = ScriptedLlm(replies=_replies())
    toolbox = ScriptedToolbox({"get_weather": "sunny", "lights": ToolError("They do not answer.")})
    async with (
        realtime_call(engines) as decent,
        realtime_call(replace(engines, llm=llm), toolbox=toolbox, **options) as tried,
    ):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_talk(decent))
            for text, pause_s, speaks_for_s in steps:
                await _send(tried, _addressed(tried, text))
                if speaks_for_s:
                    await tried.say(speech(speaks_for_s), quiet(0.4))
                await asyncio.sleep(pause_s)
        _look_at(tried)
        # Whatever was sent, the next right event is taken.
        assert [event["type"] for event in tried.send("session.update", session={})] == ["session.updated"]
        assert [event["type"] for event in decent.events if event["type"] == "error"] == []


def _replies() -> tuple[str | Calls | EngineError, ...]:
    """What the one that is tried is answered: tools of its own and the server's, and failures.

    Made anew for each: an exception keeps the frames of wherever it was raised.
    """
    return (
        "One two three. Four.",
        calls("clock", "{}", says="Let me see."),
        "Five.",
        calls("get_weather"),
        EngineError("It is gone."),
        Calls((("lights", "{}"), ("clock", "{}"))),
        "Six seven. Eight nine ten.",
    )


async def _talk(call: RealtimeCall) -> None:
    """A whole exchange, spoken and written."""
    await call.say(speech(0.6), quiet(0.6))
    await call.event("output_audio_buffer.stopped")
    call.send("conversation.item.create", item={"type": "message", "role": "user", "content": [TEXT]})
    call.send("response.create", response={"output_modalities": ["text"]})
    await call.response(2)
    assert [role for role, _ in call.said()] == ["user", "assistant", "user", "assistant"]
    assert [event["response"]["status"] for event in call.of("response.done")] == ["completed"] * 2


def _addressed(call: RealtimeCall, text: str) -> str:
    for name, found in (("item", "conversation.item.added"), ("response", "response.created")):
        if f"${name}" in text and (told := call.of(found)):
            text = text.replace(f"${name}", told[-1][name]["id"])
    return text


async def _send(call: RealtimeCall, text: str) -> None:
    """Sends a message. One that is no event is answered by one error, which says what is wrong with it."""
    before = len(call.events)
    await call.session.receive_in_order(text)
    answers = call.events[before:]
    errors = [event["error"] for event in answers if event["type"] == "error"]
    mistakes = [found for found in errors if found["type"] == "invalid_request_error"]
    expected = _mistake_in(text)
    if expected is not None:
        assert [found["code"] for found in mistakes] == [expected.code], (text, answers)
        assert mistakes[0].get("event_id") == expected.event_id
    else:
        event_id = json.loads(text).get("event_id")
        assert all(found.get("event_id") == event_id for found in mistakes), (text, answers)


def _mistake_in(text: str) -> ClientEventError | None:
    try:
        parse_client_event(text)
    except ClientEventError as error:
        return error
    return None


def _look_at(call: RealtimeCall) -> None:
    for event in call.events:
        if event["type"].startswith("vk."):
            continue
        # Words of ours are given back among the extras that a session wants.
        session = {name: value for name, value in event.get("session", {}).items() if name != "include"}
        _MODELS[event["type"]].validate_python({**event, "session": session})


_MODELS: dict[str, TypeAdapter[Any]] = {
    get_args(model.model_fields["type"].annotation)[0]: TypeAdapter(model)
    for model in get_args(get_args(api.RealtimeServerEvent)[0])
}
