"""Engine hosts as replicas of Ray Serve: `serve run deploy/ray/serve.yaml`.

A replica is an engine host (`voxtral-kokoro engines`) in an actor of Ray's: the same engines, the same
addresses, with room for so many requests, in which the calls of several media servers meet. Serve places
replicas on the machines of a cluster, starts more as work comes, replaces those that die, and gives each
request, and each WebSocket, to one that has room.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from ray import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from deploy.ray.host_thread import Build, HostThread
from deploy.ray.replica_settings import decided_here, room_of
from deploy.ray.socket_relay import relayed
from server.config import Config, read_settings
from server.config_sources import Source
from server.engines import build_engines
from server.environment import prepare_environment

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""All of them: which ones an address takes is for the host to say."""

_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
)
"""Headers of one connection (RFC 9110, 7.6.1), and the name and length that each of the two has anew."""


async def _answer(request: Request) -> Response:
    return await _this_replica().answer(request)


async def _converse(socket: WebSocket) -> None:
    await _this_replica().converse(socket)


def _this_replica() -> EngineReplica:
    replica: EngineReplica = serve.get_replica_context().servable_object
    return replica


# Serve passes WebSockets on only where there is an ASGI application.
@serve.ingress(
    Starlette(
        routes=[
            Route("/{path:path}", _answer, methods=_METHODS),
            WebSocketRoute("/{path:path}", _converse),
        ]
    )
)
class EngineReplica:
    """What Serve runs several of.

    Args:
        config: gives that of the engines: what is decided by the machine is decided by this replica's.
        build: makes them.
    """

    def __init__(self, config: Callable[[], Config], build: Build) -> None:
        prepare_environment()  # before the engines' libraries are loaded
        self._host = HostThread(config(), build)
        self._url = self._host.start()
        self._client: aiohttp.ClientSession | None = None

    async def answer(self, request: Request) -> Response:
        """Has the host answer, and passes on what it says as it says it."""
        answer = await self._session().request(
            request.method,
            f"{self._url}/{request.path_params['path']}",
            params=request.query_params.multi_items(),
            headers=[(name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP],
            data=await request.body(),
            allow_redirects=False,
        )
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return StreamingResponse(_pieces(answer), answer.status, headers)

    async def converse(self, socket: WebSocket) -> None:
        """Connects a client with the host, until one of them goes."""
        await relayed(socket, self._session(), f"{self._url}/{socket.path_params['path']}")

    async def check_health(self) -> None:
        """Serve replaces a replica for which this raises."""
        self._host.check()

    async def __del__(self) -> None:
        """Serve waits for it when it takes a replica away."""
        if self._client is not None:
            await self._client.close()
        await asyncio.to_thread(self._host.close)

    def _session(self) -> aiohttp.ClientSession:
        """Made where the replica's loop runs."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        return self._client


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body, as it comes. Closed where nobody wants the rest: at that the host stops its engine."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()


def engines(settings: Source, build: Build = build_engines, **options: Any) -> Any:
    """The application, of engines by these settings. Options are Serve's, of a deployment.

    Each replica follows the profile on its own machine, and with the GPUs that Ray gave it: here, where the
    application is built, there may be others, or none.

    Args:
        settings: not decided yet.
        build: makes the engines.

    Raises:
        ConfigError: a setting cannot be, wherever the replicas will be.
    """
    options = {"max_ongoing_requests": room_of(settings), "health_check_period_s": 5} | options
    replicas = serve.deployment(EngineReplica, name="engines", **options)
    return replicas.bind(partial(decided_here, settings), build)


def application(args: dict[str, str]) -> Any:
    """The application that `serve.yaml` names.

    Args:
        args: `config` is the configuration file of the engines; as of `voxtral-kokoro engines`.
    """
    prepare_environment()
    return engines(read_settings(Path(args["config"]) if "config" in args else None, os.environ))
