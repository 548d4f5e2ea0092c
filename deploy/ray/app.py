"""Engine hosts as replicas of Ray Serve: `serve run deploy/ray/serve.yaml`.

A replica is an engine host (`voxtral-kokoro engines`) in an actor of Ray's: the same engines, the same
addresses, with room for so many requests, in which the calls of several media servers meet. Serve places
replicas on the machines of a cluster, starts more as work comes, replaces those that die, and gives each
request to one that has room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from deploy.ray.host_thread import Build, HostThread
from server.config import Config, load_config
from server.engines import build_engines
from server.environment import prepare_environment

_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
)
"""Headers of one connection (RFC 9110, 7.6.1), and the name and length that each of the two has anew."""


class EngineReplica:
    """What Serve runs several of.

    Args:
        config: of the engines.
        build: makes them.
    """

    def __init__(self, config: Config, build: Build) -> None:
        prepare_environment()  # before the engines' libraries are loaded
        self._host = HostThread(config, build)
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
        self._host.check()

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
