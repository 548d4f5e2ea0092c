"""A model behind a scripted endpoint, and what is asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest
from media.tools import Tool
from tests.openai_endpoint import Answer, Endpoint

QUICK = Patience(connect_s=1.0, first_s=2.0, idle_s=0.3, retries_s=(0.02, 0.05))
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
