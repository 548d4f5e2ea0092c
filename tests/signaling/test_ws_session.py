"""The bridge between a conversation and a client of `/ws`: order, ids, and whose fault it was."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scripted_call import SESSION, ScriptedConversation

from media import events as call
from media.audio import Audio
from media.errors import CallerError
from media.items import FunctionCall, FunctionCallOutput, Message, Part, Response, ResponseOptions
from media.latency import Stage, TurnLatency
from media.session import TurnDetection
from signaling.ws_session import WsSession

USER = Message("item_u", "user", (Part("input_audio", None),), "in_progress")
REPLY = Message("item_a", "assistant", (Part("output_audio", ""),), "in_progress")
DONE = replace(REPLY, parts=(Part("output_audio", "It is noon."),), status="completed")
RESPONSE = Response("resp_1", "audio")
TONE = Audio((np.sin(np.arange(3600) / 7) * 20_000).astype(np.int16), 24_000)
"""150 ms."""


class Client:
    """A session, and all that its client was sent. It is its own line."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.heard: list[Audio] = []
        self.acts: list[str] = []
        self.conversation = ScriptedConversation(SESSION, lambda event: self.session.notify(event))
        self.session = WsSession(
            "rtc_1", self.conversation, lambda text: self.messages.append(json.loads(text))
        )

    async def begin(self) -> None:
        self.acts.append("begin")

    def hear(self, audio: Audio) -> None:
        self.heard.append(audio)

    async def heard_all(self) -> None:
        self.acts.append("heard all")

    def forget(self) -> None:
        self.acts.append("forget")

    def hang_up(self) -> None:
        self.acts.append("hang up")

    def send(self, **message: Any) -> dict[str, Any]:
        """Sends, and returns the last thing that came back."""
        self.receive(json.dumps(message))
        return self.messages[-1] if self.messages else {}

    def receive(self, text: str) -> None:
        asyncio.run(self.session.receive(text, self))

    def happened(self, *events: call.CallEvent) -> list[str]:
        self.messages.clear()
        for event in events:
            self.session.notify(event)
        return [message["type"] for message in self.messages]


def started(**start: Any) -> Client:
    client = Client()
    client.send(type="start", **start)
    client.messages.clear()
    client.conversation.acts.clear()
    return client


def test_the_client_is_greeted_with_what_there_is() -> None:
    client = Client()
    client.session.open()
    (greeting,) = client.messages
    assert greeting["type"] == "connection"
    assert greeting["call_id"] == "rtc_1"
    assert greeting["encodings"] == ["int16", "float32"]
    assert (greeting["min_rate_hz"], greeting["max_rate_hz"]) == (8_000, 96_000)
    assert "text_only" in greeting["features"]
    assert greeting["settings"]["voice"] == "af_heart"
    assert client.acts == [], "nothing begins before the client's first message"


def test_a_call_begins_as_the_client_wants_it() -> None:
    client = Client()
    answer = client.send(
        type="start",
        input={"encoding": "float32", "rate_hz": 44_100},
        output={"rate_hz": 8_000},
        settings={"voice": "bf_emma", "speed": 0.25, "language": "de", "greeting": ""},
        items=[{"role": "user", "text": "Hi.", "item_id": "item_1"}],
    )
    started_message, item = client.messages
    assert answer is item
    assert started_message["type"] == "started"
    assert started_message["input"] == {"encoding": "float32", "rate_hz": 44_100}
    assert started_message["output"] == {"encoding": "int16", "rate_hz": 8_000}
    # A speed that the voices do not have is clamped, and said to be.
    told = started_message["settings"]
    assert (told["voice"], told["speed"], told["language"], told["greeting"]) == ("bf_emma", 0.5, "de", "")
    assert item["item"] == {"item_id": "item_1", "role": "user", "status": "completed", "text": "Hi."}
    assert client.acts == ["begin"]
    error = client.send(type="start")
    assert error["code"] == "already_started"
    assert client.acts == ["begin"]


def test_any_other_message_begins_it_with_the_defaults() -> None:
    client = Client()
    assert client.send(type="ping", id="p1") == {"type": "pong", "id": "p1"}
    assert client.acts == []
    client.send(type="audio", audio=b64encode(b"\0\0\1\0").decode())
    assert client.acts == ["begin"]
    assert [message["type"] for message in client.messages] == ["pong", "started"]
    assert client.heard[0].rate_hz == 16_000
    assert client.heard[0].samples.tolist() == [0, 1]


def test_a_start_that_cannot_be_may_be_tried_again() -> None:
    client = Client()
    client.conversation.refuses = CallerError("No such voice.", code="voice_unavailable", param="voice")
    error = client.send(type="start", id="s1", settings={"voice": "nobody"})
    assert (error["code"], error["param"], error["reply_to"]) == ("voice_unavailable", "settings.voice", "s1")
    assert client.acts == []
    client.conversation.refuses = None
    assert (client.send(type="start"))["type"] == "started"
    assert client.acts == ["begin"]


