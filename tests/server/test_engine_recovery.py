"""Engines that became unusable, in one process and in virtual time: mended, later and later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from media.engines.fallback import FallbackLlm
from media.engines.protocols import ChatMessage, Engines, LlmRequest
from media.errors import EngineError, EngineOutOfMemory
from server.engine_failures import EngineFailures
from server.engine_recovery import EngineRecovery
from server.engine_set import EngineSet, EngineState
from server.faults import FaultLedger
from server.warm_up import WarmUp
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
FULL = EngineOutOfMemory("CUDA out of memory.")
SILENT = EngineError("It says nothing.", code="engine_silent")


@dataclass
class Loaded(ScriptedLlm):
    """Takes its time to be loaded; the next loads may fail."""

    loads_s: float = 4.0
    refuses: int = 0
    loaded_at_s: list[float] = field(default_factory=list)

    async def start(self) -> None:
        self.loaded_at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.loads_s)
        if self.refuses:
            self.refuses -= 1
            raise FULL
        await super().start()


@dataclass
class Scene:
    engine_set: EngineSet
    failures: EngineFailures
    llm: FallbackLlm
    replaced: list[str]
    idle: asyncio.Event

    async def asked(self) -> str:
        """What a caller hears of the language model: its reply, or the code of its failure."""
        try:
            async with aclosing(self.llm.reply(REQUEST)) as deltas:
                return "".join([delta.text async for delta in deltas])
        except EngineError as error:
            return error.code

    def state(self) -> EngineState:
        return next(report.state for report in self.engine_set.reports if report.role == "llm")


@asynccontextmanager
async def scene(engines: Sequence[ScriptedLlm], *, process: bool = True) -> AsyncIterator[Scene]:
    failures = EngineFailures(FaultLedger(asyncio.get_running_loop().time))
    llm = FallbackLlm(engines, failures.take)
    scripted = ScriptedEngines()
    built = Engines(scripted.vad, scripted.turn_end, scripted.stt, llm, scripted.tts)
    engine_set = EngineSet(built, WarmUp(built, voice="af_heart", instructions="Be kind.", language="en"))
    replaced: list[str] = []
    idle = asyncio.Event()
    replace: Callable[[str], None] | None = replaced.append if process else None
    recovery = EngineRecovery(engine_set, failures, replace, idle.wait)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recovery.run())
        await engine_set.start()
        yield Scene(engine_set, failures, llm, replaced, idle)
        running.cancel()


def test_one_that_ran_out_of_memory_is_back_as_soon_as_it_is_loaded() -> None:
    async def main() -> None:
        engine = Loaded(replies=("ready", FULL, "ready", "better"))
        async with scene((engine,)) as now:
            assert now.engine_set.ready
            assert await now.asked() == "out_of_memory"
            assert not now.engine_set.ready  # new calls go elsewhere
            assert now.state() is EngineState.FAILED
            await asyncio.sleep(1)
            assert now.state() is EngineState.LOADING
            assert await now.asked() == "engine_restarting"  # at once: the caller hears an apology
            await now.engine_set.until_ready()
            assert await now.asked() == "better"
            (recovery,) = now.failures.faults.report["recoveries"].items()
            assert recovery[0] == "restart_engine"
            assert 4 <= recovery[1]["last_s"] < 5
            assert now.failures.faults.report["open"] == []

    virtual_time.run(main())


def test_one_that_cannot_be_loaded_is_tried_later_and_later() -> None:
    async def main() -> None:
        engine = Loaded(replies=("ready", FULL, "better"), loads_s=0.0)
        async with scene((engine,)) as now:
            engine.refuses = 6
            assert await now.asked() == "out_of_memory"
            await now.engine_set.until_ready()
            since_s = [round(at_s - engine.loaded_at_s[1], 1) for at_s in engine.loaded_at_s[1:]]
            assert since_s == [0.0, 0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
            outcomes = now.failures.faults.report["recoveries"]["restart_engine"]
            assert (outcomes["succeeded"], outcomes["failed"]) == (1, 6)
            assert await now.asked() == "better"

    virtual_time.run(main())


def test_the_server_stays_ready_where_another_one_stands_in() -> None:
    async def main() -> None:
        first = Loaded("first", replies=("ready", FULL, "ready", "first"), loads_s=10)
        async with scene((first, ScriptedLlm("second", replies=("second",)))) as now:
            assert await now.asked() == "second"
            assert now.engine_set.ready
            await asyncio.sleep(5)
            assert await now.asked() == "second"
            await asyncio.sleep(6)
            assert await now.asked() == "first"
            assert now.engine_set.ready
            assert now.failures.faults.report["open"] == []

    virtual_time.run(main())


def test_one_that_did_not_start_beside_another_one_is_started_later() -> None:
    async def main() -> None:
        first = Loaded("first", replies=("first",), loads_s=10, refuses=3)
        async with scene((first, ScriptedLlm("second", replies=("second",)))) as now:
            assert await now.asked() == "second"
            await asyncio.sleep(60)
            assert len(first.loaded_at_s) == 4
            assert await now.asked() == "first"

    virtual_time.run(main())


def test_one_that_is_stuck_has_its_process_replaced() -> None:
    async def main() -> None:
        async with scene((ScriptedLlm(replies=("ready", SILENT)),)) as now:
            assert await now.asked() == "engine_silent"
            await asyncio.sleep(0.1)
            assert now.replaced == ["It says nothing."]
            assert not now.engine_set.ready

    virtual_time.run(main())


def test_where_another_one_stands_in_that_waits_until_nobody_calls() -> None:
    async def main() -> None:
        engines = (ScriptedLlm(replies=("ready", SILENT)), ScriptedLlm(replies=("second",)))
        async with scene(engines) as now:
            assert await now.asked() == "second"
            await asyncio.sleep(100)
            assert (now.replaced, now.engine_set.ready) == ([], True)
            now.idle.set()
            await asyncio.sleep(0.1)
            assert now.replaced == ["It says nothing."]

    virtual_time.run(main())


def test_that_does_not_wait_where_the_other_one_becomes_unusable_too() -> None:
    async def main() -> None:
        engines = (ScriptedLlm(replies=("ready", SILENT)), ScriptedLlm(replies=("second", FULL)))
        async with scene(engines) as now:
            assert await now.asked() == "second"
            await asyncio.sleep(100)
            assert await now.asked() == "out_of_memory"
            await asyncio.sleep(0.1)
            assert now.replaced == ["It says nothing."]
            assert not now.engine_set.ready
            assert now.failures.unusable == {}

    virtual_time.run(main())


def test_a_process_that_ends_by_itself_takes_what_is_to_be_mended_with_it() -> None:
    async def main() -> None:
        engine = Loaded(replies=("ready", FULL), loads_s=0.0)
        async with scene((engine,)) as now:
            engine.refuses = 100
            await now.asked()
            await asyncio.sleep(20)
            loads = len(engine.loaded_at_s)
            now.failures.process_ended("engine_process_died", "killed by SIGKILL")
            await asyncio.sleep(100)
            assert len(engine.loaded_at_s) == loads

    virtual_time.run(main())


def test_without_a_process_of_its_own_it_is_said_what_helps(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with scene((ScriptedLlm(replies=("ready", SILENT)),), process=False) as now:
            await now.asked()
            await asyncio.sleep(0.1)
            assert not now.engine_set.ready

    virtual_time.run(main())
    assert "restart the server" in caplog.records[-1].message
