"""Responses as a client asks for them: out of band, with an input of their own, at the wrong time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from media.asides import MAX_ASIDES
from media.engines.protocols import ChatMessage
from media.errors import EngineError
from tests import virtual_time
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, speech

MANUAL = {"audio": {"input": {"turn_detection": None}}}


def typed(text: str, item_id: str | None = None) -> dict[str, Any]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return item if item_id is None else {**item, "id": item_id}


def code(answer: list[dict[str, Any]]) -> str:
    (event,) = answer
    assert event["type"] == "error"
    word: str = event["error"]["code"]
    return word


def asked(engines: ScriptedEngines, index: int = -1) -> list[tuple[str, str]]:
    """What the LLM was shown."""
    return [(message.role, message.text) for message in engines.llm.requests[index].messages]


def test_a_written_one_out_of_band_leaves_no_trace() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("calm",)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send("conversation.item.create", item=typed("My parcel is lost."))
            call.send(
                "response.create",
                response={
                    "conversation": "none",
                    "instructions": "Name the mood.",
                    "output_modalities": ["text"],
                    "metadata": {"topic": "mood"},
                },
            )
            await call.response()
            return call

    call = virtual_time.run(main())
    assert asked(engines) == [("system", "Name the mood."), ("user", "My parcel is lost.")]
    assert engines.llm.requests[0].conversation == ""
    assert call.said() == [("user", "My parcel is lost.")]
    types = call.types()
    assert types[types.index("response.created") :] == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    created, done = call.of("response.created")[0]["response"], call.of("response.done")[0]["response"]
    for response in (created, done):
        assert response["conversation_id"] is None
        assert response["metadata"] == {"topic": "mood"}
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "calm"}]


def test_written_ones_are_made_beside_what_is_said() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two three four five six.", "aside", "aside")))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send("response.create")
            spoken = call.of("response.created")[0]["response"]["id"]
            assert code(call.send("response.create")) == "conversation_already_has_active_response"
            aside = {"conversation": "none", "output_modalities": ["text"]}
            call.send("response.create", response=aside)
            call.send("response.create", response=aside)
            ids = [event["response"]["id"] for event in call.of("response.created")]
            assert len(set(ids)) == 3
            await call.until(lambda: len(call.of("response.done")) == 3)
            done = {event["response"]["id"]: event["response"] for event in call.of("response.done")}
            assert done[spoken]["status"] == "completed"
            assert [done[i]["conversation_id"] is None for i in ids] == [False, True, True]
            await call.event("output_audio_buffer.stopped")
            return call

    assert virtual_time.run(main()).said() == [("assistant", "One two three four five six.")]


def test_there_is_an_end_to_asides_and_each_can_be_cancelled() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(first_s=5))

    async def main() -> None:
        async with realtime_call(engines) as call:
            aside = {"conversation": "none", "output_modalities": ["text"]}
            for _ in range(MAX_ASIDES):
                assert call.send("response.create", response=aside)[0]["type"] == "response.created"
            assert code(call.send("response.create", response=aside)) == "too_many_responses"
            # Without an id, the conversation's response is meant.
            refused = call.send("response.cancel")
            assert code(refused) == "response_cancel_not_active"
            assert refused[0]["error"]["message"].startswith("Cancellation failed")
            first = call.of("response.created")[0]["response"]["id"]
            ended = call.send("response.cancel", response_id=first)
            assert [event["type"] for event in ended[-2:]] == ["response.output_item.done", "response.done"]
            assert ended[-1]["response"]["status_details"] == {
                "type": "cancelled",
                "reason": "client_cancelled",
            }
            assert call.send("response.create", response=aside)[0]["type"] == "response.created"
            # What the caller says does not concern them.
            await call.say(speech(1))
            assert len(call.of("response.done")) == 1

    virtual_time.run(main())


def test_a_word_on_its_way_when_an_aside_is_cancelled_is_not_told() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(first_s=0.05))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            aside = {"conversation": "none", "output_modalities": ["text"]}
            (created, *_) = call.send("response.create", response=aside)
            await asyncio.sleep(0.05)
            call.send("response.cancel", response_id=created["response"]["id"])
            await asyncio.sleep(1)
            return call

    assert virtual_time.run(main()).types()[-1] == "response.done"


def test_an_aside_that_fails_says_so() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=(EngineError("The LLM is gone.", code="llm_gone"),)))

    async def main() -> dict[str, Any]:
        async with realtime_call(engines) as call:
            call.send("response.create", response={"conversation": "none", "output_modalities": ["text"]})
            return await call.response()

    response = virtual_time.run(main())
    assert response["status"] == "failed"
    assert response["status_details"]["error"] == {
        "type": "server_error",
        "code": "llm_gone",
        "message": "The LLM is gone.",
    }


def test_a_spoken_one_out_of_band_is_heard_and_forgotten() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("Please hold the line.",)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send(
                "response.create",
                response={"conversation": "none", "input": [], "audio": {"output": {"voice": "bf_emma"}}},
            )
            await call.event("output_audio_buffer.stopped")
            return call

    call = virtual_time.run(main())
    assert asked(engines) == [("system", "Be brief.")]
    assert call.said() == []
    assert not call.of("conversation.item.added")
    assert not call.of("conversation.item.done")
    response = call.of("response.done")[0]["response"]
    assert response["conversation_id"] is None
    assert response["audio"]["output"]["voice"] == "bf_emma"
    assert response["output"][0]["content"][0]["transcript"] == "Please hold the line."


def test_an_interrupted_one_out_of_band_is_nothing_to_truncate() -> None:
    engines = ScriptedEngines(llm=ScriptedLlm(replies=("One two three four five six seven eight.",)))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send("response.create", response={"conversation": "none"})
            await call.event("output_audio_buffer.started")
            await asyncio.sleep(0.5)
            call.send("output_audio_buffer.clear")
            return call

    call = virtual_time.run(main())
    assert call.of("output_audio_buffer.cleared")
    assert not call.of("conversation.item.truncated")
    assert call.said() == []


def test_an_input_of_its_own() -> None:
    engines = ScriptedEngines()

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            call.send("conversation.item.create", item=typed("The sky is green.", "item_sky"))
            call.send("conversation.item.create", item=typed("Never mind.", "item_mind"))
            call.send(
                "response.create",
                response={
                    "instructions": "",
                    "output_modalities": ["text"],
                    "max_output_tokens": "inf",
                    "input": [
                        {"type": "item_reference", "id": "item_sky"},
                        typed("Is that true?"),
                    ],
                },
            )
            await call.response()
            return call

    call = virtual_time.run(main())
    assert asked(engines) == [("system", ""), ("user", "The sky is green. Is that true?")]
    # It belongs to the conversation all the same.
    assert call.said()[-1] == ("assistant", "Hello there. How are you?")
    assert call.of("response.done")[0]["response"]["conversation_id"].startswith("conv_")


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        (
            {"input": [typed("a"), {"type": "item_reference", "id": "no"}]},
            "item_retrieve_invalid_item_id",
            "response.input[1].id",
        ),
        (
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}
                ]
            },
            "invalid_value",
            "response.input[0].content[0].type",
        ),
        ({"audio": {"output": {"voice": "nobody"}}}, "voice_unavailable", "response.audio.output.voice"),
        ({"prompt": {"id": "pmpt_1"}}, "invalid_value", "response.prompt"),
        ({"metadata": {"a": 1}}, "invalid_type", "response.metadata.a"),
    ],
)
def test_what_cannot_be_is_named(response: dict[str, Any], code: str, param: str) -> None:
    async def main() -> None:
        async with realtime_call(ScriptedEngines()) as call:
            (refused,) = call.send("response.create", response=response, event_id="mine")
            error = refused["error"]
            assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")

    virtual_time.run(main())


def test_a_limit_of_its_own() -> None:
    engines = ScriptedEngines()

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update={"max_output_tokens": 3}) as call:
            for limit in (None, 2, "inf"):
                given = {} if limit is None else {"max_output_tokens": limit}
                call.send("response.create", response={"output_modalities": ["text"], **given})
                await call.response(len(engines.llm.requests) + 1)
            return call

    call = virtual_time.run(main())
    assert [request.max_tokens for request in engines.llm.requests] == [3, 2, 160]
    done = [event["response"] for event in call.of("response.done")]
    assert [response["max_output_tokens"] for response in done] == [3, 2, "inf"]
    assert [response["status"] for response in done] == ["incomplete", "incomplete", "completed"]
    assert done[0]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


def test_commit_and_ask_at_once_waits_for_the_words() -> None:
    """What a push-to-talk client does when the button is let go."""
    engines = ScriptedEngines(stt=ScriptedStt(says=("What time is it?",), takes_s=1.0))

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=MANUAL) as call:
            await call.say(speech(1))
            call.send("input_audio_buffer.commit")
            call.send("response.create")
            assert call.of("response.created")
            await call.response()
            return call

    call = virtual_time.run(main())
    assert asked(engines) == [("system", "Be brief."), ("user", "What time is it?")]
    assert len(call.of("response.done")) == 1


def test_what_waits_for_words_can_be_cancelled() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(takes_s=1.0))

    async def main() -> RealtimeCall:
        async with realtime_call(engines, update=MANUAL) as call:
            await call.say(speech(1))
            call.send("input_audio_buffer.commit")
            call.send("response.create")
            call.send("response.cancel")
            assert call.of("response.done")[0]["response"]["status"] == "cancelled"
            await call.event("conversation.item.input_audio_transcription.completed")
            return call

    assert virtual_time.run(main()).conversation.items[-1].role == "assistant"
    assert engines.llm.requests == []


def test_who_asked_while_a_turn_had_no_words_yet_is_not_answered_twice() -> None:
    engines = ScriptedEngines(stt=ScriptedStt(says=("Hello?",), takes_s=1.0))

    async def main() -> RealtimeCall:
        async with realtime_call(engines) as call:
            await call.say(speech(1))
            await call.listen(0.6)
            await call.event("input_audio_buffer.committed")
            call.send("response.create")
            await call.event("output_audio_buffer.stopped")
            await call.listen(2)
            return call

    call = virtual_time.run(main())
    assert len(call.of("response.done")) == 1
    assert engines.llm.requests[-1].messages[-1] == ChatMessage("user", "Hello?")