def test_a_call_of_text_alone() -> None:
    client = started(text_only=True)
    assert client.conversation.session.modality == "text"
    error = client.send(type="settings", settings={"modality": "audio"})
    assert error["param"] == "settings.modality"
    error = client.send(type="respond", modality="audio")
    assert error["param"] == "modality"
    item = Message("item_a", "assistant", (Part("output_text", ""),), "in_progress")
    done = replace(item, parts=(Part("output_text", "Hi."),), status="completed")
    response = Response("resp_1", "text")
    types = client.happened(
        call.ResponseCreated(response),
        call.OutputItemAdded("resp_1", item),
        call.ItemAdded(item, None),
        call.OutputPartAdded("resp_1", item),
        call.OutputTextDelta("resp_1", "item_a", "Hi."),
        call.ItemDone(done, None),
        call.OutputItemDone("resp_1", done),
        call.ResponseDone(replace(response, status="completed", output=(done,))),
    )
    assert types == ["response_started", "item", "response_text", "response_text", "conversation_complete"]
    assert client.messages[-1] == {
        "type": "conversation_complete",
        "response_id": "resp_1",
        "item_id": "item_a",
        "status": "completed",
        "text": "Hi.",
    }


def test_a_spoken_turn_in_the_documented_order() -> None:
    client = started(output={"rate_hz": 24_000})
    types = client.happened(
        call.SpeechStarted("item_u", 120),
        call.TranscriptDelta("item_u", "What time"),
        call.TranscriptDelta("item_u", " is it?"),
        call.SpeechStopped("item_u", 1500),
        call.InputCommitted("item_u", None),
        call.ItemAdded(USER, None),
        call.TranscriptCompleted("item_u", "What time is it?", 1.38),
        call.ItemDone(replace(USER, parts=(Part("input_audio", "What time is it?"),)), None),
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.ItemAdded(REPLY, "item_u"),
        call.OutputPartAdded("resp_1", REPLY),
        call.OutputTextDelta("resp_1", "item_a", "It is noon."),
        call.OutputAudioDelta("resp_1", "item_a", TONE),
        call.OutputBufferStarted("resp_1"),
        call.ItemDone(DONE, "item_u"),
        call.OutputItemDone("resp_1", DONE),
        call.ResponseDone(replace(RESPONSE, status="completed", output=(DONE,))),
        call.OutputBufferStopped("resp_1"),
    )
    assert types == [
        "speech_started",
        "transcription",
        "transcription",
        "speech_stopped",
        "item",
        "transcription",
        "response_started",
        "item",
        "response_text",
        "speech_response",
        "speech_response",
        "playback",
        "speech_response",
        "response_text",
        "conversation_complete",
    ]
    partial, final = client.messages[2], client.messages[5]
    assert (partial["text"], partial["delta"], partial["final"]) == ("What time is it?", " is it?", False)
    assert final == {"type": "transcription", "item_id": "item_u", "text": "What time is it?", "final": True}
    assert client.messages[7]["previous_item_id"] == "item_u"
    assert client.messages[7]["response_id"] == "resp_1"
    first, second, last = (m for m in client.messages if m["type"] == "speech_response")
    where = {"response_id": "resp_1", "item_id": "item_a", "encoding": "int16", "rate_hz": 24_000}
    assert first.items() >= {**where, "start_ms": 0, "final": False}.items()
    assert second["start_ms"] == 100
    assert last.items() >= {"audio": "", "start_ms": 150, "final": True}.items()
    sound = b64decode(first["audio"]) + b64decode(second["audio"])
    assert np.frombuffer(sound, "<i2").tolist() == TONE.samples.tolist()
    assert client.messages[13]["text"] == "It is noon."
    assert client.messages[14]["status"] == "completed"
    assert client.messages[14]["text"] == "It is noon."


def test_an_interruption_is_told_before_it_is_over() -> None:
    client = started()
    cut = replace(REPLY, parts=(Part("output_audio", "It is"),), status="incomplete")
    types = client.happened(
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.OutputPartAdded("resp_1", REPLY),
        call.OutputAudioDelta("resp_1", "item_a", TONE),
        call.OutputBufferStarted("resp_1"),
        call.ItemDone(DONE, None),
        call.OutputItemDone("resp_1", DONE),
        call.ResponseDone(replace(RESPONSE, status="cancelled", reason="turn_detected", output=(cut,))),
        call.OutputBufferCleared("resp_1"),
        call.ItemTruncated("item_a", 640, "It is"),
    )
    assert types[-3:] == ["interrupted", "truncated", "conversation_complete"]
    interrupted, truncated, complete = client.messages[-3:]
    assert interrupted["item_id"] == "item_a"
    assert (truncated["heard_ms"], truncated["heard_text"]) == (640, "It is")
    assert (complete["status"], complete["text"]) == ("interrupted", "It is")
    # The client knows better what was heard.
    client.send(type="played", item_id="item_a", audio_ms=480)
    assert client.conversation.acts == [("truncate_item", "item_a", 480)]
    assert client.happened(call.ItemTruncated("item_a", 480, "It")) == ["truncated"]


