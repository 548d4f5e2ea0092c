"""Every HTTP error as problem JSON (RFC 9457), and nothing else; at `/v1` as the Realtime API has it.

Members: `type` (always `about:blank`: the code says more), `title` and `status` of HTTP, `detail` for people,
`code` for machines, `param` where one field is at fault, `reference` where the fault is ours.
"""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from media.errors import CallerError, ConfigError, EngineError, ServerFull
from media.items import new_id

CONTENT_TYPE = "application/problem+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

API_PREFIX = "/v1/"
"""Where the Realtime API's clients are served."""

_STATUS_OF_CODE = {
    "missing_api_key": 401,
    "upgrade_required": 426,
    "invalid_api_key": 401,
    "call_not_found": 404,
    "model_not_found": 404,
    "forbidden_host": 403,
    "not_for_client_secrets": 403,
    "forbidden_origin": 403,
    "not_local": 403,
    "not_the_provider": 403,
    "keys_not_configured": 403,
    "destination_not_allowed": 403,
    "caller_not_allowed": 403,
    "call_not_answered": 409,
    "transfer_failed": 409,
    "no_telephone": 501,
    "too_many_outbound_calls": 429,
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


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a request, or with us.

    Attributes:
        status: of HTTP.
        code: for machines.
        detail: for people.
        headers: of the response.
        param: the field at fault.
        reference: where the fault is ours.
    """

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] | None = None
    param: str | None = None
    reference: str | None = None

    def as_problem(self) -> web.Response:
        members = {"param": self.param, "reference": self.reference}
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **{name: value for name, value in members.items() if value is not None},
        }
        return self._response(body, CONTENT_TYPE)

    def as_api_error(self) -> web.Response:
        """As the clients of the Realtime API read it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.detail, "type": kind, "code": self.code, "param": self.param}
        return self._response({"error": error}, "application/json")

    def _response(self, body: dict[str, Any], content_type: str) -> web.Response:
        return web.Response(
            status=self.status, body=json.dumps(body), content_type=content_type, headers=self.headers
        )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
) -> web.Response:
    """A response that says what is wrong. Members that are None are left out."""
    return Fault(status, code, detail, headers, param).as_problem()


def fault_of(error: CallerError | EngineError) -> Fault:
    """What HTTP says for an error of the tree."""
    detail = str(error)
    match error:
        case ServerFull():
            status = _STATUS_OF_CODE.get(error.code, 503)
            return Fault(status, error.code, detail, {"Retry-After": str(error.retry_after_s)})
        case ConfigError():
            return Fault(422, error.code, detail, param=error.param)
        case CallerError():
            status = _STATUS_OF_CODE.get(error.code, 400)
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            return Fault(status, error.code, detail, headers, error.param)
        case EngineError():
            return Fault(503, error.code, detail, {"Retry-After": str(_RETRY_AFTER_ENGINE_FAULT_S)})


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The boundary of HTTP: whatever a handler raises leaves as JSON. The outermost middleware."""
    try:
        return await handler(request)
    except (CallerError, EngineError) as error:
        fault = fault_of(error)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        fault = _of_aiohttp(request, answer)
    except Exception:  # the boundary: a fault of ours is logged whole and told by its reference
        reference = new_id("fault")
        log.exception("a request failed", extra={"reference": reference, "path": request.path})
        detail = f"The server failed. Its log has the details under {reference}."
        fault = Fault(500, "internal_error", detail, reference=reference)
    return fault.as_api_error() if request.path.startswith(API_PREFIX) else fault.as_problem()


def _of_aiohttp(request: web.Request, answer: web.HTTPException) -> Fault:
    details = {
        404: f"There is nothing at {request.path}.",
        405: f"{request.method} is not possible at {request.path}.",
    }
    headers = {"Allow": answer.headers["Allow"]} if "Allow" in answer.headers else None
    code = _CODE_OF_STATUS.get(answer.status, "http_error")
    return Fault(answer.status, code, details.get(answer.status, answer.reason), headers)
