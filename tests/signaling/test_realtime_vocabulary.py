"""Every event that the server can send, from real conversations: as the API's types have it, in its order."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
from openai.types import realtime as api
from pydantic import BaseModel

from media.errors import EngineError
from signaling.realtime_events import ClientEvent, ServerEvent
from tests import virtual_time
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedStt, calls, speech

Scene = Callable[[RealtimeCall], Awaitable[None]]

OURS_BESIDE = {"session": {"id", "object"}}
"""What the API sends as well; its clients' type of a session, that of what they ask for, leaves it out."""
SECOND = base64.b64encode(np.full(24_000, 8000, "<i2").tobytes()).decode()

TWO_CALLS = Calls((("clock", "{}"), ("clock", '{"zone": "UTC"}')))


async def spoken_turn(call: RealtimeCall) -> None:
    await call.say(speech(1))
    await call.listen()
    await call.event("output_audio_buffer.stopped")


async def interruption(call: RealtimeCall) -> None:
    await call.say(speech(1))
    await call.listen(0.6)
    await call.event("output_audio_buffer.started")
    await call.listen(0.5)
    await call.say(speech(1))
    await call.event("conversation.item.truncated")


async def written_reply(call: RealtimeCall) -> None:
    call.send("response.create", response={"output_modalities": ["text"], "metadata": {"a": "b"}})
    await call.response()
    call.send("response.create", response={"output_modalities": ["text"], "conversation": "none"})
    await call.response(2)
    call.send("response.create", response={"output_modalities": ["text"], "max_output_tokens": 1})
    await call.response(3)


async def cancelled_reply(call: RealtimeCall) -> None:
    call.send("response.create")
    await call.event("output_audio_buffer.started")
    call.send("response.cancel")
    call.send("output_audio_buffer.clear")


async def items(call: RealtimeCall) -> None:
    for role, kind in (("user", "input_text"), ("assistant", "output_text"), ("system", "input_text")):
        item = {"type": "message", "role": role, "id": role, "content": [{"type": kind, "text": "x"}]}
        call.send("conversation.item.create", item=item)
        call.send("conversation.item.retrieve", item_id=role)
    recording = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": SECOND}]}
    call.send("conversation.item.create", item=recording)
    await call.event("conversation.item.done", 4)
    call.send("conversation.item.delete", item_id="user")
    call.send("conversation.item.delete", item_id="user")


async def function_items(call: RealtimeCall) -> None:
    made = {"type": "function_call", "call_id": "c", "name": "clock", "arguments": "{}"}
    call.send("conversation.item.create", item=made)
    output = {"type": "function_call_output", "call_id": "c", "output": "noon"}
    call.send("conversation.item.create", item=output)


async def function_calls(call: RealtimeCall) -> None:
    clock = {"type": "function", "name": "clock", "parameters": {"type": "object"}}
    call.send(
        "session.update", session={"tools": [clock], "tool_choice": {"type": "function", "name": "clock"}}
    )
    for count in (1, 2):
        call.send("response.create", response={"output_modalities": ["text"]})
        response = await call.response(count)
        called = response["output"][-1]
        output = {"type": "function_call_output", "call_id": called["call_id"], "output": "noon"}
        call.send("conversation.item.create", item=output)
    call.send("response.create", response={"tool_choice": "none", "tools": [clock]})
    await call.response(3)


async def one_call_at_a_time(call: RealtimeCall) -> None:
    clock = {"type": "function", "name": "clock", "parameters": {"type": "object"}}
    written = {"output_modalities": ["text"], "tools": [clock]}
    call.send("session.update", session={**written, "parallel_tool_calls": False})
    call.send("response.create")
    await call.response()
    call.send("session.update", session={"parallel_tool_calls": True})
    call.send("response.create", response={"parallel_tool_calls": False})
    await call.response(2)
    call.send("response.create")
    await call.response(3)


async def too_long(call: RealtimeCall) -> None:
    call.send("session.update", session={"truncation": "disabled"})
    for number in range(8):
        content = [{"type": "input_text", "text": f"question {number}"}]
        call.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    call.send("response.create")
    await call.response()


async def manual_turn(call: RealtimeCall) -> None:
    call.send("input_audio_buffer.commit")
    call.send("session.update", session={"audio": {"input": {"turn_detection": None}}})
    await call.say(speech(1))
    call.send("input_audio_buffer.clear")
    await call.say(speech(1))
    call.send("input_audio_buffer.commit")
    call.send("response.create")
    await call.event("output_audio_buffer.stopped")


