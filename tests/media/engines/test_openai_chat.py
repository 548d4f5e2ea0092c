"""A language model behind an endpoint: over real sockets, with answers good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from media.clock import loop_time_s
from media.engines.openai_chat import OpenAiChat, Patience
from media.engines.openai_faults import retry_after_s
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCall, ToolCallDelta
from media.errors import EngineError
from media.tools import Tool
from tests.free_ports import free_tcp_port
from tests.openai_endpoint import (
    DONE,
    Answer,
    Endpoint,
    Exchange,
    call_piece,
    calls,
    chunk,
    event,
    refuses,
    says,
    sends,
    sends_and_cuts,
    sends_and_hangs,
    usage,
)

ROOT = Path(__file__).resolve().parents[3]
QUICK = Patience(connect_s=1.0, first_token_s=2.0, idle_s=0.3, retries_s=(0.02, 0.05))
SYSTEM = ChatMessage("system", "You are a helpful voice assistant. Answer in one or two short sentences.")
WEATHER = Tool("weather", "The weather.", '{"type": "object", "properties": {"city": {"type": "string"}}}')


def request(text: str = "Hello", *, max_tokens: int = 20, **more: Any) -> LlmRequest:
    return LlmRequest((SYSTEM, ChatMessage("user", text)), max_tokens=max_tokens, temperature=0.5, **more)


@asynccontextmanager
async def connected(
    *answers: Answer, patience: Patience = QUICK, models: Sequence[str] | None = ("a-model",), **more: Any
) -> AsyncIterator[tuple[Endpoint, OpenAiChat]]:
    async with Endpoint(answers, models).running() as endpoint:
        llm = OpenAiChat(endpoint.base_url, "a-model", patience=patience, **more)
        await llm.start()
        try:
            yield endpoint, llm
        finally:
            await llm.close()


async def whole(llm: OpenAiChat, asked: LlmRequest) -> list[LlmDelta]:
    return [delta async for delta in llm.reply(asked)]


async def text_of(llm: OpenAiChat, asked: LlmRequest | None = None) -> str:
    return "".join(delta.text for delta in await whole(llm, asked or request()))


def test_a_reply_streams_and_says_what_it_cost() -> None:
    async def main() -> None:
        async with connected(says("Good ", "morning."), api_key="sk-123") as (endpoint, llm):
            assert await whole(llm, request("Hi")) == [
                LlmDelta("Good "),
                LlmDelta("morning."),
                LlmDelta("", "stop", input_tokens=12, output_tokens=3, cached_tokens=8),
            ]
            assert endpoint.bodies == [
                {
                    "model": "a-model",
                    "messages": [
                        {"role": "system", "content": SYSTEM.text},
                        {"role": "user", "content": "Hi"},
                    ],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "max_tokens": 20,
                    "temperature": 0.5,
                }
            ]
            assert endpoint.keys == ["Bearer sk-123", "Bearer sk-123"]

    asyncio.run(main())


def test_words_come_as_they_are_written_and_a_connection_serves_many_turns() -> None:
    async def main() -> None:
        may_go_on = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await exchange.send(chunk({"content": "First."}))
            await may_go_on.wait()
            await exchange.send(chunk({"content": " Second."}), chunk({}, "length"), usage(), DONE)

        async with connected(answer) as (endpoint, llm):
            async with aclosing(llm.reply(request())) as deltas:
                assert await anext(deltas) == LlmDelta("First.")
                may_go_on.set()
                assert [delta.finish async for delta in deltas] == [None, "length"]
            await whole(llm, request())
            assert len(set(endpoint.peers)) == 1

    asyncio.run(main())


def test_text_is_whole_wherever_the_network_cuts_it() -> None:
    stream = chunk({"content": "Größer, 日本語 👋"}) + chunk({}, "stop") + usage() + DONE

    async def main() -> None:
        pieces = [stream[at : at + 3] for at in range(0, len(stream), 3)]
        async with connected(sends(*pieces)) as (_, llm):
            assert await text_of(llm) == "Größer, 日本語 👋"

    asyncio.run(main())


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


def test_nothing_is_read_ahead() -> None:
    async def main() -> None:
        async with connected(says("no")) as (endpoint, llm):
            assert await whole(llm, request(max_tokens=0)) == []
            assert endpoint.bodies == []

    asyncio.run(main())


@pytest.mark.parametrize("words", [1, 0])
def test_closing_the_reply_closes_the_connection(words: int) -> None:
    async def main() -> None:
        endless = sends_and_hangs(*[chunk({"content": "on"})] * words)
        async with connected(endless, says("Fine.")) as (endpoint, llm):
            if words:
                async with aclosing(llm.reply(request())) as deltas:
                    await anext(deltas)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(whole(llm, request()), 0.2)
            await asyncio.wait_for(endpoint.aborted.wait(), 2)
            assert await text_of(llm) == "Fine."

    asyncio.run(main())


@pytest.mark.parametrize(
    "fails",
    [
        refuses(500, {"error": {"message": "oops"}}),
        refuses(503, "<html>Bad</html>"),
        refuses(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"}),
        sends_and_cuts(),
        sends_and_cuts(chunk({"role": "assistant"})),
        sends(chunk({"role": "assistant"})),
        sends(event({"error": {"message": "overloaded", "code": 503}})),
    ],
)
def test_what_fails_before_the_first_word_is_tried_again(fails: Answer) -> None:
    async def main() -> None:
        async with connected(fails, fails, says("There.")) as (endpoint, llm):
            assert await text_of(llm) == "There."
            assert len(endpoint.bodies) == 3

        async with connected(fails) as (endpoint, llm):
            with pytest.raises(EngineError) as caught:
                await text_of(llm)
            assert not caught.value.retryable  # it has been tried
            assert len(endpoint.bodies) == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "error", "code", "says_what"),
    [
        (
            400,
            {"error": {"message": "bad tools", "type": "invalid_request_error"}},
            "engine_error",
            "bad tools",
        ),
        (
            401,
            {"error": {"message": "Incorrect API key: sk-123"}},
            "llm_unauthorized",
            "Incorrect API key: …",
        ),
        (404, {"error": "model 'a-model' not found"}, "llm_not_found", "model 'a-model' not found"),
        (422, {"detail": "no such field"}, "engine_error", "no such field"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "engine_error", "pay"),
        (307, "", "engine_error", "set llm.base_url"),
    ],
)
def test_what_no_trying_helps_fails_at_once(status: int, error: object, code: str, says_what: str) -> None:
    async def main() -> None:
        headers = {"Location": "https://elsewhere.example/v1"} if status == 307 else None
        async with connected(refuses(status, error, headers), api_key="sk-123") as (endpoint, llm):
            with pytest.raises(EngineError) as caught:
                await text_of(llm)
            assert (caught.value.code, len(endpoint.bodies)) == (code, 1)
            assert says_what in str(caught.value)
            assert "sk-123" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "too many", "code": "context_length_exceeded"}),
        (400, {"message": "This model's maximum context length is 2048 tokens.", "code": 400}),
        (400, {"message": "The input (9 tokens) is longer than the model's context length (8 tokens)."}),
        (400, {"message": "too big", "type": "exceed_context_size_error"}),
        (500, {"message": "request (9 tokens) exceeds the available context size (8 tokens)"}),
        (413, {"message": "Please reduce the length of the messages or completion."}),
    ],
)
def test_a_conversation_that_is_too_long_is_told_as_that(status: int, error: dict[str, Any]) -> None:
    async def main() -> None:
        for answer in (refuses(status, {"error": error}), sends(event({"error": error}))):
            async with connected(answer) as (endpoint, llm):
                with pytest.raises(EngineError, match="too long for the language model") as caught:
                    await text_of(llm)
                assert (caught.value.code, len(endpoint.bodies)) == ("context_full", 1)

    asyncio.run(main())


def test_a_long_retry_after_is_not_waited_for() -> None:
    async def main() -> None:
        busy = refuses(429, {"error": {"message": "later"}}, {"Retry-After": "30"})
        async with connected(busy) as (endpoint, llm):
            with pytest.raises(EngineError, match="later"):
                await text_of(llm)
            assert len(endpoint.bodies) == 1

    asyncio.run(main())


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s(None) is None
    assert retry_after_s("2.5") == 2.5
    assert retry_after_s("-1") == 0
    assert retry_after_s("soon") is None
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_s("Wed, 21 Oct 2122 07:28:00 GMT")
    assert later is not None
    assert later > 1e9


def test_after_the_first_word_nothing_is_tried_again() -> None:
    async def main() -> None:
        for answer in (
            sends_and_cuts(chunk({"content": "Well"})),
            sends(chunk({"content": "Well"})),
            sends(chunk({"content": "Well"}), event({"error": {"message": "lost a GPU", "code": 500}})),
            sends(chunk({"content": "Well"}), event("nonsense")),
            sends(chunk({"content": "Well"}), event(["nonsense"])),
        ):
            async with connected(answer) as (endpoint, llm):
                deltas = llm.reply(request())
                assert (await anext(deltas)).text == "Well"
                with pytest.raises(EngineError):
                    await anext(deltas)
                assert len(endpoint.bodies) == 1

    asyncio.run(main())


def test_a_silent_endpoint_is_given_up() -> None:
    async def main() -> None:
        patience = Patience(connect_s=1.0, first_token_s=0.4, idle_s=0.2)
        for silent in (sends_and_hangs(), sends_and_hangs(chunk({"content": "Well"}))):
            async with connected(silent, patience=patience) as (endpoint, llm):
                began_s = loop_time_s()
                with pytest.raises(EngineError) as caught:
                    await text_of(llm)
                assert caught.value.code == "llm_timeout"
                assert 0.15 < loop_time_s() - began_s < 2
                await asyncio.wait_for(endpoint.aborted.wait(), 2)
                assert len(endpoint.bodies) == 1

    asyncio.run(main())


def test_a_reply_that_is_whole_does_not_wait_for_its_usage() -> None:
    async def main() -> None:
        silent = sends_and_hangs(chunk({"content": "Well."}), chunk({}, "stop"))
        async with connected(silent) as (_, llm):
            assert await whole(llm, request()) == [LlmDelta("Well."), LlmDelta("", "stop")]

        no_reason = sends(chunk({"content": "Well."}), DONE)
        async with connected(no_reason) as (_, llm):
            assert await whole(llm, request()) == [LlmDelta("Well."), LlmDelta("", "stop")]

    asyncio.run(main())


def test_fields_that_a_model_does_not_take_are_done_without() -> None:
    def unsupported(name: str) -> Answer:
        return refuses(400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}})

    async def main() -> None:
        answers = [unsupported("max_tokens"), unsupported("temperature"), says("Well."), says("Again.")]
        async with connected(*answers) as (endpoint, llm):
            assert await text_of(llm) == "Well."
            assert await text_of(llm) == "Again."
            assert len(endpoint.bodies) == 4
            last = endpoint.bodies[-1]
            assert last["max_completion_tokens"] == 20
            assert not {"max_tokens", "temperature"} & set(last)

        async with connected(unsupported("max_tokens")) as (endpoint, llm):
            with pytest.raises(EngineError):
                await text_of(llm)
            assert len(endpoint.bodies) == 2

    asyncio.run(main())


def test_further_fields_are_sent() -> None:
    async def main() -> None:
        extra = {"chat_template_kwargs": {"enable_thinking": False}, "stream_options": None}
        async with connected(says("Well."), extra_body=extra) as (endpoint, llm):
            await text_of(llm)
            assert endpoint.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
            assert "stream_options" not in endpoint.bodies[0]

    asyncio.run(main())


def test_starting_says_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        nobody = OpenAiChat(f"http://127.0.0.1:{free_tcp_port()}/v1", "a-model", patience=QUICK)
        with pytest.raises(
            EngineError, match=r"cannot be reached: 127\.0\.0\.1:\d+: Connection refused\."
        ) as caught:
            await nobody.start()
        assert caught.value.code == "llm_unreachable"
        with pytest.raises(EngineError, match="not started"):
            await text_of(nobody)
        await nobody.close()

        async with Endpoint((says("Well."),), models=None).running() as endpoint:
            wrong_path = OpenAiChat(endpoint.base_url, "a-model", patience=QUICK)
            await wrong_path.start()  # it answers, that is enough
            await wrong_path.start()
            await wrong_path.close()
            await wrong_path.close()

        async with connected(says("Well."), models=("other", "another")) as (_, llm):
            assert llm.name == "openai (a-model)"
            assert await text_of(llm) == "Well."

    asyncio.run(main())
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "the endpoint does not list the model"
    ]


def test_closing_the_engine_ends_its_replies() -> None:
    async def main() -> None:
        async with connected(sends_and_hangs(chunk({"content": "Well"}))) as (_, llm):
            deltas = llm.reply(request())
            await anext(deltas)
            await llm.close()
            with pytest.raises(EngineError):
                await anext(deltas)
            with pytest.raises(EngineError, match="not started"):
                await text_of(llm)

    asyncio.run(main())


# The real thing


@pytest.fixture(scope="module")
def llama_url(models_dir: Path) -> Iterator[str]:
    """llama.cpp's own HTTP server, with the embedded model."""
    model = models_dir / "smollm2-135m-instruct" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    command = [sys.executable, str(ROOT / "bench" / "llama_http.py"), "--model", str(model)]
    options = ["--port", str(free_tcp_port()), "--threads", "1", "--context-tokens", "512"]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"{process.stdout.readline().strip()}/v1"
        finally:
            process.stdin.close()
            process.wait(20)


