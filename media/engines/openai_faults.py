"""What an OpenAI-compatible endpoint says when it refuses a request, as errors of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from media.clock import wall_time_s
from media.errors import EngineError

_LONGEST_SHOWN_CHARS = 300

_RETRYABLE_CLIENT_ERRORS = frozenset({408, 409, 425, 429})
"""Request Timeout, Conflict, Too Early, Too Many Requests (RFC 9110, 8470, 6585)."""

_NO_ROOM = frozenset({429, 503})
"""Too Many Requests, Service Unavailable: another one may have room."""

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


@dataclass(frozen=True, slots=True)
class EndpointUse:
    """What an endpoint is for, as its errors have it.

    Attributes:
        noun: whose endpoint it is.
        section: of the configuration.
        code: what its errors' codes begin with.
    """

    noun: str
    section: str
    code: str

    @property
    def endpoint(self) -> str:
        """What sentences about it begin with."""
        return f"The {self.noun}'s endpoint"


LLM = EndpointUse("language model", "llm", "llm")
STT = EndpointUse("transcriber", "model", "stt")
TTS = EndpointUse("voice", "tts", "tts")


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


def fault_of_response(use: EndpointUse, status: int, headers: Mapping[str, str], body: str) -> EndpointFault:
    """The fault in an answer that is none.

    Args:
        use: what the endpoint is for.
        status: of HTTP, 300 or more.
        headers: of the answer.
        body: whatever it says.
    """
    error = _error_in(body)
    if 300 <= status < 400:
        where = headers.get("Location", "elsewhere")
        return EndpointFault(f"{use.endpoint} redirects to {where}: set {use.section}.base_url to that.")
    return _fault(use, status, error, retry_after_s(headers.get("Retry-After")))


def fault_of_event(use: EndpointUse, error: Any) -> EndpointFault:
    """The fault in an `error` that came amid a stream, whose status was 200."""
    described = error if isinstance(error, Mapping) else {"message": str(error)}
    code = described.get("code")
    return _fault(use, code if isinstance(code, int) and code >= 400 else 500, described, None)


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


def _fault(use: EndpointUse, status: int, error: Mapping[str, Any], wait_s: float | None) -> EndpointFault:
    message = _shortened(str(error.get("message") or f"HTTP status {status}"))
    words = f"{error.get('code')} {error.get('type')} {message}".lower()
    if use is LLM and status != 429 and any(known in words for known in _CONTEXT_WORDS):
        return EndpointFault(
            f"The conversation is too long for the language model: {message}", code="context_full"
        )
    if status in (401, 403):
        return EndpointFault(
            f"{use.endpoint} does not accept {use.section}.api_key: {message}",
            code=f"{use.code}_unauthorized",
        )
    if status == 404:
        return EndpointFault(
            f"{use.endpoint} has no such model ({use.section}.name, {use.section}.base_url): {message}",
            code=f"{use.code}_not_found",
        )
    exhausted = {str(error.get("code")), str(error.get("type"))} & _NOTHING_LEFT
    parameter = error.get("param")
    return EndpointFault(
        f"{use.endpoint} refuses (HTTP {status}): {message}",
        code="engine_full" if status in _NO_ROOM and not exhausted else None,
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
