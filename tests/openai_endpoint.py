"""An endpoint of OpenAI's on loopback that answers as its script says, byte by byte if need be.

Written from the wire's description: `POST /v1/chat/completions` with `stream`, answered by server-sent events
of `chat.completion.chunk`s, the usage in a last one without choices, then `[DONE]`;
`POST /v1/audio/transcriptions`, a form with a file; `POST /v1/audio/speech`, answered with sound.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import BodyPartReader, web

Answer: TypeAlias = Callable[["Exchange"], Awaitable[None]]
"""What is done with one request."""


@dataclass
class Exchange:
    """One request, and the answer while it is sent."""

    request: web.Request
    body: dict[str, Any]
    response: web.StreamResponse | None = None
    content_type: str = "text/event-stream"

    async def send(self, *pieces: bytes) -> None:
        """Bytes of a stream; each piece is a write of its own."""
        if self.response is None:
            self.response = web.StreamResponse(headers={"Content-Type": self.content_type})
            await self.response.prepare(self.request)
        for piece in pieces:
            await self.response.write(piece)
            await asyncio.sleep(0)

    async def refuse(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.response = web.Response(
            status=status,
            text=body if isinstance(body, str) else json.dumps(body),
            content_type="application/json",
            headers=headers,
        )

    def cut(self) -> None:
        """Breaks the connection off."""
        assert self.request.transport is not None
        self.request.transport.abort()


@dataclass
class Endpoint:
    """The endpoint.

    Attributes:
        answers: one a request, the last for ever.
        models: what `GET /v1/models` lists; None: it does not know that.
        voices: what `GET /v1/audio/voices` says; None: it does not know that.
        owner: of its models.
        bodies: of the requests; of a form, its fields, the file as bytes.
        keys: their `Authorization` headers.
        peers: the client's port of each request: the same for one connection.
        aborted: set when a client closes its connection before its answer is whole.
    """

    answers: Sequence[Answer] = ()
    models: Sequence[str] | None = ("a-model",)
    voices: Any = None
    owner: str = "somebody"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Endpoint]:
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._complete),
                web.post("/v1/audio/transcriptions", self._complete),
                web.post("/v1/audio/speech", self._complete),
                web.get("/v1/audio/voices", self._list_voices),
                web.get("/v1/models", self._list_models),
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            yield self
        finally:
            await runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, await _body(request))
        self.bodies.append(exchange.body)
        self.keys.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername")[1])
        try:
            await self.answers[min(len(self.bodies), len(self.answers)) - 1](exchange)
        except (asyncio.CancelledError, ConnectionResetError):
            self.aborted.set()
            raise
        assert exchange.response is not None
        return exchange.response

    async def _list_models(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Authorization"))
        if self.models is None:
            return web.Response(status=404)
        return web.json_response(
            {
                "object": "list",
                "data": [{"id": name, "object": "model", "owned_by": self.owner} for name in self.models],
            }
        )

    async def _list_voices(self, _request: web.Request) -> web.Response:
        return web.Response(status=404) if self.voices is None else web.json_response(self.voices)


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type == "application/json":
        body: dict[str, Any] = await request.json()
        return body
    fields: dict[str, Any] = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        assert part.name is not None
        fields[part.name] = bytes(await part.read()) if part.filename else await part.text()
    return fields


def event(data: object) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


DONE = event("[DONE]")


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "a-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def usage(prompt: int = 12, completion: int = 3, cached: int = 8) -> bytes:
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }
    )


def call_piece(
    index: int | None = 0, call_id: str = "", name: str = "", arguments: str = ""
) -> dict[str, Any]:
    """A delta with a piece of a tool call; what is empty is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value}
    piece: dict[str, Any] = {"type": "function", "function": function}
    if call_id:
        piece["id"] = call_id
    if index is not None:
        piece["index"] = index
    return {"tool_calls": [piece]}


def says(*texts: str) -> Answer:
    """Answers with these pieces of text."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(chunk({"role": "assistant", "content": ""}))
        await exchange.send(*(chunk({"content": text}) for text in texts))
        await exchange.send(chunk({}, "stop"), usage(), DONE)

    return answer


def calls(*named: tuple[str, str, str]) -> Answer:
    """Answers with calls: (id, name, arguments), the arguments cut in two."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(chunk({"role": "assistant", "content": None}))
        for index, (call_id, name, arguments) in enumerate(named):
            middle = len(arguments) // 2
            await exchange.send(
                chunk(call_piece(index, call_id, name)),
                chunk(call_piece(index, arguments=arguments[:middle])),
                chunk(call_piece(index, arguments=arguments[middle:])),
            )
        await exchange.send(chunk({}, "tool_calls"), usage(), DONE)

    return answer


def sends(*pieces: bytes, content_type: str = "text/event-stream") -> Answer:
    """Answers with these bytes."""

    async def answer(exchange: Exchange) -> None:
        exchange.content_type = content_type
        await exchange.send(*pieces)

    return answer


def refuses(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.refuse(status, body, headers)

    return answer


def sends_and_cuts(*pieces: bytes) -> Answer:
    """Answers with these bytes, then breaks the connection off."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(*pieces)
        exchange.cut()
        exchange.response = exchange.response or web.Response()

    return answer


def sends_and_hangs(*pieces: bytes, content_type: str = "text/event-stream") -> Answer:
    """Answers with these bytes, then with silence."""

    async def answer(exchange: Exchange) -> None:
        exchange.content_type = content_type
        await exchange.send(*pieces)
        await asyncio.Event().wait()

    return answer


def hears(text: str, **more: Any) -> Answer:
    """Answers with a transcript."""
    return sends(json.dumps({"text": text, **more}).encode(), content_type="application/json")
