"""The process: everything it is made of, started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from yarl import URL

from media.clock import thread_time_s
from media.engines.protocols import Engines
from media.kept_speech import KeptSpeech
from media.overlap import OverlapClassifier
from server.app import listening, page_app
from server.calls import Calls
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_set import EngineSet
from server.health import Health
from server.machine_names import network_address, own_hosts
from server.metrics import Metrics
from server.runtime_settings import RuntimeSettings
from server.serving_process import gpu_watch, run_process, sampled, serving, started, until_signalled, url_of
from server.telephone import Telephone
from server.tls import tls_context
from server.toolbox import ServerToolbox, toolbox_of
from signaling.ice import gathering_for
from signaling.running_calls import RunningCalls

_log = logging.getLogger(__name__)

_ALL_NETWORKS = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        url: of the page.
        health_url: of the health port.
        calls: its calls.
        engine_set: its engines.
        toolbox: its tools.
        telephone: what brings and places telephone calls.
    """

    url: str
    health_url: str
    calls: Calls
    engine_set: EngineSet
    toolbox: ServerToolbox
    telephone: Telephone


def serve(config: Config, process: EngineProcess | None) -> None:
    """Runs the server until SIGINT or SIGTERM.

    Args:
        config: all settings.
        process: the engines', begun; None runs them in this one.

    Raises:
        ConfigError: the configuration cannot be followed: a port is in use, a certificate is unreadable, a
            tool cannot be imported.
        EngineError: an engine does not start, or the overlap classifier's weights are damaged.
        VoiceUnavailable: the configured voice cannot speak here.
    """
    run_process(config, partial(_until_signalled, config, process))


@asynccontextmanager
async def running_server(
    config: Config,
    engines: Engines,
    process: EngineProcess | None = None,
    engine_failures: EngineFailures | None = None,
) -> AsyncIterator[Server]:
    """A server around these engines: it answers as soon as the block begins, and is ready when they are.

    When the block ends, running calls are given `server.drain_timeout_s`; then everything stops.

    Args:
        config: all settings but those of logging, which is the process's affair.
        engines: none of them started; they are closed in the end.
        process: in which some of them are; it is kept alive.
        engine_failures: what is known of engines that failed.

    Raises:
        ConfigError, EngineError, VoiceUnavailable: as `serve`; the block is cancelled then.
    """
    engine_failures = engine_failures or (process.failures if process else EngineFailures())
    tts = KeptSpeech(engines.tts, config.speech_to_speech.apology, config.streaming)
    async with serving(config, replace(engines, tts=tts)) as (engine_set, tasks):
        toolbox = toolbox_of(config.tools)
        async with (
            toolbox.running(),
            _keeping_the_apology(tasks, engine_set, tts, config),
            _listening_server(config, engine_set, process, engine_failures, toolbox, tasks) as server,
        ):
            yield server


@asynccontextmanager
async def _keeping_the_apology(
    tasks: asyncio.TaskGroup, engine_set: EngineSet, tts: KeptSpeech, config: Config
) -> AsyncIterator[None]:
    """Has it spoken as soon as everybody can be served, and no sooner: that is not to wait for it."""

    async def keep() -> None:
        await engine_set.until_ready()
        await tts.keep(config.tts.voice, config.tts.speed)

    keeping = tasks.create_task(keep(), name="keep the apology")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


@asynccontextmanager
async def _listening_server(
    config: Config,
    engine_set: EngineSet,
    process: EngineProcess | None,
    engine_failures: EngineFailures,
    toolbox: ServerToolbox,
    tasks: asyncio.TaskGroup,
) -> AsyncIterator[Server]:
    settings = config.server
    metrics = Metrics(
        clock=asyncio.get_running_loop().time, latency_window_turns=config.performance.latency_window_turns
    )
    engine_failures.told = metrics.engine_failed
    engine_failures.faults.watcher = metrics
    gpus = gpu_watch(config, engine_failures.faults, process)
    calls = Calls(tasks, engine_set, RuntimeSettings(config), metrics, OverlapClassifier(), toolbox)
    tls = tls_context(settings)
    telephone = Telephone(calls, RunningCalls(), metrics.telephone, config.streams)
    async with (
        sampled(tasks, config.performance.sampling_interval_s, process, gpus.look) as resources,
        gathering_for(config.ice) as gathering,
        listening(
            Health(
                engine_set, calls, metrics, resources, process, toolbox, engine_failures, gpus, telephone
            ).app(),
            settings.health_host,
            settings.health_port,
            setting="server.health_port",
        ) as health_port,
        listening(
            page_app(calls, gathering, own_hosts(settings.host), telephone),
            settings.host,
            settings.port,
            setting="server.port",
            tls=tls,
        ) as port,
        telephone.running(config),
    ):
        restarted = metrics.engine_process_restarted
        async with started(tasks, engine_set, process, engine_failures, calls.until_nobody_calls, restarted):
            yield Server(
                url=url_of("https" if tls else "http", settings.host, port),
                health_url=url_of("http", settings.health_host, health_port),
                calls=calls,
                engine_set=engine_set,
                toolbox=toolbox,
                telephone=telephone,
            )
            await calls.drain(settings.drain_timeout_s)


async def _until_signalled(config: Config, process: EngineProcess | None, began_s: float) -> None:
    await until_signalled(
        config,
        process,
        lambda engines, failures: running_server(config, engines, process, failures),
        lambda server: _announce(config, server, began_s),
        _say_that_it_stops,
    )
    _log.info("server stopped")


def _say_that_it_stops(server: Server) -> None:
    print("Stopping: no new calls, running ones may end. Ctrl-C again stops at once.", flush=True)
    _log.info("server stopping", extra={"calls": server.calls.active})


def _spare_the_collector() -> None:
    """What is there by now stays: looked through for garbage again, it stops all calls for 60 ms and more."""
    gc.collect()
    gc.freeze()


async def _announce(config: Config, server: Server, began_s: float) -> None:
    await server.engine_set.until_ready()
    _spare_the_collector()
    took_s = round(thread_time_s() - began_s, 1)
    print(f"Ready after {took_s} s. {invitation(config, server.url, network_address())}", flush=True)
    if config.server.open_to_all:
        _log.warning("anybody who reaches this server may call it: server.api_keys names no key")
    _log.info("server ready", extra={"url": server.url, "took_s": took_s})


def invitation(config: Config, url: str, address: str | None) -> str:
    """What to do next, for whoever started the server.

    Args:
        config: all settings.
        url: of the page, on this machine.
        address: of this machine in its network.
    """
    sentences = [f"Open {url} in a browser and press the call button."]
    if config.server.host in _ALL_NETWORKS and address is not None:
        elsewhere = URL(url).with_host(address)
        sentences.append(f"From another device: {elsewhere.origin()}.")
        if elsewhere.scheme != "https":
            sentences.append("There, browsers give a microphone to https only: set server.tls_self_signed.")
    return " ".join(sentences)