async def failing_engines(call: RealtimeCall) -> None:
    await call.say(speech(1))
    await call.listen()
    await call.event("conversation.item.input_audio_transcription.failed")
    call.send("response.create")
    await call.response()


async def settings(call: RealtimeCall) -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    session = {
        "audio": {
            "input": {
                "turn_detection": detection,
                "noise_reduction": {"type": "far_field"},
                "transcription": {"model": "whisper-1", "language": "en", "prompt": "names"},
            }
        },
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
        "tracing": "auto",
        "parallel_tool_calls": False,
        "include": ["item.input_audio_transcription.logprobs"],
    }
    call.send("session.update", session=session)
    call.send("response.create")
    await call.event("input_audio_buffer.timeout_triggered")


async def transcription_session(call: RealtimeCall) -> None:
    call.send("session.update", session={"type": "transcription"})
    await call.say(speech(1))
    await call.listen()
    await call.event("conversation.item.input_audio_transcription.completed")


async def keys(call: RealtimeCall) -> None:
    call.conversation.press("5")
    call.conversation.press("#")
    await call.event("output_audio_buffer.stopped")


async def audio_in_events(call: RealtimeCall) -> None:
    call.send("response.create")
    response = await call.response()
    item = response["output"][0]
    call.send("conversation.item.truncate", item_id=item["id"], audio_end_ms=100)


SCENES: dict[str, tuple[Scene, ScriptedEngines, dict[str, Any]]] = {}


def scene(play: Scene, engines: ScriptedEngines | None = None, **options: Any) -> None:
    SCENES[play.__name__] = (play, engines or ScriptedEngines(), options)


scene(spoken_turn)
scene(interruption, ScriptedEngines(llm=ScriptedLlm(replies=("One two three four five six seven.",))))
scene(written_reply)
scene(cancelled_reply)
scene(items)
scene(function_items)
scene(
    function_calls,
    ScriptedEngines(llm=ScriptedLlm(replies=(calls("clock"), calls("clock", says="Let me see."), "Noon."))),
)
scene(one_call_at_a_time, ScriptedEngines(llm=ScriptedLlm(replies=(TWO_CALLS,) * 3)))
scene(too_long, ScriptedEngines(llm=ScriptedLlm(replies=(EngineError("Too long.", code="context_full"),))))
scene(manual_turn)
scene(
    failing_engines,
    ScriptedEngines(
        stt=ScriptedStt(says=(EngineError("It is gone."),)),
        llm=ScriptedLlm(replies=(EngineError("It is gone, too."),)),
    ),
)
scene(settings)
scene(transcription_session)
scene(keys)
scene(audio_in_events, as_data=True)


@cache
def events_of(name: str) -> tuple[dict[str, Any], ...]:
    """What a client of a scene is sent."""
    play, engines, options = SCENES[name]

    async def main() -> tuple[dict[str, Any], ...]:
        async with realtime_call(engines, **options) as call:
            await play(call)
        return tuple(call.events)

    return virtual_time.run(main())


def types_of(name: str) -> list[str]:
    return [event["type"] for event in events_of(name)]


MODELS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(get_args(api.RealtimeServerEvent)[0])
}


def unknown_fields(model: BaseModel, path: str = "") -> Iterator[str]:
    """What the API's types do not have, wherever it is."""
    allowed = OURS_BESIDE.get(path, set())
    yield from (f"{path}.{name}" for name in (model.model_extra or {}) if name not in allowed)
    for name in type(model).model_fields:
        value = getattr(model, name)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, BaseModel):
                yield from unknown_fields(part, f"{path}.{name}" if path else name)


@pytest.mark.parametrize("name", SCENES)
def test_events_are_the_apis(name: str) -> None:
    for event in events_of(name):
        model = MODELS[event["type"]].model_validate(event, strict=True)
        assert not list(unknown_fields(model)), event


def test_no_type_of_ours_was_left_out() -> None:
    ours = {get_args(model.model_fields["type"].annotation)[0] for model in get_args(ServerEvent)}
    seen = {event["type"] for name in SCENES for event in events_of(name)}
    opt_in = {event_type for event_type in ours if event_type.startswith("vk.")}
    assert seen == ours - opt_in
    assert ours - opt_in <= MODELS.keys()


