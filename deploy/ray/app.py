"""Engine hosts as replicas of Ray Serve: `serve run deploy/ray/serve.yaml`.

A replica is an engine host (`voxtral-kokoro engines`) in an actor of Ray's: the same engines, the same
addresses, with room for so many requests, in which the calls of several media servers meet. Serve places
replicas on the machines of a cluster, starts more as work comes, replaces those that die, and gives each
request to one that has room.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from media.engines.protocols import Engines
from server.config import Config, load_config
from server.engines import build_engines
from server.environment import prepare_environment
from server.serve_engines import running_host

Build = Callable[[Config], Engines]

_READY_LIMIT_S = 1200.0
"""Weights may have to be fetched first."""

_ENDING_LIMIT_S = 60.0

_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
)
"""Headers of one connection (RFC 9110, 7.6.1), and the name and length that each of the two has anew."""


class _Host:
    """An engine host on a thread and a loop of its own, at a port that nobody else knows.

    Args:
        config: of its engines.
        build: makes them, unstarted.
    """

    def __init__(self, config: Config, build: Build) -> None:
        self._config = config.model_copy(
            update={"engine_host": config.engine_host.model_copy(update={"host": "127.0.0.1", "port": 0})}
        )
        self._build = build
        self._url: Future[str] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="engine host", daemon=True)

    def start(self) -> str:
        """Returns its address once it is ready.

        Raises:
            VoxtralKokoroError: it cannot be.
        """
        self._thread.start()
        return self._url.result(_READY_LIMIT_S)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """What is under way may end within `server.drain_timeout_s`."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_ENDING_LIMIT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if not self._url.done():
                self._url.set_exception(error)
            raise

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with running_host(self._config, self._build(self._config)) as running:
            await running.engine_set.until_ready()
            self._url.set_result(running.url)
            await self._stop.wait()


class EngineReplica:
    """What Serve runs several of.

    Args:
        config: of the engines.
        build: makes them.
    """

    def __init__(self, config: Config, build: Build) -> None:
        self._host = _Host(config, build)
        self._url = self._host.start()
        self._client: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        """Has the host answer, and passes on what it says as it says it."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        answer = await self._client.request(
            request.method,
            f"{self._url}{path}",
            params=request.query_params.multi_items(),
            headers=[(name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP],
            data=await request.body(),
            allow_redirects=False,
        )
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return StreamingResponse(_pieces(answer), answer.status, headers)

    async def check_health(self) -> None:
        """Serve replaces a replica for which this raises."""
        if not self._host.is_alive:
            raise RuntimeError("The engine host has ended.")

    async def __del__(self) -> None:
        """Serve waits for it when it takes a replica away."""
        if self._client is not None:
            await self._client.close()
        await asyncio.to_thread(self._host.close)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body, as it comes. Closed where nobody wants the rest: at that the host stops its engine."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()


def engines(config: Config, build: Build = build_engines, **options: Any) -> Any:
    """The application, of these engines. Options are Serve's, of a deployment."""
    slots = config.engine_host
    room = slots.max_transcriptions + slots.max_replies + slots.max_clauses
    options = {"max_ongoing_requests": room, "health_check_period_s": 5} | options
    return serve.deployment(EngineReplica, name="engines", **options).bind(config, build)


def application(args: dict[str, str]) -> Any:
    """The application that `serve.yaml` names.

    Args:
        args: `config` is the configuration file of the engines; as of `voxtral-kokoro engines`.
    """
    import os

    prepare_environment()
    return engines(load_config(Path(args["config"]) if "config" in args else None, os.environ))
