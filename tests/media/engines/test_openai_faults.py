"""An endpoint that refuses, breaks off, or says nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from media.clock import loop_time_s
from media.engines.openai_endpoint import Patience
from media.engines.openai_faults import retry_after_s
from media.errors import EngineError
from tests.media.engines.openai_llm import connected, request, text_of
from tests.openai_endpoint import Answer, chunk, event, refuses, says, sends, sends_and_cuts, sends_and_hangs


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
        patience = Patience(connect_s=1.0, first_s=0.4, idle_s=0.2)
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
