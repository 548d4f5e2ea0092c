"""Any language model behind an endpoint that speaks OpenAI's chat completions.

vLLM, SGLang, Ollama and llama.cpp's own server do, and most that are hosted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Unpack

from media.clock import loop_time_s
from media.engines.openai_endpoint import EndpointOptions, OpenAiEndpoint, next_piece, read_to_end
from media.engines.openai_faults import LLM, EndpointFault
from media.engines.openai_request import messages_of, tools_of
from media.engines.openai_stream import CompletionStream
from media.engines.protocols import CANNOT_CONTINUE, LlmDelta, LlmRequest
from media.engines.server_sent_events import EventReader
from media.errors import EngineError

_USAGE_LIMIT_S = 0.5
"""A reply that is whole waits this long for what it cost."""

_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Fields that some models do not take, and what they take instead; others are left out."""

_DISPENSABLE = frozenset({"max_tokens", "temperature", "stream_options"})


class OpenAiChat:
    """A model behind an endpoint.

    Only an engine host of ours is told which conversation a request belongs to, and asked to read ahead:
    elsewhere, whether prompts are cached is the endpoint's affair.

    Args:
        base_url: without a slash at its end: `/chat/completions` follows it.
        model: as the endpoint calls it.
        extra_body: further fields of each request; None takes one away.
        options: of the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        extra_body: Mapping[str, Any] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._endpoint = OpenAiEndpoint(LLM, base_url, model, **options)
        self._extra_body = dict(extra_body or {})
        self._refused: set[str] = set()
        """Fields that the model does not take."""

    @property
    def name(self) -> str:
        return self._endpoint.name

    async def start(self) -> None:
        """Asks the endpoint which models it has. One that answers, but not to that, will do.

        Raises:
            EngineError: it cannot be reached, or does not accept the key.
        """
        await self._endpoint.start()

    async def close(self) -> None:
        await self._endpoint.close()

    async def probe(self) -> None:
        """Asks, once, whether the endpoint is there.

        Raises:
            EngineError: it is not.
        """
        await self._endpoint.probe()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply. Closing the generator closes the connection, at which endpoints stop.

        What fails before the first word is tried again here where that may help.

        Raises:
            EngineError: `context_full` where the conversation is too long for the model; or the endpoint
                failed, and it helps no more to ask again.
        """
        if self._endpoint.is_started and request.max_tokens == 0 and not self._endpoint.is_engine_host:
            return
        if request.begun and not self._endpoint.continues:
            raise EngineError(f"{self.name} cannot go on with a reply.", code=CANNOT_CONTINUE)
        once = partial(self._once, request)
        async with aclosing(self._endpoint.tried(once, self._adapt_to)) as deltas:
            async for delta in deltas:
                yield delta

    async def _once(self, request: LlmRequest, deadline_s: float) -> AsyncGenerator[LlmDelta, None]:
        """Asks once.

        Raises:
            EndpointFault: no reply, or no whole one.
        """
        stream, events = CompletionStream(), EventReader()
        body = self._body(request)
        async with self._endpoint.answer("/chat/completions", deadline_s, json=body) as answer:
            while not stream.done:
                try:
                    piece = await next_piece(answer, self._limit_s(stream, deadline_s))
                except TimeoutError:
                    if stream.finished:
                        break
                    raise
                for event in events.push(piece) if piece else events.finish():
                    for delta in stream.receive(event):
                        yield delta
                if not piece:
                    break
            for delta in stream.last():
                yield delta
            if stream.done:
                await read_to_end(answer)

    def _limit_s(self, stream: CompletionStream, deadline_s: float) -> float:
        """When the next piece must have come."""
        if stream.finished:
            return loop_time_s() + _USAGE_LIMIT_S
        return loop_time_s() + self._endpoint.patience.idle_s if stream.begun else deadline_s

    def _body(self, request: LlmRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": messages_of(request),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        body |= tools_of(request)
        if request.begun:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if self._endpoint.is_engine_host and request.conversation:
            body["prompt_cache_key"] = request.conversation
        for field_name in self._refused:
            value = body.pop(field_name, None)
            if field_name in _RENAMED:
                body[_RENAMED[field_name]] = value
        body |= self._extra_body
        return {name: value for name, value in body.items() if value is not None}

    def _adapt_to(self, fault: EndpointFault) -> bool:
        """Does without a field that the model does not take. Returns whether that is new."""
        if fault.parameter not in _DISPENSABLE - self._refused:
            return False
        self._refused.add(str(fault.parameter))
        return True
