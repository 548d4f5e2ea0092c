"""The body of a request, of the type that is expected and no larger than is allowed."""

from __future__ import annotations

from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from media.errors import CallerError
from signaling.realtime_base import FromClient
from signaling.realtime_events import field_path

Body = TypeVar("Body", bound=FromClient)


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
        raise body_cut_short() from error
    return bytes(body)


def body_cut_short() -> CallerError:
    """The client went away in the middle. Nobody reads this, but the log stays clean."""
    return CallerError("The body was cut short.", code="body_cut_short")


def checked_body(model: type[Body], text: bytes, *, part: str | None = None) -> Body:
    """What the body, or a part of it, says.

    Args:
        model: what it is to be.
        text: JSON.
        part: its name in the body.

    Raises:
        CallerError: it is no JSON object, or a field is not what it must be; `param` names the field.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fault: Any = error.errors(include_url=False)[0]
        param = field_path((part, *fault["loc"]) if part is not None else fault["loc"])
        code = "missing_required_parameter" if fault["type"] == "missing" else "invalid_value"
        sentence = f"{param}: {fault['msg']}" if param else f"The body is no JSON object: {fault['msg']}"
        raise CallerError(sentence, code=code, param=param or None) from None
