"""The chat completions of llama.cpp's own HTTP server, with the embedded model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.protocols import ChatMessage, LlmRequest, ToolCall
from media.errors import EngineError
from tests.free_ports import free_tcp_port
from tests.media.engines.openai_llm import SYSTEM, WEATHER, request, text_of, whole

ROOT = Path(__file__).resolve().parents[3]


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
    llm = OpenAiChat(url, "smollm2", patience=Patience(first_s=60.0, idle_s=30.0))
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
