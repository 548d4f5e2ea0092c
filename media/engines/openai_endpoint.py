"""An OpenAI-compatible endpoint: connected, asked, and asked again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import aiohttp

from media.clock import loop_time_s
from media.engines.host import ENGINE_HOST
from media.engines.openai_faults import EndpointFault, EndpointUse, fault_of_response
from media.engines.starting import closed_unless_started
from media.errors import EngineError

T = TypeVar("T")

log = logging.getLogger(__name__)

_LAST_BYTES_LIMIT_S = 0.5
"""An answer that is whole waits this long for its stream's end."""

_KEPT_ALIVE_S = 60.0
"""Connections are kept from one turn to the next: a new one to a hosted endpoint costs some round trips."""

_HEARTBEAT_S = 10.0
"""A WebSocket whose other end answers no ping for so long is closed."""

_VLLM = "vllm"
"""Who owns the models that vLLM serves."""

_LONGEST_REFUSAL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an endpoint is waited for.

    Attributes:
        connect_s: for a connection.
        first_s: for the answer's first piece (a word, a call, a sound, a transcript), all tries together.
        idle_s: for each piece after it.
        retries_s: before the second try, the third … A caller waits in silence: there are few.
        longest_retry_after_s: an endpoint that asks for more is not waited for.
    """

    connect_s: float = 3.0
    first_s: float = 10.0
    idle_s: float = 10.0
    retries_s: tuple[float, ...] = (0.2, 0.8)
    longest_retry_after_s: float = 5.0


class EndpointOptions(TypedDict, total=False):
    """What an endpoint may be told, whatever it is for.

    Attributes:
        api_key: sent as a bearer token; empty for none. Never in a log or an error.
        patience: how long it is waited for.
        place: of several with the same model, which one: for its name.
    """

    api_key: str
    patience: Patience | None
    place: str


class OpenAiEndpoint:
    """A model behind an endpoint.

    Args:
        use: what the endpoint is for, as its errors have it.
        base_url: without a slash at its end: `/chat/completions` and the like follow it.
        model: as the endpoint calls it.
        api_key, patience, place: see `EndpointOptions`.
    """

    def __init__(
        self,
        use: EndpointUse,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        patience: Patience | None = None,
        place: str = "",
    ) -> None:
        self.use = use
        self.model = model
        self._place = place
        self.patience = patience or Patience()
        self.is_engine_host = False
        """Whether it is one of ours, which takes more than OpenAI's fields. Known once started."""
        self.continues = False
        """Whether it takes what vLLM does of a reply that has begun. Known once started."""
        self._base_url = base_url
        self._api_key = api_key
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return f"openai ({self.model} at {self._place})" if self._place else f"openai ({self.model})"

    @property
    def is_started(self) -> bool:
        return self._session is not None

    async def start(self) -> None:
        """Asks the endpoint which models it has. One that answers, but not to that, will do.

        Raises:
            EngineError: it cannot be reached, or does not accept the key.
        """
        if self._session is not None:
            return
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, connect=self.patience.connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Bearer {self._api_key}"} if self._api_key else None,
        )
        async with closed_unless_started(self):
            self._look_for_model(await self.document("/models"))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def document(self, path: str) -> object:
        """What a GET brings, as JSON; None where the endpoint does not know that address.

        Raises:
            EngineError: it cannot be reached, or refuses.
        """
        try:
            async with asyncio.timeout(self.patience.first_s):
                return await self._document(path)
        except TimeoutError:
            raise EngineError(
                f"{self.use.endpoint} {self._base_url} accepts connections, but says nothing.",
                code=f"{self.use.code}_timeout",
            ) from None

    async def probe(self) -> None:
        """Asks, once, whether it is there.

        Raises:
            EngineError: it is not, or does not accept the key.
        """
        if self._session is None:
            raise EngineError(f"The engine {self.name} is not started.")
        try:
            await self._get("/models")
        except EndpointFault as fault:
            raise self._given_up(fault) from fault

    async def tried(
        self,
        once: Callable[[float], AsyncGenerator[T, None]],
        adapt_to: Callable[[EndpointFault], bool] = lambda _fault: False,
    ) -> AsyncGenerator[T, None]:
        """Asks, and yields what comes. What fails before that is tried again where that may help.

        Args:
            once: asks one time; given when its first item must have come. Raises `EndpointFault`.
            adapt_to: whether a fault was met, so that asking at once is another thing.

        Raises:
            EngineError: the endpoint failed, and it helps no more to ask again.
        """
        session = self._session
        if session is None:
            raise EngineError(f"The engine {self.name} is not started.")
        deadline_s = loop_time_s() + self.patience.first_s
        delays_s = list(self.patience.retries_s)
        begun = False
        while True:
            try:
                async with aclosing(once(deadline_s)) as items:
                    async for item in items:
                        begun = True
                        yield item
                return
            except EndpointFault as fault:
                if begun or self._session is not session:
                    raise self._given_up(fault) from fault
                if adapt_to(fault):
                    continue
                wait_s = self._wait_s(fault, delays_s)
                if wait_s is None or loop_time_s() + wait_s >= deadline_s:
                    raise self._given_up(fault) from fault
                log.info(
                    "an endpoint is asked again",
                    extra={"endpoint": self.use.noun, "reason": self.without_key(str(fault))},
                )
            await asyncio.sleep(wait_s)
            if self._session is not session:
                raise EngineError(f"The engine {self.name} is closed.", code="engine_closed")

    @contextlib.asynccontextmanager
    async def answer(
        self, path: str, deadline_s: float, **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Posts, and gives the answer. Its connection is closed where it was not read to its end.

        Args:
            path: behind the address.
            deadline_s: the answer must have begun by then.
            body: `json` or `data`, as aiohttp has it.

        Raises:
            EndpointFault: whatever goes wrong, also while the answer is read.
        """
        assert self._session is not None, "started"
        with self._faults():
            async with asyncio.timeout_at(deadline_s):
                answer = await self._session.post(f"{self._base_url}{path}", allow_redirects=False, **body)
            try:
                if answer.status != 200:
                    async with asyncio.timeout_at(deadline_s):
                        raise fault_of_response(self.use, answer.status, answer.headers, await _text(answer))
                yield answer
            finally:
                answer.close()

    async def socket(self, path: str, deadline_s: float) -> aiohttp.ClientWebSocketResponse:
        """Opens a WebSocket.

        Args:
            path: behind the address.
            deadline_s: it must be open by then.

        Raises:
            EndpointFault: it cannot be reached, or refuses.
        """
        if self._session is None:
            raise EndpointFault(f"The engine {self.name} is not started.")
        with self._faults():
            try:
                async with asyncio.timeout_at(deadline_s):
                    return await self._session.ws_connect(
                        f"{self._base_url}{path}",
                        heartbeat=_HEARTBEAT_S,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_LAST_BYTES_LIMIT_S),
                    )
            except aiohttp.WSServerHandshakeError as error:
                raise fault_of_response(self.use, error.status, error.headers or {}, error.message) from None

    async def _document(self, path: str) -> object:
        for delay_s in (*self.patience.retries_s, None):
            try:
                return await self._get(path)
            except EndpointFault as fault:
                if delay_s is None or not fault.retryable:
                    raise self._given_up(fault) from fault
                await asyncio.sleep(delay_s)
        raise AssertionError("the last try returns or raises")

    async def _get(self, path: str) -> object:
        """What a GET brings; None where it is nothing known, or no JSON.

        Raises:
            EndpointFault: it cannot be reached, or refuses.
        """
        assert self._session is not None, "started"
        with self._faults():
            async with self._session.get(f"{self._base_url}{path}", allow_redirects=False) as answer:
                if answer.status in (404, 405, 501):
                    return None
                if answer.status != 200:
                    raise fault_of_response(self.use, answer.status, answer.headers, await _text(answer))
                try:
                    return await answer.json(content_type=None)
                except ValueError:
                    return None

    def _look_for_model(self, models: object) -> None:
        """Says so where the endpoint does not list the model. Some serve it all the same."""
        listed = models.get("data") if isinstance(models, Mapping) else None
        if not isinstance(listed, list):
            return
        owners = {str(e.get("id")): e.get("owned_by") for e in listed if isinstance(e, Mapping)}
        self.is_engine_host = owners.get(self.model) == ENGINE_HOST
        self.continues = owners.get(self.model) in (ENGINE_HOST, _VLLM)
        if owners and self.model not in owners:
            log.warning(
                "the endpoint does not list the model",
                extra={"model": self.model, "listed": ", ".join([*owners][:10])},
            )

    def _wait_s(self, fault: EndpointFault, delays_s: list[float]) -> float | None:
        """How long until the next try; None where there should be none."""
        if not fault.retryable or not delays_s:
            return None
        asked_s = fault.retry_after_s or 0.0
        return None if asked_s > self.patience.longest_retry_after_s else max(asked_s, delays_s.pop(0))

    def _given_up(self, fault: EndpointFault) -> EngineError:
        """What whoever asked is told: not to try again, since that has been done here."""
        return EngineError(self.without_key(str(fault)), code=fault.code)

    def without_key(self, text: str) -> str:
        """What the endpoint said. Some repeat the key that they refuse."""
        return text.replace(self._api_key, "…") if self._api_key else text

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Whatever goes wrong on the way, as a fault of the endpoint."""
        endpoint, code = self.use.endpoint, self.use.code
        try:
            yield
        except EndpointFault:
            raise
        except aiohttp.ClientSSLError as error:
            raise EndpointFault(f"{endpoint} cannot be trusted: {error}.") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                raise EndpointFault(f"{endpoint} did not answer in time.", code=f"{code}_timeout") from error
            raise EndpointFault(
                f"{endpoint} cannot be reached: {_why(error)}.", code=f"{code}_unreachable", retryable=True
            ) from error
        except EngineError as error:
            raise EndpointFault(str(error)) from error


async def next_piece(answer: aiohttp.ClientResponse, limit_s: float) -> bytes:
    """The next bytes of an answer, empty at the end.

    Raises:
        TimeoutError: nothing came by then.
    """
    async with asyncio.timeout_at(limit_s):
        try:
            return await answer.content.readany()
        except RuntimeError as error:  # how aiohttp says that the connection was closed on this side
            raise aiohttp.ClientConnectionError(str(error)) from error


async def read_to_end(answer: aiohttp.ClientResponse) -> None:
    """Reads a stream's end, so that its connection can be used again; nothing else is waited for."""
    with contextlib.suppress(TimeoutError):
        while await next_piece(answer, loop_time_s() + _LAST_BYTES_LIMIT_S):
            pass


def _why(error: Exception) -> str:
    """A connection's failure in words, without what aiohttp adds of itself."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    number = error.os_error.errno
    reason = os.strerror(number) if number is not None and number > 0 else str(error.os_error)
    return f"{error.host}:{error.port}: {reason}"


async def _text(answer: aiohttp.ClientResponse) -> str:
    text = b""
    while len(text) < _LONGEST_REFUSAL_BYTES and (piece := await answer.content.readany()):
        text += piece
    return text.decode(errors="replace")
