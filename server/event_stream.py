"""An answer that is sent piece by piece, as server-sent events or as bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, TypeVar

from aiohttp import web

from media.errors import VoxtralKokoroError

T = TypeVar("T")

EVENT_STREAM = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def event(data: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def error_event(error: VoxtralKokoroError) -> bytes:
    """What is said where an answer breaks off whose status was sent long ago."""
    return event({"error": {"message": str(error), "type": "server_error", "code": error.code}})


async def send_streamed(
    request: web.Request,
    items: AsyncGenerator[T, None],
    as_bytes: Callable[[T], Iterable[bytes]],
    *,
    content_type: str = EVENT_STREAM,
    end: Callable[[], bytes] = lambda: b"",
) -> web.StreamResponse:
    """Sends what comes, as it comes. What fails before the first item is an error of HTTP.

    Args:
        request: that is answered.
        items: what the engine gives.
        as_bytes: an item in bytes.
        content_type: of the answer; only an event stream can tell an error. Others are broken off.
        end: asked for the last bytes, when all items were sent.

    Raises:
        VoxtralKokoroError: before anything was sent.
    """
    response: web.StreamResponse | None = None
    headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    try:
        async for item in items:
            if response is None:
                response = web.StreamResponse(headers=headers)
                await response.prepare(request)
            await response.write(b"".join(as_bytes(item)))
    except VoxtralKokoroError as error:
        if response is None:
            raise
        if content_type != EVENT_STREAM:
            assert request.transport is not None
            request.transport.abort()  # a whole answer would be taken for all there is
            return response
        await response.write(error_event(error))
        return response
    if response is None:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
    await response.write(end())
    await response.write_eof()
    return response


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})
