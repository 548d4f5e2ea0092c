"""Function calling over the Realtime API: what clients send, and what they get in which order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import virtual_time
from tests.realtime_call import RealtimeCall, realtime_call
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedToolbox, calls, speech

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Says what the weather is like.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "default": None}},
        "required": ["city"],
    },
}
BERLIN = '{"city": "Berlin"}'
WRITTEN = {"output_modalities": ["text"]}


def engines_that_say(*replies: str | Calls) -> ScriptedEngines:
    return ScriptedEngines(llm=ScriptedLlm(replies=replies))


def error_of(events: list[dict[str, Any]]) -> tuple[str, str | None]:
    (event,) = events
    assert event["type"] == "error"
    return event["error"]["code"], event["error"].get("param")


def previous_ids(call: RealtimeCall) -> list[tuple[str | None, str]]:
    added = call.of("conversation.item.added")
    return [(event.get("previous_item_id"), event["item"]["id"]) for event in added]


def test_a_function_call_from_the_question_to_the_answer() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "It is sunny.")
        async with realtime_call(engines, update={"tools": [WEATHER]} | WRITTEN) as call:
            assert call.events[0]["session"]["tools"] == [WEATHER]
            before = len(call.events)
            call.send("response.create")
            response = await call.response()
            types = call.types()[before:]
            assert types == [
                "response.created",
                "response.output_item.added",
                "conversation.item.added",
                *["response.function_call_arguments.delta"] * 3,
                "response.function_call_arguments.done",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
            ]
            added = call.of("conversation.item.added")[0]["item"]
            assert added == {
                "id": added["id"],
                "object": "realtime.item",
                "type": "function_call",
                "status": "in_progress",
                "call_id": added["call_id"],
                "name": "get_weather",
                "arguments": "",
            }
            done = call.of("response.function_call_arguments.done")[0]
            where = {"response_id": response["id"], "item_id": added["id"], "output_index": 0}
            assert (
                done.items()
                >= {
                    **where,
                    "call_id": added["call_id"],
                    "name": "get_weather",
                    "arguments": BERLIN,
                }.items()
            )
            deltas = call.of("response.function_call_arguments.delta")
            assert all(delta.items() >= where.items() for delta in deltas)
            assert "".join(delta["delta"] for delta in deltas) == BERLIN
            finished = call.of("response.output_item.done")[0]["item"]
            assert finished == {**added, "status": "completed", "arguments": BERLIN}
            assert response["output"] == [finished]
            assert response["status"] == "completed"

            output = {"type": "function_call_output", "call_id": added["call_id"], "output": "sunny"}
            entered = call.send("conversation.item.create", item={**output, "id": "mine"})
            assert [event["type"] for event in entered] == [
                "conversation.item.added",
                "conversation.item.done",
            ]
            assert entered[0]["item"].items() >= {**output, "id": "mine"}.items()
            assert entered[0]["previous_item_id"] == added["id"]
            (retrieved,) = call.send("conversation.item.retrieve", item_id="mine")
            assert retrieved["item"] == entered[1]["item"]

            call.send("response.create")
            response = await call.response(2)
            assert response["output"][0]["content"][0]["text"] == "It is sunny."
            assert json.loads(engines.llm.requests[1].tools[0].parameters) == WEATHER["parameters"]

    virtual_time.run(main())


def test_a_call_after_words_has_the_next_index() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN, says="Let me see."))
        async with realtime_call(engines, update={"tools": [WEATHER]}) as call:
            call.send("response.create")
            response = await call.response()
            assert [item["type"] for item in response["output"]] == ["message", "function_call"]
            steps = [
                (event["type"], event["output_index"])
                for event in call.events
                if event["type"].startswith("response.output_item") or "arguments" in event["type"]
            ]
            assert steps == [
                ("response.output_item.added", 0),
                ("response.output_item.done", 0),
                ("response.output_item.added", 1),
                ("response.function_call_arguments.delta", 1),
                ("response.function_call_arguments.done", 1),
                ("response.output_item.done", 1),
            ]

    virtual_time.run(main())


def test_a_cancelled_call_is_incomplete() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", json.dumps({"city": "x" * 200})))
        async with realtime_call(engines, update={"tools": [WEATHER]} | WRITTEN) as call:
            call.send("response.create")
            await call.event("response.function_call_arguments.delta")
            call.send("response.cancel")
            response = await call.response()
            assert response["status"] == "cancelled"
            assert [item["status"] for item in response["output"]] == ["incomplete"]

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "get_weather"}, "function:get_weather"),
    ],
)
def test_what_must_be_called(choice: Any, asked: str) -> None:
    async def main() -> None:
        engines = engines_that_say("Hello.")
        async with realtime_call(engines, update=WRITTEN) as call:
            update = {"tools": [WEATHER], "tool_choice": choice}
            (updated,) = call.send("session.update", session=update)
            assert updated["session"]["tool_choice"] == choice
            call.send("response.create")
            await call.response()
            call.send("session.update", session={"tools": [], "tool_choice": "auto"})
            call.send("response.create", response=update)
            await call.response(2)
            assert [request.tool_choice for request in engines.llm.requests] == [asked] * 2
            assert [len(request.tools) for request in engines.llm.requests] == [1] * 2

    virtual_time.run(main())


LONG_SCHEMA = {"type": "object", "description": "x" * 20_000}


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{**WEATHER, "name": "not a name"}]}, "invalid_value", "tools[0].name"),
        ({"tools": [{**WEATHER, "name": "x" * 65}]}, "string_above_max_length", "tools[0].name"),
        ({"tools": [{"type": "mcp", "name": "x"}]}, "invalid_value", "tools[0].type"),
        ({"tools": [{**WEATHER, "parameters": LONG_SCHEMA}]}, "invalid_value", "tools[0].parameters"),
        ({"tools": [{**WEATHER, "parameters": {"type": "string"}}]}, "invalid_value", "tools[0].parameters"),
        ({"tools": [{**WEATHER, "parameters": "{}"}]}, "invalid_type", "tools[0].parameters"),
        ({"tools": [WEATHER, WEATHER]}, "invalid_value", "tools"),
        ({"tools": [{"name": f"tool_{n}"} for n in range(129)]}, "array_above_max_length", "tools"),
        ({"tools": "all"}, "invalid_type", "tools"),
        ({"tool_choice": "sometimes"}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "mcp", "name": "x"}}, "invalid_value", "tool_choice"),
        ({"tool_choice": 5}, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "nothing"}}, "invalid_value", "tool_choice"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, Any], code: str, param: str) -> None:
    async def main() -> None:
        async with realtime_call(engines_that_say("Hello.")) as call:
            assert error_of(call.send("session.update", session=changes)) == (code, f"session.{param}")
            assert error_of(call.send("response.create", response=changes)) == (code, f"response.{param}")
            (updated,) = call.send("session.update", session={})
            assert updated["session"]["tools"] == []
            assert updated["session"]["tool_choice"] == "auto"

    virtual_time.run(main())


def test_outputs_of_unknown_calls_are_refused() -> None:
    async def main() -> None:
        async with realtime_call(engines_that_say("Hello.")) as call:
            item: dict[str, Any] = {"type": "function_call_output", "call_id": "call_x", "output": "noon"}
            refused = call.send("conversation.item.create", item=item)
            assert error_of(refused) == ("invalid_tool_call_id", "item.call_id")
            assert refused[0]["error"]["message"] == "Tool call ID 'call_x' not found in conversation."
            for wrong, param in (
                ({**item, "output": None}, "item.output"),
                ({**item, "output": "x" * 200_001}, "item.output"),
                ({"type": "function_call", "name": "clock"}, "item.arguments"),
                ({"type": "function_call", "name": "", "arguments": "{}"}, "item.name"),
            ):
                assert error_of(call.send("conversation.item.create", item=wrong))[1] == param
            assert call.conversation.items == ()

    virtual_time.run(main())


def test_an_earlier_conversation_is_restored_with_its_calls() -> None:
    async def main() -> None:
        engines = engines_that_say("You are welcome.")
        async with realtime_call(engines, update=WRITTEN) as call:
            for item in (
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Time?"}]},
                {"type": "function_call", "call_id": "c", "name": "clock", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "noon"},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Noon."}],
                },
            ):
                call.send("conversation.item.create", item=item)
            call.send("response.create")
            await call.response()
            roles = [message.role for message in engines.llm.requests[0].messages]
            assert roles == ["system", "user", "assistant", "tool", "assistant"]

    virtual_time.run(main())


def test_a_response_out_of_band_may_call_a_function() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN))
        async with realtime_call(engines) as call:
            request = {"conversation": "none", "tools": [WEATHER], "tool_choice": "required"} | WRITTEN
            call.send("response.create", response=request)
            response = await call.response()
            (called,) = response["output"]
            assert called["arguments"] == BERLIN
            assert not call.of("conversation.item.added")
            assert call.conversation.items == ()
            assert call.of("response.function_call_arguments.done")

    virtual_time.run(main())


def test_tools_of_the_server_are_none_of_the_clients_business() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("how is the weather", "thank you")),
            llm=ScriptedLlm(replies=(calls("get_weather", BERLIN), "It is sunny.", "You are welcome.")),
        )
        async with realtime_call(engines, toolbox=ScriptedToolbox()) as call:
            assert call.events[0]["session"]["tools"] == []
            await call.say(speech(0.8))
            await call.event("output_audio_buffer.stopped")
            await call.say(speech(0.8))
            await call.listen(2.0)
            assert engines.llm.requests[0].tools
            assert "function_call" not in json.dumps(call.events)
            assert [len(event["response"]["output"]) for event in call.of("response.done")] == [0, 1, 1]
            known: list[str | None] = [None]
            for previous, item_id in previous_ids(call):
                assert previous == known[-1], "each follows what the client knows"
                known.append(item_id)
            assert len(known) == 5

    virtual_time.run(main())


def test_a_client_that_asks_sees_the_tools_of_the_server() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "It is sunny.")
        update = {"include": ["vk.server_tools"]} | WRITTEN
        async with realtime_call(engines, update=update, toolbox=ScriptedToolbox()) as call:
            call.send("response.create")
            response = await call.response()
            assert [item["type"] for item in response["output"]] == ["function_call"]
            await call.response(2)
            kinds = [event["item"]["type"] for event in call.of("conversation.item.done")]
            assert kinds == ["function_call", "function_call_output", "message"]

    virtual_time.run(main())


def test_a_reset_tells_of_no_item_that_the_client_does_not_know() -> None:
    async def main() -> None:
        engines = engines_that_say(calls("get_weather", BERLIN), "It is sunny.")
        async with realtime_call(engines, update=WRITTEN, toolbox=ScriptedToolbox()) as call:
            call.send("response.create")
            await call.response(2)
            deleted = call.send("vk.conversation.reset")
            assert [event["type"] for event in deleted] == [
                "conversation.item.deleted",
                "vk.conversation.reset",
            ]

    virtual_time.run(main())