def test_a_voice_is_held_and_goes_on() -> None:
    assert not started().conversation.playout.pausable
    client = started(pauses=True)
    assert client.conversation.playout.pausable
    types = client.happened(
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.OutputAudioDelta("resp_1", "item_a", TONE),
        call.OutputBufferStarted("resp_1"),
        call.OutputBufferHeld("resp_1"),
        call.OutputBufferResumed("resp_1", 80),
    )
    assert types[-3:] == ["playback"] * 3
    told = [(message["state"], message.get("at_ms")) for message in client.messages[-3:]]
    assert told == [("started", 0), ("held", None), ("resumed", 80)]
    assert client.messages[-1]["item_id"] == "item_a"


def test_an_answer_that_is_whole_is_interrupted_too() -> None:
    client = started()
    types = client.happened(
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", REPLY),
        call.OutputAudioDelta("resp_1", "item_a", TONE),
        call.ItemDone(DONE, None),
        call.OutputItemDone("resp_1", DONE),
        call.ResponseDone(replace(RESPONSE, status="completed", output=(DONE,))),
        call.OutputBufferCleared("resp_1"),
        call.ItemTruncated("item_a", 100, "It"),
    )
    assert types[-1] == "conversation_complete"
    assert (client.messages[-1]["status"], client.messages[-1]["text"]) == ("interrupted", "It")


@pytest.mark.parametrize(
    ("response", "end"),
    [
        (replace(RESPONSE, status="cancelled", reason="turn_detected"), {"status": "interrupted"}),
        (replace(RESPONSE, status="incomplete", reason="max_output_tokens"), {"status": "incomplete"}),
        (
            replace(RESPONSE, status="failed", error="The LLM is gone.", error_code="engine_error"),
            {"status": "failed", "failed": {"code": "engine_error", "message": "The LLM is gone."}},
        ),
    ],
)
def test_how_a_response_without_sound_ended(response: Response, end: dict[str, Any]) -> None:
    client = started()
    types = client.happened(
        call.ResponseCreated(RESPONSE), call.OutputItemAdded("resp_1", REPLY), call.ResponseDone(response)
    )
    assert types == ["response_started", "conversation_complete"]
    assert client.messages[-1].items() >= end.items()


def test_the_clients_tools_are_called_by_the_client() -> None:
    weather = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}
    client = started(settings={"tools": [weather]})
    (tool,) = client.conversation.session.tools
    assert (tool.name, tool.description, json.loads(tool.parameters)) == (
        "weather",
        "Tells it.",
        {"type": "object"},
    )
    asked = FunctionCall("item_f", "call_1", "weather", '{"city": "Rome"}')
    types = client.happened(
        call.ResponseCreated(RESPONSE),
        call.OutputItemAdded("resp_1", replace(asked, arguments="", status="in_progress")),
        call.ItemAdded(replace(asked, arguments="", status="in_progress"), "item_u"),
        call.FunctionArgumentsDelta("resp_1", "item_f", "call_1", '{"city": "Rome"}'),
        call.ItemDone(asked, "item_u"),
        call.OutputItemDone("resp_1", asked),
        call.ResponseDone(replace(RESPONSE, status="completed", output=(asked,))),
    )
    assert types == ["response_started", "tool_call", "conversation_complete"]
    assert client.messages[1] == {
        "type": "tool_call",
        "response_id": "resp_1",
        "item_id": "item_f",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Rome"}',
    }
    client.send(type="tool_result", call_id="call_1", output="Sunny.")
    (_, output, _), (_, options) = client.conversation.acts
    assert isinstance(output, FunctionCallOutput)
    assert (output.call_id, output.output) == ("call_1", "Sunny.")
    assert options == ResponseOptions()