def test_every_event_of_the_apis_clients_is_known() -> None:
    theirs = {
        get_args(model.model_fields["type"].annotation)[0]
        for model in get_args(get_args(api.RealtimeClientEvent)[0])
    }
    ours = {get_args(model.model_fields["type"].annotation)[0] for model in get_args(ClientEvent)}
    assert ours - theirs == {"vk.conversation.reset"}
    assert not theirs - ours


def in_order(types: list[str], expected: list[str]) -> bool:
    """Whether the expected ones come, in that order, perhaps with others between them."""
    rest = iter(types)
    return all(any(found == wanted for found in rest) for wanted in expected)


def test_a_turn_is_in_the_apis_order() -> None:
    types = types_of("spoken_turn")
    assert in_order(
        types,
        [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "output_audio_buffer.started",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "output_audio_buffer.stopped",
        ],
    )
    deltas = [i for i, found in enumerate(types) if found == "response.output_audio_transcript.delta"]
    assert types.index("response.content_part.added") < deltas[0]
    assert deltas[-1] < types.index("response.output_audio_transcript.done")


def test_an_interruption_is_in_the_apis_order() -> None:
    types = types_of("interruption")
    at = types.index("output_audio_buffer.started")
    assert in_order(
        types[at:],
        [
            "input_audio_buffer.speech_started",
            "output_audio_buffer.cleared",
            "conversation.item.truncated",
        ],
    )
    events = events_of("interruption")
    cut = next(event for event in events if event["type"] == "conversation.item.truncated")
    response = next(event["response"] for event in events if event["type"] == "response.done")
    assert cut["item_id"] == response["output"][0]["id"]


def test_a_response_that_is_being_made_ends_before_its_sound_is_cleared() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two three. Four five six. Seven.",), word_s=1))

    async def main() -> list[str]:
        async with realtime_call(engines) as call:
            await interruption(call)
            done = call.of("response.done")[0]["response"]
            assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
            return call.types()

    assert in_order(
        virtual_time.run(main()),
        [
            "output_audio_buffer.started",
            "input_audio_buffer.speech_started",
            "response.output_audio.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "output_audio_buffer.cleared",
            "conversation.item.truncated",
        ],
    )


def test_a_failure_is_told_and_ends_the_response() -> None:
    events = events_of("failing_engines")
    types = types_of("failing_engines")
    assert in_order(
        types,
        [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.input_audio_transcription.failed",
            "conversation.item.done",
            "response.created",
            "error",
            "response.output_item.done",
            "response.done",
        ],
    )
    (error,) = [event["error"] for event in events if event["type"] == "error"]
    assert error["type"] == "server_error"
    done = events[types.index("response.done")]["response"]
    assert (done["status"], done["status_details"]["type"]) == ("failed", "failed")


def test_a_conversation_that_the_client_wants_whole_may_be_too_long() -> None:
    events = events_of("too_long")
    types = types_of("too_long")
    assert in_order(types, ["session.updated", "response.created", "error", "response.done"])
    (error,) = [event["error"] for event in events if event["type"] == "error"]
    assert (error["type"], error["code"]) == ("server_error", "context_full")
    done = events[types.index("response.done")]["response"]
    assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", "context_full")
    _, engines, _ = SCENES["too_long"]
    assert len(engines.llm.requests) == 1, "it was not told shorter"


def test_one_call_at_a_time_is_told_where_the_client_wants_it_so() -> None:
    events = events_of("one_call_at_a_time")
    done = [event["response"] for event in events if event["type"] == "response.done"]
    assert [len(response["output"]) for response in done] == [1, 1, 2]
    called = [event["item_id"] for event in events if event["type"].endswith("arguments.done")]
    assert called == [item["id"] for response in done for item in response["output"]]


def test_a_session_that_only_transcribes_tells_words_alone() -> None:
    assert types_of("transcription_session") == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "conversation.item.input_audio_transcription.delta",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.done",
    ]


def test_a_turn_and_its_items_hang_together() -> None:
    events = events_of("spoken_turn")
    committed = next(event for event in events if event["type"] == "input_audio_buffer.committed")
    added = [event for event in events if event["type"] == "conversation.item.added"]
    assert added[0]["item"]["id"] == committed["item_id"]
    assert added[1]["previous_item_id"] == committed["item_id"]
    done = next(event["response"] for event in events if event["type"] == "response.done")
    assert [item["id"] for item in done["output"]] == [added[1]["item"]["id"]]
    assert {event["response_id"] for event in events if "response_id" in event} == {done["id"]}
    assert len({event["event_id"] for event in events}) == len(events)
