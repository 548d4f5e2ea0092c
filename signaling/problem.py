"""Every HTTP error as problem JSON (RFC 9457), and nothing else.

Members: `type` (always `about:blank`: the code says more), `title` and `status` of HTTP, `detail` for people,
`code` for machines, `param` where one field is at fault, `reference` where the fault is ours.
"""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from media.errors import CallerError, ConfigError, EngineError, ServerFull
from media.items import new_id

CONTENT_TYPE = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS_OF_CODE = {
    "call_not_found": 404,
    "forbidden_host": 403,
    "forbidden_origin": 403,
    "not_local": 403,
    "body_too_large": 413,
    "not_json": 400,
    "unsupported_media_type": 415,
    "unsupported_tracks": 422,
    "ice_restart_unsupported": 422,
    "precondition_failed": 412,
    "precondition_required": 428,
}
_CODE_OF_STATUS = {
    400: "invalid_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}

_RETRY_AFTER_ENGINE_FAULT_S = 5

log = logging.getLogger(__name__)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: str | None,
) -> web.Response:
    """A response that says what is wrong. Members that are None are left out."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **{name: value for name, value in members.items() if value is not None},
    }
    return web.Response(status=status, body=json.dumps(body), content_type=CONTENT_TYPE, headers=headers)


def problem_of(error: CallerError | EngineError) -> web.Response:
    """The response for an error of the tree."""
    detail = str(error)
    match error:
        case ServerFull():
            headers = {"Retry-After": str(error.retry_after_s)}
            return problem(503, error.code, detail, headers=headers)
        case ConfigError():
            return problem(422, error.code, detail, param=error.param)
        case CallerError():
            return problem(_STATUS_OF_CODE.get(error.code, 400), error.code, detail, param=error.param)
        case EngineError():
            headers = {"Retry-After": str(_RETRY_AFTER_ENGINE_FAULT_S)}
            return problem(503, error.code, detail, headers=headers)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The boundary of HTTP: whatever a handler raises leaves as problem JSON. The outermost middleware."""
    try:
        return await handler(request)
    except (CallerError, EngineError) as error:
        return problem_of(error)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return _of_aiohttp(request, answer)
    except Exception:  # the boundary: a fault of ours is logged whole and told by its reference
        reference = new_id("fault")
        log.exception("a request failed", extra={"reference": reference, "path": request.path})
        detail = f"The server failed. Its log has the details under {reference}."
        return problem(500, "internal_error", detail, reference=reference)


def _of_aiohttp(request: web.Request, answer: web.HTTPException) -> web.Response:
    details = {
        404: f"There is nothing at {request.path}.",
        405: f"{request.method} is not possible at {request.path}.",
    }
    headers = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else None
    code = _CODE_OF_STATUS.get(answer.status, "http_error")
    return problem(answer.status, code, details.get(answer.status, answer.reason), headers=headers)
