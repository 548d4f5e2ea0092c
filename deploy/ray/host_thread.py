"""An engine host on a thread of a replica's process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

from media.engines.protocols import Engines
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_set import EngineSet
from server.engines import Tell
from server.gpu_plan import settled
from server.serve_engines import running_host

Build = Callable[[Config, Tell], Engines]
"""Makes the engines, unstarted; given what to tell of those that fail."""

_READY_LIMIT_S = 1200.0
"""Weights may have to be fetched first."""

_ENDING_LIMIT_S = 60.0


class HostThread:
    """An engine host on a thread and a loop of its own, at a port that nobody else knows.

    Args:
        config: of its engines.
        build: makes them.
    """

    def __init__(self, config: Config, build: Build) -> None:
        self._config = config.model_copy(
            update={"engine_host": config.engine_host.model_copy(update={"host": "127.0.0.1", "port": 0})}
        )
        self._build = build
        self._failures = EngineFailures()
        self._engine_set: EngineSet | None = None
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

    def check(self) -> None:
        """Raises: RuntimeError: it has ended, or has an engine that only another process mends."""
        if not self._thread.is_alive():
            raise RuntimeError("The engine host has ended.")
        serves = self._engine_set is not None and self._engine_set.ready
        if not serves and self._failures.faults.needs_process:
            raise RuntimeError("An engine is stuck, or has lost its device.")

    def close(self) -> None:
        """What is under way may end within `server.drain_timeout_s`."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_ENDING_LIMIT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # handed to whoever waits for the host, whole
            if self._url.done():
                raise
            self._url.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        config = settled(self._config, os.environ)  # here, where the GPUs are that Ray gave this replica
        engines = self._build(config, self._failures.take)
        async with running_host(config, engines, engine_failures=self._failures) as running:
            self._engine_set = running.engine_set
            await running.engine_set.until_ready()
            self._url.set_result(running.url)
            await self._stop.wait()
