"""The real language model: streaming, aborting, two at once, errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from media.clock import loop_time_s
from media.engines.llama_cpp import LlamaCpp
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, ToolCall
from media.errors import EngineError, ModelMissing
from media.tools import Tool

pytestmark = pytest.mark.models

MODEL = Path("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf")
SYSTEM = ChatMessage("system", "You are a helpful voice assistant. Answer in one or two short sentences.")


def request(*texts: str, max_tokens: int = 40) -> LlmRequest:
    said = (ChatMessage("assistant" if at % 2 else "user", text) for at, text in enumerate(texts))
    return LlmRequest((SYSTEM, *said), max_tokens=max_tokens, temperature=0.0)


@pytest.fixture(scope="module")
def llama(models_dir: Path) -> Iterator[LlamaCpp]:
    engine = LlamaCpp(models_dir / MODEL, threads=1, context_tokens=512, parallel=2)
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.close())


@contextlib.asynccontextmanager
async def started(models_dir: Path) -> AsyncIterator[LlamaCpp]:
    llama = LlamaCpp(models_dir / MODEL, threads=1, context_tokens=256, parallel=1)
    await llama.start()
    try:
        yield llama
    finally:
        await llama.close()


async def whole(llama: LlamaCpp, asked: LlmRequest) -> list[LlmDelta]:
    return [delta async for delta in llama.reply(asked)]


def test_a_reply_streams_and_says_how_it_ended(llama: LlamaCpp) -> None:
    async def main() -> None:
        deltas = await whole(llama, request("What is the capital of France?"))
        assert "Paris" in "".join(delta.text for delta in deltas)
        assert len(deltas) > 4
        assert all(delta.finish is None for delta in deltas[:-1])
        assert deltas[-1].finish == "stop"
        assert deltas[-1].input_tokens > 20
        assert deltas[-1].output_tokens >= len(deltas) - 1

        cut = await whole(llama, request("Tell me a long story.", max_tokens=5))
        assert cut[-1].finish == "length"
        assert cut[-1].output_tokens == 5

    asyncio.run(main())


def test_a_reply_that_has_begun_is_gone_on_with(llama: LlamaCpp) -> None:
    async def main() -> None:
        begun = replace(request("What is the capital of France?"), begun="The capital of France is")
        assert "".join(delta.text for delta in await whole(llama, begun)).startswith(" Paris")

    asyncio.run(main())


def test_closing_a_reply_frees_its_slot_at_once(llama: LlamaCpp) -> None:
    async def main() -> None:
        for _ in range(3):  # more than there are slots
            story = llama.reply(request("Tell me a very long story.", max_tokens=400))
            async with contextlib.aclosing(story):
                await anext(story)
                start_s = loop_time_s()
                for _ in range(10):
                    await anext(story)
                ten_tokens_s = loop_time_s() - start_s

        start_s = loop_time_s()
        reply = llama.reply(request("What is the capital of France?"))
        async with contextlib.aclosing(reply):
            await anext(reply)
        # The abandoned stories would have taken forty times as long, and had both slots.
        assert loop_time_s() - start_s < 12 * ten_tokens_s

    asyncio.run(main())


def test_two_replies_run_side_by_side(llama: LlamaCpp) -> None:
    async def main() -> None:
        order: list[str] = []

        async def follow(name: str) -> None:
            async for _ in llama.reply(request(f"Tell me about {name}.", max_tokens=20)):
                order.append(name)

        async with asyncio.TaskGroup() as group:
            for name in ("trains", "ships"):
                group.create_task(follow(name))
        last = {name: len(order) - 1 - order[::-1].index(name) for name in ("trains", "ships")}
        assert max(order.index("trains"), order.index("ships")) < min(last.values())

    asyncio.run(main())


def test_a_conversation_that_is_too_long_is_refused(llama: LlamaCpp) -> None:
    async def main() -> None:
        with pytest.raises(EngineError, match="too long for the language model") as caught:
            await whole(llama, request("word " * 1000))
        assert caught.value.code == "context_full"
        assert not caught.value.retryable
        assert (await whole(llama, request("Hello!")))[-1].finish is not None

    asyncio.run(main())


def test_closing_the_engine_ends_what_it_generates_and_leaves_nothing_behind(models_dir: Path) -> None:
    threads = set(threading.enumerate())

    async def main() -> None:
        async with started(models_dir) as llama:
            reply = llama.reply(request("Tell me a very long story.", max_tokens=400))
            await anext(reply)
            await llama.close()
            with pytest.raises(EngineError):
                await whole(llama, request("Hello?"))
            await reply.aclose()

    asyncio.run(main())
    assert set(threading.enumerate()) == threads


def test_listens_on_no_address_and_leaves_the_signals_alone(models_dir: Path) -> None:
    async def main() -> None:
        loop, terminated = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, terminated.set)
        async with started(models_dir):
            process = psutil.Process()
            assert not [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
            sockets = {str(c.laddr) for c in process.net_connections("unix")}
            assert not {path for path in sockets if path.endswith("llama.sock") and os.path.exists(path)}  # noqa: ASYNC240
            process.terminate()
            await asyncio.wait_for(terminated.wait(), 5)
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())


@pytest.mark.parametrize("kept_bytes", [0, 100, 1_000_000])
def test_a_truncated_model_is_refused(models_dir: Path, tmp_path: Path, kept_bytes: int) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(models_dir / MODEL, model)
    with model.open("r+b") as file:
        file.truncate(kept_bytes)
    with pytest.raises(ModelMissing, match=r"model\.gguf is (empty|truncated or damaged): run `"):
        asyncio.run(LlamaCpp(model, threads=1, context_tokens=256, parallel=1).start())


def test_a_conversation_is_read_once_whatever_others_say_in_between(llama: LlamaCpp) -> None:
    async def main() -> None:
        said = ["What is the capital of France?", "Paris.", "And of Spain?"]
        mine = replace(request(*said, max_tokens=4), conversation="mine")
        others = replace(request("Tell me about ships.", max_tokens=4), conversation="others")
        await whole(llama, mine)
        await whole(llama, others)
        last = (await whole(llama, mine))[-1]
        assert last.cached_tokens == last.input_tokens - 1

        ahead = replace(request(*said, "Madrid."), conversation="mine", max_tokens=0)
        assert [delta.text for delta in await whole(llama, ahead)] == [""]
        asked = replace(request(*said, "Madrid.", "And of Italy?", max_tokens=4), conversation="mine")
        last = (await whole(llama, asked))[-1]
        assert last.input_tokens - last.cached_tokens < 20

    asyncio.run(main())


def test_what_stays_where_old_exchanges_are_left_out_is_not_read_again(llama: LlamaCpp) -> None:
    async def main() -> None:
        said: list[str] = []
        for at, country in enumerate(("France", "Spain", "Italy", "Greece", "Norway", "Peru")):
            said.append(f"Question {at}. I have never been to {country}. What is there to see in summer?")
            said.append(f"That is a good question. I would go to {country} in spring, when it is quiet.")
        everything = replace(request(*said), conversation="traveller", max_tokens=0)
        await whole(llama, everything)
        for kept in (8, 4):  # twice, as in a call that is long enough
            asked = request(*said[-kept:], "Which of these countries is the largest?", max_tokens=12)
            last = (await whole(llama, replace(asked, conversation="traveller")))[-1]
            assert last.input_tokens > 25 * kept
            assert last.input_tokens - last.cached_tokens < 20

    asyncio.run(main())


def test_reading_ahead_gives_way_to_a_reply_and_loses_nothing(llama: LlamaCpp) -> None:
    async def main() -> None:
        long = replace(request("word " * 350), conversation="reader", max_tokens=0)
        reply = replace(request("What is the capital of France?", max_tokens=10), conversation="asker")
        order: list[str] = []

        async def follow(name: str, asked: LlmRequest) -> LlmDelta:
            last = (await whole(llama, asked))[-1]
            order.append(name)
            return last

        async with asyncio.TaskGroup() as group:
            read = group.create_task(follow("read", long))
            await asyncio.sleep(0.3)  # it is in the middle
            group.create_task(follow("reply", reply))
        assert order == ["reply", "read"]
        assert 16 <= read.result().cached_tokens < read.result().input_tokens

    asyncio.run(main())


def test_a_cancelled_reading_is_gone_on_with(llama: LlamaCpp) -> None:
    async def main() -> None:
        long = replace(request("word " * 300), conversation="patient", max_tokens=0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await whole(llama, long)
        last = (await whole(llama, long))[-1]
        assert 16 <= last.cached_tokens < last.input_tokens

    asyncio.run(main())


def test_tools_break_nothing_where_the_template_knows_none(llama: LlamaCpp) -> None:
    async def main() -> None:
        tool = Tool("get_weather", "Says what the weather is like.", '{"type": "object"}')
        plain = request("How is the weather in Berlin?", max_tokens=8)
        expected = await whole(llama, plain)
        for choice in ("auto", "none", "required", "function:get_weather"):
            deltas = await whole(llama, replace(plain, tools=(tool,), tool_choice=choice))
            assert deltas[-1].input_tokens == expected[-1].input_tokens
        asked = ChatMessage("assistant", "", (ToolCall("call_1", "get_weather", "{}"),))
        brought = ChatMessage("tool", "sunny", call_id="call_1")
        deltas = await whole(llama, replace(plain, messages=(*plain.messages, asked, brought), tools=(tool,)))
        assert deltas[-1].finish is not None

    asyncio.run(main())
