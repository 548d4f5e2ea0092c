"""Any language model behind an endpoint that speaks OpenAI's chat completions.

vLLM, SGLang, Ollama and llama.cpp's own server do, and most that are hosted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp

from media.clock import loop_time_s
from media.engines.openai_faults import EndpointFault, fault_of_response
from media.engines.openai_request import messages_of, tools_of
from media.engines.openai_stream import CompletionStream
from media.engines.protocols import LlmDelta, LlmRequest
from media.engines.server_sent_events import EventReader
from media.errors import EngineError

log = logging.getLogger(__name__)

_LONGEST_RETRY_AFTER_S = 5.0
"""An endpoint that asks for more is not waited for."""

_USAGE_LIMIT_S = 0.5
"""A reply that is whole waits this long for what it cost, and for its stream's end."""

_KEPT_ALIVE_S = 60.0
"""Connections are kept from one turn to the next: a new one to a hosted endpoint costs some round trips."""

_LONGEST_REFUSAL_BYTES = 64 * 1024

_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Fields that some models do not take, and what they take instead; others are left out."""

_DISPENSABLE = frozenset({"max_tokens", "temperature", "stream_options"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint is waited for.

    Attributes:
        connect_s: for a connection.
        first_token_s: for the reply's first word or call, all tries together.
        idle_s: for each piece after it.
        retries_s: before the second try, the third … A caller waits in silence: there are few.
    """

    connect_s: float = 3.0
    first_token_s: float = 10.0
    idle_s: float = 10.0
    retries_s: tuple[float, ...] = (0.2, 0.8)