@asynccontextmanager
async def llama(url: str) -> AsyncIterator[OpenAiChat]:
    llm = OpenAiChat(url, "smollm2", patience=Patience(first_token_s=60.0, idle_s=30.0))
    await llm.start()
    try:
        yield llm
    finally:
        await llm.close()


@pytest.mark.models
def test_llama_cpp_answers_and_keeps_what_it_read(llama_url: str) -> None:
    async def main() -> None:
        async with llama(llama_url) as llm:
            asked = LlmRequest((SYSTEM, ChatMessage("user", "What is the capital of France?")), 40, 0.0)
            deltas = await whole(llm, asked)
            assert "Paris" in "".join(delta.text for delta in deltas)
            assert len(deltas) > 4
            assert deltas[-1].finish == "stop"
            assert deltas[-1].input_tokens > 15
            assert deltas[-1].output_tokens >= len(deltas) - 2
            assert (await whole(llm, asked))[-1].cached_tokens > 10

            cut = await whole(llm, LlmRequest(asked.messages, 3, 0.0))
            assert (cut[-1].finish, cut[-1].output_tokens) == ("length", 3)

    asyncio.run(main())


@pytest.mark.models
def test_llama_cpp_stops_when_nobody_listens_and_refuses_what_is_too_long(llama_url: str) -> None:
    async def main() -> None:
        async with llama(llama_url) as llm:
            for _ in range(5):  # more than it has slots
                story = LlmRequest((SYSTEM, ChatMessage("user", "Tell me a very long story.")), 400, 0.0)
                async with aclosing(llm.reply(story)) as deltas:
                    await anext(deltas)
            assert await text_of(llm, request())
            with pytest.raises(EngineError) as caught:
                await text_of(llm, request("word " * 1000))
            assert caught.value.code == "context_full"

    asyncio.run(main())


@pytest.mark.models
def test_llama_cpp_takes_tools_and_what_they_brought(llama_url: str) -> None:
    async def main() -> None:
        async with llama(llama_url) as llm:
            messages = (
                SYSTEM,
                ChatMessage("user", "What is the weather in Bonn?"),
                ChatMessage("assistant", "", tool_calls=(ToolCall("call_1", "weather", '{"city": "Bonn"}'),)),
                ChatMessage("tool", "Rain.", call_id="call_1"),
            )
            assert await text_of(llm, LlmRequest(messages, 20, 0.0, tools=(WEATHER,)))

    asyncio.run(main())
