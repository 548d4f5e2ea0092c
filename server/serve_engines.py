"""`voxtral-kokoro engines`: the engines of this machine, served to others.

The same two processes as of a media server: one that speaks to the network, and its engine process, which is
watched, and started again when it dies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from media.clock import thread_time_s
from media.engines.protocols import Engines
from server.app import listening
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_set import EngineSet
from server.host_routes import OPEN_PATHS, EngineRoutes
from server.host_slots import HostSlots
from server.machine_names import own_hosts
from server.serving_process import gpu_watch, run_process, sampled, serving, started, until_signalled, url_of
from server.tls import tls_context
from signaling.client_secrets import ClientSecrets
from signaling.guard import guard, key_guard
from signaling.problem import problem_middleware

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningHost:
    """An engine host that runs.

    Attributes:
        url: `/v1` follows it.
        engine_set: its engines.
        slots: its requests.
    """

    url: str
    engine_set: EngineSet
    slots: HostSlots


def serve_engines(config: Config, process: EngineProcess | None) -> None:
    """Runs the engine host until SIGINT or SIGTERM.

    Args:
        config: all settings.
        process: the engines', begun; None runs them in this one.

    Raises:
        ConfigError: the configuration cannot be followed.
        EngineError: an engine does not start.
        VoiceUnavailable: the configured voice cannot speak here.
    """
    run_process(config, partial(_until_signalled, config, process))


@asynccontextmanager
async def running_host(
    config: Config,
    engines: Engines,
    process: EngineProcess | None = None,
    engine_failures: EngineFailures | None = None,
) -> AsyncIterator[RunningHost]:
    """A host around these engines: it answers as soon as the block begins, and is ready when they are.

    When the block ends, requests under way are given `server.drain_timeout_s`; then everything stops.

    Args:
        config: all settings but those of logging.
        engines: none of them started; they are closed in the end.
        process: in which some of them are; it is kept alive.
        engine_failures: what is known of engines that failed.

    Raises:
        ConfigError, EngineError, VoiceUnavailable: as `serve_engines`; the block is cancelled then.
    """
    engine_failures = engine_failures or (process.failures if process else EngineFailures())
    async with (
        serving(config, engines) as (engine_set, tasks),
        _listening_host(config, engine_set, process, engine_failures, tasks) as host,
    ):
        yield host


@asynccontextmanager
async def _listening_host(
    config: Config,
    engine_set: EngineSet,
    process: EngineProcess | None,
    engine_failures: EngineFailures,
    tasks: asyncio.TaskGroup,
) -> AsyncIterator[RunningHost]:
    settings = config.engine_host
    slots = HostSlots(
        engine_set,
        {
            "stt": settings.max_transcriptions,
            "llm": settings.max_replies,
            "tts": settings.max_clauses,
        },
    )
    gpus = gpu_watch(config, engine_failures.faults, process)
    tls = tls_context(config.server)
    with ThreadPoolExecutor(1, "recordings") as decoding:
        routes = EngineRoutes(config, engine_set, slots, decoding, process, engine_failures, gpus)
        app = _app(config, routes)
        async with (
            sampled(tasks, config.performance.sampling_interval_s, process, gpus.look),
            listening(
                app, settings.host, settings.port, setting="engine_host.port", tls=tls, cancelling=True
            ) as port,
            started(tasks, engine_set, process, engine_failures, slots.until_idle),
        ):
            yield RunningHost(url_of("https" if tls else "http", settings.host, port), engine_set, slots)
            await slots.drain(config.server.drain_timeout_s)


def _app(config: Config, routes: EngineRoutes) -> web.Application:
    configured = config.server
    hosts = (*configured.allowed_hosts, *own_hosts(config.engine_host.host))
    access = configured.model_copy(update={"allowed_hosts": hosts})
    app = web.Application(
        middlewares=[problem_middleware, guard(access), key_guard(access, ClientSecrets(), OPEN_PATHS)],
        client_max_size=config.engine_host.max_body_bytes,
    )
    app.add_routes(routes.routes())
    return app


async def _until_signalled(config: Config, process: EngineProcess | None, began_s: float) -> None:
    await until_signalled(
        config,
        process,
        lambda engines, failures: running_host(config, engines, process, failures),
        lambda host: _announce(config, host, began_s),
        _say_that_it_stops,
    )
    _log.info("engine host stopped")


def _say_that_it_stops(_host: RunningHost) -> None:
    print("Stopping: no new requests, running ones may end. Ctrl-C again stops at once.", flush=True)
    _log.info("engine host stopping")


async def _announce(config: Config, host: RunningHost, began_s: float) -> None:
    await host.engine_set.until_ready()
    took_s = round(thread_time_s() - began_s, 1)
    print(f"Ready after {took_s} s. Media servers find these engines at {host.url}/v1.", flush=True)
    if not config.server.api_keys and own_hosts(config.engine_host.host):
        _log.warning("anybody who reaches this engine host may use it: server.api_keys names no key")
    _log.info("engine host ready", extra={"url": host.url, "took_s": took_s})
