"""Items as clients create, ask for and cut them, in a real conversation."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from media.errors import EngineError
from tests import virtual_time
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt

SECOND = base64.b64encode(np.full(24_000, 8000, "<i2").tobytes()).decode()
"""A second of audio, in the format that a session begins with."""


def message(*content: dict[str, Any], role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content), **fields}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return message({"type": "input_text", "text": words}, **fields)


def recorded(**fields: Any) -> dict[str, Any]:
    return message({"type": "input_audio", "audio": SECOND}, **fields)


def test_a_long_recording_is_decoded_in_turns_with_whatever_else_goes_on() -> None:
    async def main() -> None:
        async with realtime_call(ScriptedEngines(stt=ScriptedStt(says=("much",)))) as call:
            turns = 0

            async def other_call() -> None:
                nonlocal turns
                while not call.of("conversation.item.added"):
                    turns += 1
                    await asyncio.sleep(0)

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(other_call())
                audio = base64.b64encode(bytes(1_500_000)).decode()
                item = message({"type": "input_audio", "audio": audio}, id="item_1")
                event = {"type": "conversation.item.create", "event_id": "e1", "item": item}
                await call.session.receive_in_order(json.dumps(event))
            assert turns >= 7
            done = await call.event("conversation.item.done")
            assert done["item"]["content"] == [{"type": "input_audio", "transcript": "much"}]

            item["content"][0]["audio"] = f"{audio[:-400]}?{audio[-399:]}"
            await call.session.receive_in_order(json.dumps(event))
            (error,) = call.of("error")
            assert error["error"]["param"] == "item.content[0].audio"
            assert error["error"]["event_id"] == "e1"

    virtual_time.run(main())


def test_where_items_go() -> None:
    async def main() -> RealtimeCall:
        async with realtime_call(ScriptedEngines()) as call:
            call.send("conversation.item.create", item=text("b", id="item_b"))
            call.send("conversation.item.create", item=text("d", id="item_d"))
            call.send("conversation.item.create", item=text("a", id="item_a"), previous_item_id="root")
            call.send("conversation.item.create", item=text("c", id="item_c"), previous_item_id="item_b")
            return call

    call = virtual_time.run(main())
    assert [words for _, words in call.said()] == ["a", "b", "c", "d"]
    added = [
        (event["item"]["id"], event.get("previous_item_id")) for event in call.of("conversation.item.added")
    ]
    assert added == [("item_b", None), ("item_d", "item_b"), ("item_a", None), ("item_c", "item_b")]


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        (
            {"type": "conversation.item.create", "item": text("again", id="item_1")},
            "item_create_duplicate_item_id",
            "item.id",
        ),
        (
            {"type": "conversation.item.create", "item": text("x"), "previous_item_id": "no"},
            "item_create_invalid_previous_item_id",
            "previous_item_id",
        ),
        ({"type": "conversation.item.retrieve", "item_id": "no"}, "item_retrieve_invalid_item_id", "item_id"),
        ({"type": "conversation.item.delete", "item_id": "no"}, "item_delete_invalid_item_id", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "no", "audio_end_ms": 0},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "item_1", "audio_end_ms": 0},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "item_1",
                "audio_end_ms": 0,
                "content_index": 1,
            },
            "invalid_value",
            "content_index",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": message({"type": "input_image", "image_url": "data:image/png;base64,AA=="}),
            },
            "invalid_value",
            "item.content[0].type",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": message(
                    {"type": "input_text", "text": "x"}, {"type": "input_audio", "audio": "no base64"}
                ),
            },
            "invalid_value",
            "item.content[1].audio",
        ),
        (
            {"type": "response.create", "response": {"input": [recorded()]}},
            "missing_required_parameter",
            "response.input[0].content[0].transcript",
        ),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
        ({"type": "response.cancel", "response_id": "no"}, "response_cancel_not_active", None),
    ],
)
def test_what_cannot_be_has_the_apis_code(event: dict[str, Any], code: str, param: str | None) -> None:
    async def main() -> None:
        async with realtime_call(ScriptedEngines()) as call:
            call.send("conversation.item.create", item=text("first", id="item_1"))
            (answer,) = call.send(**{"event_type": event.pop("type"), **event}, event_id="mine")
            error = answer["error"]
            assert (error["code"], error.get("param")) == (code, param)
            assert (error["type"], error["event_id"]) == ("invalid_request_error", "mine")
            assert call.said() == [("user", "first")]

    virtual_time.run(main())


def test_nothing_can_be_cut_to_more_than_there_is() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two.",)))

    async def main() -> str:
        async with realtime_call(engines) as call:
            call.send("response.create")
            item_id = (await call.response())["output"][0]["id"]
            await call.event("output_audio_buffer.stopped")
            (answer,) = call.send("conversation.item.truncate", item_id=item_id, audio_end_ms=10_000)
            assert (answer["error"]["code"], answer["error"]["param"]) == ("invalid_value", "audio_end_ms")
            (answer,) = call.send("conversation.item.truncate", item_id=item_id, audio_end_ms=300)
            assert answer["type"] == "conversation.item.truncated"
            assert (answer["audio_end_ms"], answer["content_index"]) == (300, 0)
            message: str = answer["item_id"]
            assert call.said() == [("assistant", "One")]
            return message

    virtual_time.run(main())


def test_speech_in_an_item_is_transcribed() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=("what time is it",), takes_s=0.5))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            item = message(
                {"type": "input_text", "text": "Listen:"},
                {"type": "input_audio", "audio": SECOND},
                id="item_mine",
            )
            call.send("conversation.item.create", item=item)
            (added,) = call.of("conversation.item.added")
            assert (added["item"]["id"], added["item"]["status"]) == ("item_mine", "in_progress")
            # Asked at once, it is answered when its words are there.
            call.send("response.create")
            await call.response()
            return call

    call = virtual_time.run(main())
    assert call.said()[0] == ("user", "Listen: what time is it")
    assert engines.llm.requests[-1].messages[-1].text == "Listen: what time is it"
    assert engines.stt.sessions[0].pushed_s == pytest.approx(1, abs=0.01)
    (completed,) = call.of("conversation.item.input_audio_transcription.completed")
    assert (completed["content_index"], completed["transcript"]) == (1, "what time is it")
    done = call.of("conversation.item.done")[0]["item"]
    assert done["status"] == "completed"
    assert done["content"][1] == {"type": "input_audio", "transcript": "what time is it"}


def test_speech_that_has_a_transcript_is_not_transcribed() -> None:
    engines = ScriptedEngines()

    async def main() -> None:
        async with realtime_call(engines) as call:
            part = {"type": "input_audio", "audio": SECOND, "transcript": "good morning"}
            call.send("conversation.item.create", item=message(part))
            assert call.said() == [("user", "good morning")]

    virtual_time.run(main())
    assert engines.stt.sessions == []


def test_speech_in_an_item_that_cannot_be_transcribed() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=(EngineError("It is gone.", code="stt_gone"),)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send("conversation.item.create", item=recorded())
            await call.event("conversation.item.done")
            return call

    call = virtual_time.run(main())
    (failed,) = call.of("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "stt_gone"
    assert call.of("conversation.item.done")[0]["item"]["status"] == "incomplete"
