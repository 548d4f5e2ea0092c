"""Tools in chat completions: offered, called in pieces cut anywhere, and what they brought."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCall, ToolCallDelta
from tests.media.engines.openai_llm import SYSTEM, WEATHER, connected, request, whole
from tests.openai_endpoint import DONE, Exchange, call_piece, calls, chunk, says, sends


def test_tools_are_offered_and_their_results_shown() -> None:
    async def main() -> None:
        messages = (
            SYSTEM,
            ChatMessage("user", "Is it raining?"),
            ChatMessage("assistant", "", tool_calls=(ToolCall("call_1", "weather", '{"city": "Bonn"}'),)),
            ChatMessage("tool", "Rain.", call_id="call_1"),
        )
        async with connected(says("Yes.")) as (endpoint, llm):
            for choice in ("auto", "required", "function:weather"):
                await whole(llm, LlmRequest(messages, 20, 0.5, tools=(WEATHER,), tool_choice=choice))
            await whole(llm, LlmRequest(messages, 20, 0.5, tool_choice="required"))
        first = endpoint.bodies[0]
        assert first["messages"][2:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
        ]
        assert first["tools"] == [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "The weather.",
                    "parameters": json.loads(WEATHER.parameters),
                },
            }
        ]
        assert [body.get("tool_choice") for body in endpoint.bodies] == [
            "auto",
            "required",
            {"type": "function", "function": {"name": "weather"}},
            None,
        ]

    asyncio.run(main())


def call_deltas(deltas: list[LlmDelta]) -> list[ToolCallDelta]:
    return [piece for delta in deltas for piece in delta.tool_calls]


def test_calls_stream_in_pieces_after_what_is_said() -> None:
    async def main() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.send(chunk({"content": "A moment."}))
            await calls(("call_a", "weather", '{"city":"Bonn"}'), ("call_b", "time", "{}"))(exchange)

        async with connected(answer) as (_, llm):
            deltas = await whole(llm, request(tools=(WEATHER,)))
            assert deltas[0] == LlmDelta("A moment.")
            assert call_deltas(deltas) == [
                ToolCallDelta(0, "call_a", "weather", '{"city"'),
                ToolCallDelta(0, "", "", ':"Bonn"}'),
                ToolCallDelta(1, "call_b", "time", "{"),
                ToolCallDelta(1, "", "", "}"),
            ]
            assert deltas[-1].finish == "tool_calls"

    asyncio.run(main())


CALL_A = ToolCallDelta(0, "a", "weather", '{"x":1}')
CALL_B = ToolCallDelta(1, "b", "time", "{}")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        # The name in two pieces, before its id, and the arguments at once.
        (
            [call_piece(0, "", "wea"), call_piece(0, "a", "ther"), call_piece(0, arguments='{"x":1}')],
            [CALL_A],
        ),
        # Id and name again with every piece.
        (
            [call_piece(0, "a", "weather", '{"x"'), call_piece(0, "a", "weather", ":1}")],
            [ToolCallDelta(0, "a", "weather", '{"x"'), ToolCallDelta(0, "", "", ":1}")],
        ),
        # No indices.
        (
            [
                call_piece(None, "a", "weather", '{"x"'),
                call_piece(None, arguments=":1}"),
                call_piece(None, "b", "time", "{}"),
            ],
            [ToolCallDelta(0, "a", "weather", '{"x"'), ToolCallDelta(0, "", "", ":1}"), CALL_B],
        ),
        # One index for both.
        ([call_piece(0, "a", "weather", '{"x":1}'), call_piece(0, "b", "time", "{}")], [CALL_A, CALL_B]),
        # No ids at all.
        (
            [call_piece(None, "", "weather", '{"x":1}'), call_piece(None, "", "time", "{}")],
            [ToolCallDelta(0, "", "weather", '{"x":1}'), ToolCallDelta(1, "", "time", "{}")],
        ),
        # Interleaved.
        (
            [
                call_piece(0, "a", "weather"),
                call_piece(1, "b", "time"),
                call_piece(0, arguments='{"x":1}'),
                call_piece(1, arguments="{}"),
            ],
            [CALL_A, CALL_B],
        ),
        # No arguments: an empty object.
        ([call_piece(0, "a", "weather", '{"x":1}'), call_piece(1, "b", "time")], [CALL_A, CALL_B]),
        # An object for arguments.
        (
            [
                {
                    "tool_calls": [
                        {"index": 0, "id": "a", "function": {"name": "weather", "arguments": {"x": 1}}}
                    ]
                }
            ],
            [ToolCallDelta(0, "a", "weather", '{"x": 1}')],
        ),
    ],
)
def test_calls_cut_in_odd_places_are_put_in_order(
    pieces: list[dict[str, Any]], expected: list[ToolCallDelta]
) -> None:
    async def main() -> None:
        stream = [*map(chunk, pieces), chunk({}, "stop"), DONE]
        async with connected(sends(*stream)) as (_, llm):
            deltas = await whole(llm, request(tools=(WEATHER,)))
            assert call_deltas(deltas) == expected
            assert deltas[-1].finish == "tool_calls"

    asyncio.run(main())
