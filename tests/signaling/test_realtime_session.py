"""The bridge between a conversation and a Realtime client: order, ids, and whose fault it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from scripted_call import SESSION, ScriptedConversation

from media import events as call
from media.errors import CallerError
from media.items import Message, Part, Response, ResponseOptions, Usage
from media.latency import Stage, TurnLatency
from media.session import TurnDetection
from signaling.realtime_session import RealtimeSession
from signaling.realtime_session_objects import SessionUpdate

USER = Message("item_u", "user", (Part("input_audio", None),), "in_progress")
REPLY = Message("item_a", "assistant", (Part("output_audio", ""),), "in_progress")
RESPONSE = Response("resp_1", "audio", metadata=(("turn", "7"),), voice="af_heart")


class Client:
    """A session, and all that its client was sent."""

    def __init__(self, update: dict[str, Any] | None = None, *, speaks: bool = True) -> None:
        self.events: list[dict[str, Any]] = []
        given = SessionUpdate.model_validate_json(json.dumps(update)) if update is not None else None
        self.session = RealtimeSession(
            SESSION,
            given,
            ScriptedConversation,
            lambda text: self.events.append(json.loads(text)),
            speaks=speaks,
        )
        conversation = self.session.conversation
        assert isinstance(conversation, ScriptedConversation)
        self.conversation = conversation

    def send(self, **event: Any) -> dict[str, Any]:
        """Sends, and returns the last thing that came back."""
        self.session.receive(json.dumps(event))
        return self.events[-1] if self.events else {}

    def happened(self, *events: call.CallEvent) -> list[str]:
        self.events.clear()
        for event in events:
            self.session.notify(event)
        return [event["type"] for event in self.events]


def test_a_spoken_turn_in_the_documented_order() -> None:
    client = Client()
    done = replace(REPLY, parts=(Part("output_audio", "It is noon."),), status="completed")
    types = client.happened(
        call.SpeechStarted("item_u", 120),
        call.SpeechStopped("item_u", 1500),
        call.InputCommitted("item_u", None),
        call.ItemAdded(USER, None),
        call.TranscriptCompleted("item_u", "What time is it?", 1.38),
        call.ItemDone(replace(USER, parts=(Part("input_audio", "What time is it?"),)), None),
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.ItemAdded(REPLY, "item_u"),
        call.OutputPartAdded("resp_1", REPLY),
        call.OutputBufferStarted("resp_1"),
        call.OutputTextDelta("resp_1", "item_a", "It is noon."),
        call.ItemDone(done, "item_u"),
        call.OutputItemDone("resp_1", done),
        call.ResponseDone(replace(RESPONSE, status="completed", output=(done,), usage=Usage(12, 5, 9))),
        call.OutputBufferStopped("resp_1"),
    )
    assert types == [
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
        "output_audio_buffer.started",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    by_type = {event["type"]: event for event in client.events}
    where = {"response_id": "resp_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
    assert (
        by_type["response.output_audio_transcript.delta"].items() >= {**where, "delta": "It is noon."}.items()
    )
    assert by_type["response.content_part.done"]["part"] == {"type": "audio", "transcript": "It is noon."}
    assert by_type["response.output_item.added"]["output_index"] == 0
    usage = by_type["conversation.item.input_audio_transcription.completed"]["usage"]
    assert usage == {"type": "duration", "seconds": 1.38}
    response = by_type["response.done"]["response"]
    assert response["metadata"] == {"turn": "7"}
    assert response["usage"] == {
        "total_tokens": 17,
        "input_tokens": 12,
        "output_tokens": 5,
        "input_token_details": {
            "text_tokens": 12,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 9,
            "cached_tokens_details": {"text_tokens": 9, "audio_tokens": 0},
        },
        "output_token_details": {"text_tokens": 5, "audio_tokens": 0},
    }
    assert response["audio"]["output"]["voice"] == "af_heart"
    assert response["conversation_id"].startswith("conv_")
    assert "status_details" not in response


def test_a_written_reply() -> None:
    client = Client()
    item = Message("item_a", "assistant", (Part("output_text", ""),), "in_progress")
    done = replace(item, parts=(Part("output_text", "Hi."),), status="completed")
    response = Response("resp_1", "text")
    types = client.happened(
        call.ResponseCreated(response),
        call.OutputItemAdded("resp_1", item),
        call.OutputPartAdded("resp_1", item),
        call.OutputTextDelta("resp_1", "item_a", "Hi."),
        call.OutputItemDone("resp_1", done),
        call.ItemDone(done, None),
        call.ResponseDone(replace(response, status="completed", output=(done,))),
    )
    assert types[3:] == [
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert client.events[4]["text"] == "Hi."
    assert "audio" not in client.events[0]["response"]


def test_an_interruption() -> None:
    client = Client({"include": ["vk.heard_text"]})
    cut = replace(REPLY, parts=(Part("output_audio", "It is"),), status="incomplete")
    types = client.happened(
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.OutputPartAdded("resp_1", REPLY),
        call.OutputBufferCleared("resp_1"),
        call.ItemTruncated("item_a", 640, "It is"),
        call.OutputItemDone("resp_1", cut),
        call.ResponseDone(replace(RESPONSE, status="cancelled", reason="turn_detected", output=(cut,))),
    )
    assert types[-1] == "response.done"
    truncated = next(e for e in client.events if e["type"] == "conversation.item.truncated")
    assert (truncated["audio_end_ms"], truncated["transcript"]) == (640, "It is")
    details = client.events[-1]["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "turn_detected"}


@pytest.mark.parametrize(
    ("response", "details"),
    [
        (
            replace(RESPONSE, status="incomplete", reason="max_output_tokens"),
            {"type": "incomplete", "reason": "max_output_tokens"},
        ),
        (
            replace(RESPONSE, status="failed", error="The LLM is gone.", error_code="engine_error"),
            {
                "type": "failed",
                "error": {"type": "server_error", "code": "engine_error", "message": "The LLM is gone."},
            },
        ),
    ],
)
def test_how_a_response_ended(response: Response, details: dict[str, Any]) -> None:
    client = Client()
    client.happened(call.ResponseCreated(RESPONSE), call.ResponseDone(response))
    assert client.events[-1]["response"]["status_details"] == details


def test_our_own_events_go_to_those_who_asked() -> None:
    latency = TurnLatency("item_u", "resp_1", (Stage("endpoint", 0, 412.34),), 903.21)
    truncated = call.ItemTruncated("item_a", 640, "It is")
    assert Client().happened(call.TurnMeasured(latency)) == []
    plain = Client()
    plain.happened(truncated)
    assert "transcript" not in plain.events[0]
    client = Client({"include": ["vk.turn.latency"]})
    client.happened(call.TurnMeasured(latency))
    assert client.events[0]["stages"] == [{"name": "endpoint", "start_ms": 0.0, "duration_ms": 412.3}]
    client.send(type="session.update", session={"include": []})
    assert client.happened(call.TurnMeasured(latency)) == []


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (call.InputCleared(), "input_audio_buffer.cleared"),
        (call.ItemDeleted("item_u"), "conversation.item.deleted"),
        (call.ConversationReset(), "vk.conversation.reset"),
        (call.TranscriptDelta("item_u", "What "), "conversation.item.input_audio_transcription.delta"),
        (
            call.TranscriptFailed("item_u", "No.", "engine_error"),
            "conversation.item.input_audio_transcription.failed",
        ),
        (call.CallFault("Broken.", "engine_error"), "error"),
    ],
)
def test_other_events(event: call.CallEvent, wire: str) -> None:
    assert Client().happened(event) == [wire]


@pytest.mark.parametrize(
    ("event", "act"),
    [
        ({"type": "input_audio_buffer.commit"}, ("commit_input",)),
        ({"type": "input_audio_buffer.clear"}, ("clear_input",)),
        ({"type": "output_audio_buffer.clear"}, ("clear_output",)),
        ({"type": "conversation.item.delete", "item_id": "i"}, ("delete_item", "i")),
        (
            {"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": 5},
            ("truncate_item", "i", 5),
        ),
        ({"type": "response.create"}, ("create_response", ResponseOptions())),
        (
            {
                "type": "response.create",
                "response": {
                    "instructions": "Sing.",
                    "output_modalities": ["text"],
                    "max_output_tokens": 40,
                    "metadata": {"a": "b"},
                },
            },
            (
                "create_response",
                ResponseOptions("Sing.", "text", max_output_tokens=40, metadata=(("a", "b"),)),
            ),
        ),
        ({"type": "response.cancel", "response_id": "r"}, ("cancel_response", "r")),
        ({"type": "vk.conversation.reset"}, ("reset",)),
    ],
)
def test_a_clients_wish_is_done(event: dict[str, Any], act: tuple[Any, ...]) -> None:
    client = Client()
    client.send(**event)
    assert client.conversation.acts == [act]
    assert not client.events


def test_items_are_written_and_read() -> None:
    client = Client()
    client.send(
        type="conversation.item.create",
        previous_item_id="root",
        item={
            "id": "item_mine",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "Hello."}],
        },
    )
    item = Message("item_mine", "assistant", (Part("output_audio", "Hello."),))
    assert client.conversation.acts == [("add_item", item, "root")]
    assert [event["type"] for event in client.events] == ["conversation.item.added", "conversation.item.done"]
    retrieved = client.send(type="conversation.item.retrieve", item_id="item_mine")
    assert retrieved["item"]["content"] == [{"type": "output_audio", "transcript": "Hello."}]
    error = client.send(type="conversation.item.retrieve", item_id="no", event_id="mine")
    assert error["error"] == {
        "type": "invalid_request_error",
        "code": "item_retrieve_invalid_item_id",
        "message": "There is none.",
        "param": "item_id",
        "event_id": "mine",
    }


@pytest.mark.parametrize(
    ("role", "part", "param"),
    [
        ("user", {"type": "output_text", "text": "x"}, "item.content[0].type"),
        ("system", {"type": "input_audio", "transcript": "x"}, "item.content[0].type"),
        ("user", {"type": "input_text"}, "item.content[0].text"),
        ("user", {"type": "input_audio", "text": "x"}, "item.content[0].transcript"),
    ],
)
def test_parts_that_cannot_be(role: str, part: dict[str, Any], param: str) -> None:
    client = Client()
    item = {"type": "message", "role": role, "content": [part]}
    error = client.send(type="conversation.item.create", item=item)
    assert error["error"]["param"] == param
    assert not client.conversation.acts


def test_a_mistake_ends_nothing() -> None:
    client = Client()
    client.session.receive("{nonsense")
    assert client.events[-1]["error"]["code"] == "invalid_json"
    assert client.send(type="no.such")["error"]["code"] == "unknown_event"
    client.send(type="response.create")
    assert client.conversation.acts == [("create_response", ResponseOptions())]


def test_the_conversations_refusal_reaches_the_client() -> None:
    client = Client()
    client.conversation.refuses = CallerError(
        "Cancellation failed: no response is active.", code="response_cancel_not_active"
    )
    error = client.send(type="response.cancel", event_id="e9")["error"]
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "e9")
    assert error["message"].startswith("Cancellation failed")
    client.conversation.refuses = CallerError(
        "There is no such voice.", code="voice_unavailable", param="voice"
    )
    error = client.send(type="session.update", session={"audio": {"output": {"voice": "nobody"}}})["error"]
    assert error["param"] == "session.audio.output.voice"
    assert client.conversation.session.voice == "af_heart"


def test_the_whole_effective_session_comes_back() -> None:
    client = Client()
    client.session.open()
    assert client.events[-1]["type"] == "session.created"
    updated = client.send(
        type="session.update",
        session={
            "type": "realtime",
            "instructions": "Be kind.",
            "max_output_tokens": 200,
            "audio": {
                "input": {
                    "transcription": {"model": "whisper-1", "language": "de"},
                    "turn_detection": {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 700},
                },
                "output": {"voice": "bf_emma", "speed": 0.25},
            },
        },
    )
    session = updated["session"]
    assert updated["type"] == "session.updated"
    assert session["object"] == "realtime.session"
    assert session["id"] == client.events[0]["session"]["id"]
    assert session["instructions"] == "Be kind."
    assert session["max_output_tokens"] == 200
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "de"}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.6,
        "silence_duration_ms": 700,
        "create_response": True,
        "interrupt_response": True,
    }
    # A speed that the API allows and the voices do not is clamped, and said to be.
    assert session["audio"]["output"]["speed"] == 0.5
    assert client.conversation.session.turn_detection == TurnDetection(
        "server_vad", silence_s=0.7, threshold=0.6
    )


def test_an_update_leaves_the_rest_as_it_was() -> None:
    client = Client({"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}})
    listening: dict[str, Any] = {"turn_detection": {"interrupt_response": False}}
    client.send(type="session.update", session={"audio": {"input": listening}})
    detection = client.conversation.session.turn_detection
    assert detection == TurnDetection(eagerness="low", interrupt_response=False)
    client.send(type="session.update", session={"audio": {"input": {"turn_detection": None}}})
    assert client.conversation.session.turn_detection is None
    assert "turn_detection" not in client.events[-1]["session"]["audio"]["input"]
    client.send(type="session.update", session={"audio": {"input": {"transcription": None}}})
    assert not client.conversation.session.transcribe
    assert client.conversation.session.instructions == "Be brief."


def test_where_no_voice_can_be_carried_replies_are_written() -> None:
    client = Client({"output_modalities": ["audio"]}, speaks=False)
    assert client.conversation.session.modality == "text"
    error = client.send(type="response.create", response={"output_modalities": ["audio"]})["error"]
    assert error["param"] == "response.output_modalities"
