"""The body of a request, of the type that is expected and no larger than is allowed."""

from __future__ import annotations

from aiohttp import web

from media.errors import CallerError


async def read_body(request: web.Request, content_type: str, limit_bytes: int) -> bytes:
    """The body. Read piece by piece, so that a large one is refused early.

    Raises:
        CallerError: `unsupported_media_type`, `body_too_large`, `body_cut_short`.
    """
    if request.content_type != content_type:
        raise CallerError(f"The body must be {content_type}.", code="unsupported_media_type")
    too_large = CallerError(f"The body is larger than {limit_bytes} bytes.", code="body_too_large")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit_bytes:
                raise too_large
    except (ConnectionError, web.RequestPayloadError) as error:
        # The client went away in the middle. Nobody reads this, but the log stays clean.
        raise CallerError("The body was cut short.", code="body_cut_short") from error
    return bytes(body)
