"""Fallbacks that are loaded when they are needed, in virtual time; and one real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.on_need import OnNeed
from media.engines.protocols import (
    ChatMessage,
    Engines,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    TtsRequest,
)
from media.errors import EngineError, EngineOutOfMemory, ModelMissing
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_recovery import EngineRecovery
from server.engine_set import EngineSet, EngineState
from server.engines import build_vad
from server.faults import FaultLedger
from server.serve import running_server
from server.warm_up import WarmUp, reply_once
from tests import virtual_time
from tests.openai_endpoint import DONE, Endpoint, Exchange, chunk
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, speech

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
BROKEN = EngineError("It broke.", code="broken")
FULL = EngineOutOfMemory("CUDA out of memory.")
MISSING = ModelMissing("A file is missing.")
WAIT_S = 20.0


@dataclass
class Slow(ScriptedLlm):
    """Takes its time to be loaded; the first loads may fail."""

    loads_s: float = 5.0
    refuses: list[EngineError] = field(default_factory=list)
    loads: int = 0

    async def start(self) -> None:
        self.loads += 1
        await asyncio.sleep(self.loads_s)
        if self.refuses:
            raise self.refuses.pop(0)
        await super().start()


@dataclass
class Scene:
    engine_set: EngineSet
    failures: EngineFailures
    llm: FallbackLlm

    async def asked(self) -> str:
        """What a caller hears of the language model: its reply, or the code of its failure."""
        try:
            async with aclosing(self.llm.reply(REQUEST)) as deltas:
                return "".join([delta.text async for delta in deltas])
        except EngineError as error:
            return error.code

    def loads(self) -> list[tuple[str, float | None]]:
        return [(load["state"], load["loaded_after_s"]) for load in self.failures.loads["llm"]]

    def llm_state(self) -> EngineState:
        return next(report.state for report in self.engine_set.reports if report.role == "llm")


async def warm(llm: ScriptedLlm, _rank: int) -> None:
    await reply_once(llm, "Be kind.")


@asynccontextmanager
async def scene(first: ScriptedLlm, *others: ScriptedLlm) -> AsyncIterator[Scene]:
    failures = EngineFailures(FaultLedger(asyncio.get_running_loop().time))
    llm = FallbackLlm((first, *(OnNeed(other, WAIT_S) for other in others)), failures.take, 30.0, warm)
    scripted = ScriptedEngines()
    built = Engines(scripted.vad, scripted.turn_end, scripted.stt, llm, scripted.tts)
    engine_set = EngineSet(built, WarmUp(built, voice="af_heart", instructions="Be kind.", language="en"))
    recovery = EngineRecovery(engine_set, failures, None, asyncio.Event().wait)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recovery.run())
        await engine_set.start()
        yield Scene(engine_set, failures, llm)
        running.cancel()
    await engine_set.close()


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_one_that_is_not_needed_is_never_loaded() -> None:
    async def main() -> None:
        second = Slow("second")
        async with scene(ScriptedLlm("first"), second) as now:
            assert await now.asked() == "Hello there. How are you?"
            assert now.loads() == [("waits", None)]
            await asyncio.sleep(60)
            assert (second.loads, second.started) == (0, False)

    virtual_time.run(main())


def test_one_whose_failure_nobody_heard_of_is_asked_first() -> None:
    """It would rest, and a caller would wait for what is not needed."""

    class ReadsBadly(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            if request.max_tokens == 0:
                raise BROKEN
            async for delta in super().reply(request):
                yield delta

    async def main() -> None:
        second = Slow("second")
        async with scene(ReadsBadly("first"), second) as now:
            with pytest.raises(EngineError):
                async with aclosing(now.llm.reply(replace(REQUEST, max_tokens=0))) as deltas:
                    assert [delta async for delta in deltas]
            assert await now.asked() == "Hello there. How are you?"
            assert second.loads == 0

    virtual_time.run(main())


def test_it_is_loaded_once_for_all_who_wait_and_warmed() -> None:
    async def main() -> None:
        second = Slow("second", replies=("second",))
        async with scene(ScriptedLlm("first", replies=("ready", BROKEN)), second) as now:
            began_s = now_s()
            async with asyncio.TaskGroup() as callers:
                asked = [callers.create_task(now.asked()) for _ in range(5)]
                await asyncio.sleep(1)
                assert now.loads() == [("loading", None)]
                assert second.requests == []
            assert {one.result() for one in asked} == {"second"}
            assert second.loads == 1
            assert second.requests[0].max_tokens == 1  # its own warm-up, before any caller's
            assert 5.0 < now_s() - began_s < 5.5
            ((state, took_s),) = now.loads()
            assert state == "loaded"
            assert took_s == pytest.approx(5.06, abs=0.05)
        assert not second.started

    virtual_time.run(main())


def test_whoever_hangs_up_does_not_end_the_load() -> None:
    async def main() -> None:
        second = Slow("second", replies=("second",))
        async with scene(ScriptedLlm("first", replies=("ready", BROKEN)), second) as now:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await now.asked()
            await asyncio.sleep(5)
            assert second.loads == 1
            assert now.loads()[0][0] == "loaded"

    virtual_time.run(main())


def test_one_that_takes_long_is_apologised_for_and_then_is_there() -> None:
    async def main() -> None:
        second = Slow("second", replies=("second",), loads_s=50)
        async with scene(ScriptedLlm("first", replies=("ready", BROKEN)), second) as now:
            began_s = now_s()
            assert await now.asked() == "engine_loading"
            assert now_s() - began_s == pytest.approx(WAIT_S, abs=0.2)
            assert await now.asked() in ("engine_loading", "broken")  # at once: long enough was waited
            assert now_s() - began_s == pytest.approx(WAIT_S, abs=0.4)
            await asyncio.sleep(31)
            assert await now.asked() == "second"
            assert second.loads == 1

    virtual_time.run(main())


def test_one_that_does_not_load_is_a_fault_and_loaded_again() -> None:
    async def main() -> None:
        second = Slow("second", replies=("second",), refuses=[MISSING, FULL])
        async with scene(ScriptedLlm("first", replies=("ready", BROKEN)), second) as now:
            assert await now.asked() == "engine_restarting"
            await asyncio.sleep(0.1)
            assert now.loads() == [("loading", None)]  # again
            faults = now.failures.faults.report
            assert faults["by_kind"]["initialisation"] == 1
            await asyncio.sleep(12)
            assert now.loads()[0][0] == "loaded"
            assert second.loads == 3
            assert now.engine_set.ready
            assert await now.asked() == "second"

    virtual_time.run(main())


def test_the_server_is_ready_again_as_soon_as_it_is_loaded() -> None:
    async def main() -> None:
        first = Slow("first", replies=("ready", FULL, "ready", "first"), loads_s=40)
        second = Slow("second", replies=("second",))
        async with scene(first, second) as now:
            assert await now.asked() == "second"
            await asyncio.sleep(0.2)
            assert now.engine_set.ready
            assert now.llm_state() is EngineState.READY
            assert first.loads == 2  # the first one's load goes on
            assert await now.asked() == "second"
            await asyncio.sleep(40)
            assert await now.asked() == "first"

    virtual_time.run(main())


def test_it_is_loaded_at_the_start_where_the_first_does_not_start() -> None:
    async def main() -> None:
        first = Slow("first", replies=("first",), refuses=[FULL] * 2)
        second, third = Slow("second", replies=("second",)), Slow("third")
        async with scene(first, second, third) as now:
            assert now.engine_set.ready
            assert (second.loads, third.loads) == (1, 0)
            assert await now.asked() == "second"
            await asyncio.sleep(30)
            assert await now.asked() == "first"
            assert now.loads()[1] == ("waits", None)

    virtual_time.run(main())


def test_it_is_loaded_for_the_warm_up_where_the_first_fails_that() -> None:
    async def main() -> None:
        second = Slow("second", replies=("second",))
        async with scene(ScriptedLlm("first", replies=(BROKEN,)), second) as now:
            assert now.engine_set.ready
            assert second.loads == 1

    virtual_time.run(main())


def test_a_load_under_way_ends_with_the_server() -> None:
    async def main() -> None:
        second = Slow("second")
        async with scene(ScriptedLlm("first", replies=("ready", BROKEN)), second) as now:
            async with asyncio.TaskGroup() as callers:
                asked = callers.create_task(now.asked())
                await asyncio.sleep(1)
                asked.cancel()
            assert now.loads() == [("loading", None)]
        assert (second.loads, second.started) == (1, False)
        assert now_s() < 4

    virtual_time.run(main())


def test_nothing_starts_where_none_does() -> None:
    async def main() -> None:
        first, second = Slow("first", refuses=[BROKEN]), Slow("second", refuses=[FULL])
        with pytest.raises(ExceptionGroup) as failed:
            async with scene(first, second):
                pass
        assert failed.value.exceptions == (BROKEN,)

    virtual_time.run(main())


def test_a_turn_and_a_clause_wait_for_theirs() -> None:
    async def main() -> None:
        failures = EngineFailures(FaultLedger(asyncio.get_running_loop().time))
        hears, speaks = ScriptedStt(says=("what time is it",)), ScriptedTts()
        stt = FallbackStt((ScriptedStt(says=(BROKEN,)), OnNeed(hears, WAIT_S)), failures.take)

        class Mute(ScriptedTts):
            async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
                raise BROKEN
                yield

        tts = FallbackTts((Mute(), OnNeed(speaks, WAIT_S)), ("af_heart", "af_heart"), failures.take)
        scripted = ScriptedEngines()
        built = Engines(scripted.vad, scripted.turn_end, stt, scripted.llm, tts)
        for engine in (stt, tts):
            await engine.start()
        engine_set = EngineSet(built, WarmUp(built, voice="af_heart", instructions="", language="en"))
        recovery = EngineRecovery(engine_set, failures, None, asyncio.Event().wait)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(recovery.run())
            assert not hears.started
            session = stt.open(SttOptions("en"))
            await session.push(speech(1.0))
            assert (await session.flush()).text == "what time is it"
            assert hears.sessions[-1].pushed_s == 1.0
            await session.abort()
            assert not speaks.started
            async with aclosing(tts.speak(TtsRequest("Hello there.", "af_heart"))) as chunks:
                assert [chunk async for chunk in chunks]
            running.cancel()

    virtual_time.run(main())


async def says_ready(exchange: Exchange) -> None:
    await exchange.send(chunk({"content": "Ready."}), chunk({}, "stop"), DONE)


async def breaks(exchange: Exchange) -> None:
    await exchange.refuse(500, {"error": {"message": "Something is wrong."}})


@pytest.mark.models
def test_the_embedded_llm_takes_no_memory_before_an_endpoint_fails(models_dir: Path) -> None:
    """The real one, in the engine process of a server."""

    async def main() -> None:
        async with (
            asyncio.timeout(100),
            Endpoint((says_ready, breaks)).running() as endpoint,
            aiohttp.ClientSession() as client,
        ):
            config = Config.model_validate(
                {
                    "server": {"port": 0, "health_port": 0, "drain_timeout_s": 0.5},
                    "models": {"directory": models_dir},
                    "llm": {
                        "engine": "openai",
                        "base_url": endpoint.base_url,
                        "name": "a-model",
                        "fallbacks": [{"engine": "llama.cpp", "parallel": 1, "load": "needed"}],
                    },
                }
            )
            with EngineProcess(config) as process:
                async with (
                    process.engines(build_vad(config)) as engines,
                    running_server(config, engines, process) as server,
                ):

                    async def on_need() -> Any:
                        async with client.get(f"{server.health_url}/status") as response:
                            return (await response.json())["fallbacks_on_need"]["llm"]

                    await server.engine_set.until_ready()
                    (load,) = await on_need()
                    assert load["state"] == "waits"
                    assert load["engine"].startswith("llama.cpp")
                    before = psutil.Process(process.report.pid).memory_info().rss
                    async with aclosing(engines.llm.reply(REQUEST)) as deltas:
                        assert "".join([delta.text async for delta in deltas])
                    (load,) = await on_need()
                    assert load["state"] == "loaded"
                    assert load["loaded_after_s"] > 0
                    taken = psutil.Process(process.report.pid).memory_info().rss - before
                    assert taken > 50e6  # of some 90 MB

    asyncio.run(main())
