"""What the media server's process and the engine host's have in common."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from yarl import URL

from media.clock import thread_time_s
from media.engines.memory import free_caches
from media.engines.protocols import Engines
from media.errors import VoxtralKokoroError
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_recovery import EngineRecovery
from server.engine_set import EngineSet
from server.engines import build_engines, build_vad
from server.environment import set_thread_switch_interval
from server.event_loop import new_event_loop
from server.faults import FaultLedger
from server.gpu_plan import needs_of
from server.gpu_watch import GpuWatch
from server.health import VERSION
from server.logs import logging_to
from server.resources import ResourceSample, ResourceSampler
from server.warm_up import WarmUp

S = TypeVar("S")

_log = logging.getLogger(__name__)


def run_process(config: Config, main: Callable[[float], Coroutine[Any, Any, None]]) -> None:
    """Runs a process's coroutine to its end, with its logs, on the server's event loop.

    Args:
        config: all settings.
        main: is given when the process began, in `thread_time_s`.

    Raises:
        VoxtralKokoroError: what `main` raises. It is logged first.
    """
    began_s = thread_time_s()
    with logging_to(config.logging):
        try:
            on_gpus = "; ".join(f"{need.what} on {need.device}" for need in needs_of(config))
            chosen = {"profile": config.profile, **config.engine_names, "on_gpus": on_gpus}
            _log.info("engines chosen", extra=chosen)
            set_thread_switch_interval(config.performance.thread_switch_interval_ms)
            print(f"Voxtral-Kokoro {VERSION}: loading the engines …", flush=True)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main(began_s))
        except VoxtralKokoroError as error:
            _log.error("the server cannot run", extra={"code": error.code, "reason": str(error)})
            raise


@asynccontextmanager
async def _engines_of(
    config: Config, process: EngineProcess | None, engine_failures: EngineFailures
) -> AsyncIterator[Engines]:
    """The configured engines, unstarted: in their process, or in this one, which then tells what fails."""
    if process is None:
        yield build_engines(config, engine_failures.take)
    else:
        async with process.engines(build_vad(config)) as engines:
            yield engines


async def until_signalled(
    config: Config,
    process: EngineProcess | None,
    running: Callable[[Engines, EngineFailures], AbstractAsyncContextManager[S]],
    announce: Callable[[S], Coroutine[Any, Any, None]],
    stopping: Callable[[S], None],
) -> None:
    """Runs what serves the configured engines until SIGINT or SIGTERM.

    Args:
        config: all settings.
        process: the engines', begun; None runs them in this one.
        running: serves engines, of whose failures it is told, for as long as its block lasts.
        announce: waits until it is ready, and says so.
        stopping: says that it stops.
    """
    failures = process.failures if process else EngineFailures()
    with _signals() as stop:
        async with (
            _engines_of(config, process, failures) as engines,
            running(engines, failures) as served,
            asyncio.TaskGroup() as tasks,
        ):
            announcing = tasks.create_task(announce(served), name="announce")
            await stop.wait()
            announcing.cancel()
            stopping(served)


@asynccontextmanager
async def serving(config: Config, engines: Engines) -> AsyncIterator[tuple[EngineSet, asyncio.TaskGroup]]:
    """The engines with what they are warmed up by, and a group for the tasks of what serves them.

    The engines are closed in the end. Of what goes wrong at once, the one thing to tell is raised.

    Args:
        config: all settings.
        engines: none of them started.
    """
    warm_up = WarmUp(
        engines,
        voice=config.tts.voice,
        instructions=config.speech_to_speech.instructions,
        language=config.model.language_hint,
    )
    engine_set = EngineSet(engines, warm_up)
    try:
        async with asyncio.TaskGroup() as tasks:
            yield engine_set, tasks
    except BaseExceptionGroup as failures:
        raise _cause_of(failures) from failures
    finally:
        await engine_set.close()


@asynccontextmanager
async def started(
    tasks: asyncio.TaskGroup,
    engine_set: EngineSet,
    process: EngineProcess | None,
    failures: EngineFailures,
    until_idle: Callable[[], Coroutine[Any, Any, object]],
    restarted: Callable[[], None] = lambda: None,
) -> AsyncIterator[None]:
    """Starts the engines beside the block, and keeps them and their process alive until it ends.

    Args:
        tasks: owns what starts them and keeps them alive.
        engine_set: the engines.
        process: theirs.
        failures: what is known of engines that failed.
        until_idle: returns when nobody is served.
        restarted: called for each process that is started again.
    """
    recovery = EngineRecovery(engine_set, failures, process.replace if process else None, until_idle)
    background = [
        tasks.create_task(engine_set.start(), name="start engines"),
        tasks.create_task(recovery.run(), name="mend engines"),
    ]
    if process is not None:
        alive = process.keep_alive(engine_set, restarted)
        background.append(tasks.create_task(alive, name="engine process"))
    try:
        yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)


def gpu_watch(config: Config, faults: FaultLedger, process: EngineProcess | None) -> GpuWatch:
    """What is to look at how full GPUs are.

    Args:
        config: all settings.
        faults: are told.
        process: the engines'; None where they are in this one.
    """
    if process is None:
        return GpuWatch(needs_of(config), faults, give_back=free_caches)
    return GpuWatch(
        needs_of(config),
        faults,
        pools=lambda: process.gpu_pools,
        give_back=process.give_back_gpu_memory,
    )


@asynccontextmanager
async def sampled(
    tasks: asyncio.TaskGroup,
    interval_s: float,
    process: EngineProcess | None,
    looked: Callable[[ResourceSample], None],
) -> AsyncIterator[ResourceSampler]:
    """Looks at the machine until the block ends.

    Args:
        tasks: owns what looks.
        interval_s: how often.
        process: the engines', which is looked at, too.
        looked: given what was seen.
    """
    async with ResourceSampler(
        interval_s, lambda: process.report.pid if process else None, looked
    ) as sampler:
        sampling = tasks.create_task(sampler.run(), name="resources")
        try:
            yield sampler
        finally:
            sampling.cancel()
            await asyncio.wait({sampling})


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Set by the first SIGINT or SIGTERM; a second one acts as if nobody caught it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        stop.set()
        for number in caught:
            loop.remove_signal_handler(number)

    for number in caught:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _cause_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of what went wrong at once, the one thing to tell: ours before others; the rest stays its context."""
    cause: BaseException = failures.subgroup(VoxtralKokoroError) or failures
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


def url_of(scheme: str, host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return str(URL.build(scheme=scheme, host=reachable, port=port)).removesuffix("/")
