"""What an OpenAI-compatible endpoint says when it refuses a request, as errors of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from media.clock import wall_time_s
from media.errors import EngineError

_LONGEST_SHOWN_CHARS = 300

_RETRYABLE_CLIENT_ERRORS = frozenset({408, 409, 425, 429})
"""Request Timeout, Conflict, Too Early, Too Many Requests (RFC 9110, 8470, 6585)."""

_NOTHING_LEFT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""429 that no waiting changes."""

_CONTEXT_WORDS = (
    "context_length_exceeded",  # OpenAI
    "maximum context length",  # OpenAI, vLLM, SGLang, Mistral
    "longer than the model's context length",  # SGLang
    "longer than the maximum model length",  # vLLM
    "exceed_context_size_error",  # llama.cpp
    "exceeds the available context size",  # llama.cpp
    "context window",
    "prompt is too long",
    "reduce the length of the messages",
)


class EndpointFault(EngineError):
    """The endpoint refused a request, or broke it off.

    Attributes:
        retry_after_s: how long it asks to be left alone, where it says so.
        parameter: the field of the request that it does not take, where it names one.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable)
        self.retry_after_s = retry_after_s
        self.parameter = parameter


def fault_of_response(status: int, headers: Mapping[str, str], body: str) -> EndpointFault:
    """The fault in an answer that is none.

    Args:
        status: of HTTP, 300 or more.
        headers: of the answer.
        body: whatever it says.
    """
    error = _error_in(body)
    if 300 <= status < 400:
        where = headers.get("Location", "elsewhere")
        return EndpointFault(f"The language model's endpoint redirects to {where}: set llm.base_url to that.")
    return _fault(status, error, retry_after_s(headers.get("Retry-After")))


def fault_of_event(error: Any) -> EndpointFault:
    """The fault in an `error` that came amid a stream, whose status was 200."""
    described = error if isinstance(error, Mapping) else {"message": str(error)}
    code = described.get("code")
    return _fault(code if isinstance(code, int) and code >= 400 else 500, described, None)


def retry_after_s(header: str | None) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3): seconds, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, until.timestamp() - datetime.fromtimestamp(wall_time_s(), UTC).timestamp())


def _fault(status: int, error: Mapping[str, Any], wait_s: float | None) -> EndpointFault:
    message = _shortened(str(error.get("message") or f"HTTP status {status}"))
    words = f"{error.get('code')} {error.get('type')} {message}".lower()
    if status != 429 and any(known in words for known in _CONTEXT_WORDS):
        return EndpointFault(
            f"The conversation is too long for the language model: {message}", code="context_full"
        )
    if status in (401, 403):
        return EndpointFault(
            f"The language model's endpoint does not accept llm.api_key: {message}", code="llm_unauthorized"
        )
    if status == 404:
        return EndpointFault(
            f"The language model's endpoint has no such model (llm.name, llm.base_url): {message}",
            code="llm_not_found",
        )
    exhausted = {str(error.get("code")), str(error.get("type"))} & _NOTHING_LEFT
    parameter = error.get("param")
    return EndpointFault(
        f"The language model's endpoint refuses (HTTP {status}): {message}",
        retryable=not exhausted and (status >= 500 or status in _RETRYABLE_CLIENT_ERRORS),
        retry_after_s=wait_s,
        parameter=parameter if status in (400, 422) and isinstance(parameter, str) else None,
    )


def _error_in(body: str) -> Mapping[str, Any]:
    """The error object of an answer, however the server wraps it; else its text as the message."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {"message": "" if "<html" in body.lower() else body.strip()}
    if not isinstance(answer, Mapping):
        return {"message": str(answer)}
    error = answer.get("error", answer)
    if not isinstance(error, Mapping):  # Ollama
        return {"message": str(error)}
    if "message" not in error and "detail" in error:  # FastAPI
        return {"message": str(error["detail"])}
    return error


def _shortened(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= _LONGEST_SHOWN_CHARS else f"{text[:_LONGEST_SHOWN_CHARS]}…"