def test_the_latency_is_told_to_those_who_asked() -> None:
    latency = TurnLatency("item_u", "resp_1", (Stage("endpoint", 0, 412.34),), 903.21)
    assert (started()).happened(call.TurnMeasured(latency)) == []
    client = started(latency=True)
    assert client.happened(call.TurnMeasured(latency)) == ["latency"]
    assert client.messages[0]["stages"] == [{"name": "endpoint", "start_ms": 0.0, "duration_ms": 412.3}]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (call.InputCleared(), "input_cleared"),
        (call.ItemDeleted("item_u"), "item_deleted"),
        (call.ConversationReset(), "reset"),
        (call.TranscriptFailed("item_u", "No.", "engine_error"), "transcription"),
        (call.CallFault("Broken.", "engine_error"), "error"),
    ],
)
def test_other_events(event: call.CallEvent, kind: str) -> None:
    assert (started()).happened(event) == [kind]


@pytest.mark.parametrize(
    ("message", "acts"),
    [
        ({"type": "interrupt"}, [("clear_output",)]),
        ({"type": "commit"}, [("commit_input",)]),
        ({"type": "clear"}, [("clear_input",)]),
        ({"type": "reset"}, [("reset",)]),
        ({"type": "delete_item", "item_id": "i"}, [("delete_item", "i")]),
        ({"type": "respond"}, [("create_response", ResponseOptions())]),
        (
            {"type": "respond", "instructions": "Sing.", "modality": "text", "max_output_tokens": 40},
            [("create_response", ResponseOptions("Sing.", "text", 40))],
        ),
        (
            {"type": "item", "item": {"role": "assistant", "text": "Hi.", "item_id": "i"}},
            [("add_item", Message("i", "assistant", (Part("output_text", "Hi."),)), None)],
        ),
        (
            {"type": "text", "text": "Hi.", "item_id": "i"},
            [
                ("clear_output",),
                ("add_item", Message("i", "user", (Part("input_text", "Hi."),)), None),
                ("create_response", ResponseOptions()),
            ],
        ),
    ],
)
def test_a_clients_wish_is_done(message: dict[str, Any], acts: list[tuple[Any, ...]]) -> None:
    client = started()
    client.send(**message)
    assert client.conversation.acts == acts
    if message["type"] == "commit":
        assert client.acts[-1] == "heard all", "and only then the turn is over"
    if message["type"] in ("clear", "reset"):
        assert client.acts[-1] == "forget"


def test_settings_are_changed_and_told_whole() -> None:
    client = started()
    detection = {"type": "server_vad", "silence_duration_ms": 700}
    answer = client.send(type="settings", settings={"instructions": "Be kind.", "turn_detection": detection})
    assert answer["type"] == "settings"
    assert answer["settings"]["instructions"] == "Be kind."
    assert answer["settings"]["voice"] == "af_heart"
    assert answer["settings"]["turn_detection"]["silence_duration_ms"] == 700
    assert client.conversation.session.turn_detection == TurnDetection("server_vad", silence_s=0.7)
    answer = client.send(type="settings", settings={"turn_detection": None})
    assert "turn_detection" not in answer["settings"]
    assert client.conversation.session.turn_detection is None


def test_the_format_may_be_given_with_each_message() -> None:
    client = started(input={"encoding": "float32", "rate_hz": 48_000})
    client.send(type="audio", audio=b64encode(np.array([0.5], "<f4").tobytes()).decode())
    client.send(type="audio", audio=b64encode(b"\0\1").decode(), encoding="int16", rate_hz=8_000)
    assert [audio.rate_hz for audio in client.heard] == [48_000, 8_000]
    assert client.heard[0].samples.tolist() == [0.5]
    assert client.heard[1].samples.tolist() == [256]


def test_a_mistake_ends_nothing() -> None:
    client = started()
    client.receive("{nonsense")
    assert client.messages[-1]["code"] == "invalid_json"
    error = client.send(type="no such", id="m1")
    assert (error["fault"], error["code"], error["reply_to"]) == ("client", "unknown_type", "m1")
    assert client.send(type="no such", id="")["reply_to"] == ""
    error = client.send(type="audio", audio="?", id="m2")
    assert (error["code"], error["param"], error["reply_to"]) == ("invalid_audio", "audio", "m2")
    client.conversation.refuses = CallerError("None is active.", code="nothing_active")
    error = client.send(type="interrupt", id="m3")
    assert (error["code"], error["reply_to"]) == ("nothing_active", "m3")
    client.conversation.refuses = None
    client.send(type="respond")
    assert client.conversation.acts == [("create_response", ResponseOptions())]


def test_hanging_up() -> None:
    client = started()
    client.send(type="hang_up")
    assert client.acts[-1] == "hang up"


def test_keys_of_a_telephone_are_pressed_and_told() -> None:
    client = Client()
    client.send(type="digit", digit="5")
    assert client.conversation.acts[-1] == ("press", "5")
    assert client.happened(call.DigitPressed("5", 0.0)) == ["digit"]
    assert client.messages[-1]["digit"] == "5"
    assert client.send(type="digit", digit="x")["code"] == "invalid_value"
    assert client.happened(call.AnsweredBy("human")) == []
