"""What a client may send, what it is told of the rest, and how the server's events look as JSON."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.realtime_events import (
    ClientEventError,
    ConversationItemTruncate,
    ItemAddedEvent,
    ResponseCreate,
    SessionUpdateEvent,
    parse_client_event,
    to_wire,
)
from signaling.realtime_items import WireMessage, WirePart


def parse(event: dict[str, Any]) -> Any:
    return parse_client_event(json.dumps(event))


def refusal(text: str) -> ClientEventError:
    with pytest.raises(ClientEventError) as refused:
        parse_client_event(text)
    return refused.value


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.update", "session": {}},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear", "event_id": "e1"},
        {"type": "output_audio_buffer.clear"},
        {"type": "conversation.item.retrieve", "item_id": "item_1"},
        {"type": "conversation.item.delete", "item_id": "item_1"},
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1500},
        {"type": "response.create"},
        {"type": "response.create", "response": None},
        {"type": "response.cancel"},
        {"type": "response.cancel", "response_id": "resp_1"},
        {"type": "vk.conversation.reset"},
    ],
)
def test_every_event_is_read(event: dict[str, Any]) -> None:
    assert parse(event).type == event["type"]


def test_what_means_nothing_here_is_passed_over() -> None:
    """Vendors' clients send these first thing."""
    session = {
        "type": "realtime",
        "model": "gpt-realtime",
        "tools": [],
        "tracing": "auto",
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 24000}, "noise_reduction": None},
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "af_heart", "speed": 1},
        },
    }
    event = parse({"type": "session.update", "session": session})
    assert isinstance(event, SessionUpdateEvent)
    assert event.session.audio is not None
    assert event.session.audio.output is not None
    assert event.session.audio.output.speed == 1


def test_a_null_is_told_from_an_absence() -> None:
    listening = {"turn_detection": None}
    event = parse({"type": "session.update", "session": {"audio": {"input": listening}}})
    assert event.session.audio.input.model_fields_set == {"turn_detection"}


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[" * 10_000, "invalid_json", None),
        ("[]", "invalid_json", None),
        (
            '{"type": "session.update", "session": {"tools": [{"name": "a", "parameters": {"x": NaN}}]}}',
            "invalid_json",
            None,
        ),
        ("{}", "unknown_event", "type"),
        ('{"type": "session.begin"}', "unknown_event", "type"),
        ('{"type": ["session.update"]}', "unknown_event", "type"),
        ('{"type": "session.update"}', "missing_required_parameter", "session"),
        (
            '{"type": "session.update", "session": {"audio": {"output": {"speed": 3}}}}',
            "invalid_value",
            "session.audio.output.speed",
        ),
        (
            '{"type": "session.update", "session": {"audio": {"output": {"speed": "1"}}}}',
            "invalid_type",
            "session.audio.output.speed",
        ),
        (
            '{"type": "session.update", "session": {"output_modalities": ["audio", "text"]}}',
            "array_above_max_length",
            "session.output_modalities",
        ),
        (
            '{"type": "session.update", "session": {"max_output_tokens": 5000}}',
            "invalid_value",
            "session.max_output_tokens",
        ),
        (
            '{"type": "session.update", "session": {"include": [1]}}',
            "invalid_type",
            "session.include[0]",
        ),
        (
            '{"type": "conversation.item.create",'
            ' "item": {"type": "message", "role": "user", "content": []}}',
            "array_below_min_length",
            "item.content",
        ),
        (
            '{"type": "conversation.item.create", "item": {"type": "mcp_call", "role": "user",'
            ' "content": [{"type": "input_text"}]}}',
            "invalid_value",
            "item.type",
        ),
        (
            '{"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": -1}',
            "invalid_value",
            "audio_end_ms",
        ),
        (
            '{"type": "response.create", "response": {"conversation": "other"}}',
            "invalid_value",
            "response.conversation",
        ),
    ],
)
def test_a_mistake_is_named(text: str, code: str, param: str | None) -> None:
    error = refusal(text)
    assert (error.code, error.param) == (code, param)


def test_a_mistake_gives_back_the_events_id() -> None:
    assert refusal('{"type": "nonsense", "event_id": "mine"}').event_id == "mine"
    assert refusal('{"type": "response.cancel", "response_id": 5, "event_id": "mine"}').event_id == "mine"


TEXT = st.text(st.sampled_from('ab0é"\\{}[] '), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["session.update", "conversation.item.create", "conversation.item.truncate", "response.create"]
)
FIELDS = st.sampled_from(
    ["session", "item", "response", "item_id", "audio_end_ms", "event_id", "content_index"]
)
small = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@small
@given(TYPES, st.dictionaries(FIELDS, JSON))
def test_no_message_breaks_the_reader(event_type: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(ClientEventError):
        assert parse({**fields, "type": event_type}).type == event_type


@small
@given(TEXT)
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(ClientEventError):
        parse_client_event(text)


def test_defaults_are_the_apis() -> None:
    truncate = parse({"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 0})
    assert isinstance(truncate, ConversationItemTruncate)
    assert truncate.content_index == 0
    create = parse({"type": "response.create"})
    assert isinstance(create, ResponseCreate)
    assert create.response is None


def sent(*parts: WirePart) -> dict[str, Any]:
    item = WireMessage(id="item_1", status="in_progress", role="user", content=parts)
    decoded: dict[str, Any] = json.loads(to_wire(ItemAddedEvent(item=item)))
    return decoded


def test_nulls_are_left_out_but_for_a_transcript_to_come() -> None:
    event = sent(WirePart(type="input_audio"), WirePart(type="input_text", text="hi"))
    assert next(iter(event)) == "type"
    assert event["event_id"].startswith("event_")
    assert "previous_item_id" not in event
    assert event["item"]["content"] == [
        {"type": "input_audio", "transcript": None},
        {"type": "input_text", "text": "hi"},
    ]


def test_each_event_has_its_own_id() -> None:
    assert sent()["event_id"] != sent()["event_id"]