class OpenAiChat:
    """A model behind an endpoint. Reads nothing ahead: whether prompts are cached is the endpoint's affair.

    Args:
        base_url: without a slash at its end: `/chat/completions` follows it.
        model: as the endpoint calls it.
        api_key: sent as a bearer token; empty for none. Never in a log or an error.
        patience: how long it is waited for.
        extra_body: further fields of each request; None takes one away.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        patience: Patience | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._patience = patience or Patience()
        self._extra_body = dict(extra_body or {})
        self._refused: set[str] = set()
        """Fields that the model does not take."""
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return f"openai ({self._model})"

    async def start(self) -> None:
        """Asks the endpoint which models it has. One that answers, but not to that, will do.

        Raises:
            EngineError: it cannot be reached, or does not accept the key.
        """
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._patience.connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Bearer {self._api_key}"} if self._api_key else None,
        )
        try:
            async with asyncio.timeout(self._patience.first_token_s):
                self._look_for_model(await self._models())
        except TimeoutError:
            await self.close()
            raise EngineError(
                f"The language model's endpoint {self._base_url} accepts connections, but says nothing."
            ) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply. Closing the generator closes the connection, at which endpoints stop.

        What fails before the first word is tried again here where that may help.

        Raises:
            EngineError: `context_full` where the conversation is too long for the model; or the endpoint
                failed, and it helps no more to ask again.
        """
        session = self._session
        if session is None:
            raise EngineError(f"The engine {self.name} is not started.")
        if request.max_tokens == 0:
            return
        deadline_s = loop_time_s() + self._patience.first_token_s
        delays_s = list(self._patience.retries_s)
        begun = False
        while True:
            try:
                async with aclosing(self._try(session, request, deadline_s)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except EndpointFault as fault:
                if begun or self._session is not session:
                    raise self._given_up(fault) from fault
                if self._adapt_to(fault):
                    continue
                wait_s = _wait_s(fault, delays_s)
                if wait_s is None or loop_time_s() + wait_s >= deadline_s:
                    raise self._given_up(fault) from fault
                log.info("the language model is asked again", extra={"reason": self._without_key(str(fault))})
            await asyncio.sleep(wait_s)
            if self._session is not session:
                raise EngineError(f"The engine {self.name} is closed.", code="engine_closed")

    async def _try(
        self, session: aiohttp.ClientSession, request: LlmRequest, deadline_s: float
    ) -> AsyncGenerator[LlmDelta, None]:
        """Asks once.

        Raises:
            EndpointFault: no reply, or no whole one.
        """
        stream, events = CompletionStream(), EventReader()
        body = self._body(request)
        async with (
            _faults(),
            _answer(session, f"{self._base_url}/chat/completions", body, deadline_s) as answer,
        ):
            while not stream.done:
                try:
                    piece = await _piece(answer, self._limit_s(stream, deadline_s))
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
                await _read_to_end(answer)

    def _limit_s(self, stream: CompletionStream, deadline_s: float) -> float:
        """When the next piece must have come."""
        if stream.finished:
            return loop_time_s() + _USAGE_LIMIT_S
        return loop_time_s() + self._patience.idle_s if stream.begun else deadline_s

    def _body(self, request: LlmRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages_of(request),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        body |= tools_of(request)
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

    async def _models(self) -> object:
        """What `GET /models` says; None where the endpoint does not know that."""
        assert self._session is not None
        for delay_s in (*self._patience.retries_s, None):
            try:
                async with (
                    _faults(),
                    self._session.get(f"{self._base_url}/models", allow_redirects=False) as answer,
                ):
                    if answer.status == 200:
                        return await answer.json(content_type=None)
                    if answer.status in (404, 405, 501):
                        return None
                    raise fault_of_response(answer.status, answer.headers, await _text(answer))
            except EndpointFault as fault:
                if delay_s is None or not fault.retryable:
                    raise self._given_up(fault) from fault
                await asyncio.sleep(delay_s)
            except ValueError:
                return None
        raise AssertionError("the last try returns or raises")

    def _look_for_model(self, models: object) -> None:
        """Says so where the endpoint does not list the model. Some serve it all the same."""
        listed = models.get("data") if isinstance(models, Mapping) else None
        if not isinstance(listed, list):
            return
        names = [str(entry.get("id")) for entry in listed if isinstance(entry, Mapping)]
        if names and self._model not in names:
            log.warning(
                "the endpoint does not list the model",
                extra={"model": self._model, "listed": ", ".join(names[:10])},
            )

    def _given_up(self, fault: EndpointFault) -> EngineError:
        """What whoever asked is told: not to try again, since that has been done here."""
        return EngineError(self._without_key(str(fault)), code=fault.code)

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "…") if self._api_key else text


def _wait_s(fault: EndpointFault, delays_s: list[float]) -> float | None:
    """How long until the next try; None where there should be none."""
    if not fault.retryable or not delays_s:
        return None
    asked_s = fault.retry_after_s or 0.0
    return None if asked_s > _LONGEST_RETRY_AFTER_S else max(asked_s, delays_s.pop(0))


@contextlib.asynccontextmanager
async def _answer(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], deadline_s: float
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The stream that answers a request. Its connection is closed where it was not read to its end."""
    async with asyncio.timeout_at(deadline_s):
        answer = await session.post(url, json=body, allow_redirects=False)
    try:
        if answer.status != 200:
            async with asyncio.timeout_at(deadline_s):
                raise fault_of_response(answer.status, answer.headers, await _text(answer))
        yield answer
    finally:
        answer.close()


@contextlib.asynccontextmanager
async def _faults() -> AsyncIterator[None]:
    """Whatever goes wrong on the way, as a fault of the endpoint."""
    try:
        yield
    except EndpointFault:
        raise
    except aiohttp.ClientSSLError as error:
        raise EndpointFault(f"The language model's endpoint cannot be trusted: {error}.") from error
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
            raise EndpointFault(
                "The language model's endpoint did not answer in time.", code="llm_timeout"
            ) from error
        raise EndpointFault(
            f"The language model's endpoint cannot be reached: {_why(error)}.",
            code="llm_unreachable",
            retryable=True,
        ) from error
    except EngineError as error:
        raise EndpointFault(str(error)) from error


def _why(error: Exception) -> str:
    """A connection's failure in words, without what aiohttp adds of itself."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    number = error.os_error.errno
    reason = os.strerror(number) if number is not None and number > 0 else str(error.os_error)
    return f"{error.host}:{error.port}: {reason}"


async def _piece(answer: aiohttp.ClientResponse, limit_s: float) -> bytes:
    """The next bytes, empty at the end.

    Raises:
        TimeoutError: nothing came by then.
    """
    async with asyncio.timeout_at(limit_s):
        try:
            return await answer.content.readany()
        except RuntimeError as error:  # how aiohttp says that the connection was closed on this side
            raise aiohttp.ClientConnectionError(str(error)) from error


async def _read_to_end(answer: aiohttp.ClientResponse) -> None:
    """Reads the stream's end, so that its connection can be used again; nothing else is waited for."""
    with contextlib.suppress(TimeoutError):
        while await _piece(answer, loop_time_s() + _USAGE_LIMIT_S):
            pass


async def _text(answer: aiohttp.ClientResponse) -> str:
    text = b""
    while len(text) < _LONGEST_REFUSAL_BYTES and (piece := await answer.content.readany()):
        text += piece
    return text.decode(errors="replace")
