"""A language model behind an endpoint: over real sockets, with answers good and bad."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

import pytest

from media.engines.openai_chat import OpenAiChat
from media.engines.protocols import LlmDelta
from media.errors import EngineError
from tests.free_ports import free_tcp_port
from tests.media.engines.openai_llm import QUICK, SYSTEM, connected, request, text_of, whole
from tests.openai_endpoint import (
    DONE,
    Answer,
    Endpoint,
    Exchange,
    chunk,
    refuses,
    says,
    sends,
    sends_and_hangs,
    usage,
)


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


def test_a_reply_that_has_begun_is_gone_on_with_where_that_is_known_to_be_possible() -> None:
    async def main() -> None:
        begun = request(begun="It is")
        async with Endpoint((says(" noon."),), owner="vllm").running() as endpoint:
            llm = OpenAiChat(endpoint.base_url, "a-model", patience=QUICK)
            await llm.start()
            assert await text_of(llm, begun) == " noon."
            (body,) = endpoint.bodies
            assert body["messages"][-1] == {"role": "assistant", "content": "It is"}
            assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
            await llm.close()
        async with connected(says("Well.")) as (endpoint, llm):
            with pytest.raises(EngineError) as caught:
                await text_of(llm, begun)
            assert (caught.value.code, endpoint.bodies) == ("cannot_continue", [])

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
