"""Whatever an engine does wrong, the call goes on: who goes wrong × how × whether another one stands in.

`python -m pytest -s tests/server/test_fault_matrix.py` also prints how long callers had to do without.
docs/operations.md names the tests of the whole matrix.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import aiohttp
import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.clauses import StreamingSettings
from media.clock import loop_time_s
from media.conversation_settings import ConversationSettings
from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.on_need import OnNeed
from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import Engines
from media.engines.watched_turn_end import WatchedTurnEnd
from media.kept_speech import KeptSpeech
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_recovery import EngineRecovery
from server.engine_set import EngineSet
from server.faults import FaultLedger
from server.serve import Server, running_server
from server.warm_up import WarmUp
from signaling.caller import Caller
from tests import virtual_time
from tests.faulty_engines import FaultName, FaultyLlm, FaultyStt, FaultyTts, FaultyTurnEnd, Told
from tests.openai_endpoint import Answer, Endpoint, Exchange, hears, refuses, says, sends
from tests.scripted import LevelVad, ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from tests.virtual_call import VirtualCall, virtual_call

SORRY = "Sorry."
SETTINGS = ConversationSettings(apology=SORRY)
LIMIT_S = 60.0
WAIT_S = 20.0
TRANSCRIPT = "response.output_audio_transcript.done"
CONFIG = Config.model_validate(
    {"server": {"port": 0, "health_port": 0}, "speech_to_speech": {"apology": SORRY, "greeting": ""}}
)


# In virtual time, in one process


@dataclass
class FaultyEngines(ScriptedEngines):
    """Each of them may go wrong; others may stand in."""

    told: Told = field(default_factory=Told)
    stands_in: bool = False
    loads_s: float | None = None
    """Those that stand in are loaded when they are needed, and take so long for that; the first ten times."""
    failures: EngineFailures = field(default_factory=EngineFailures)

    def __post_init__(self) -> None:
        take = self.told.take
        self.stt, self.tts = FaultyStt(take=take), FaultyTts(take=take)
        self.llm = FaultyLlm(replies=("There.",), take=take)
        tts = FallbackTts(
            self._with_others(self.tts, ScriptedTts()), ("af_heart", "bf_emma"), self.failures.take, 10.0
        )
        self.kept = KeptSpeech(tts, SORRY, StreamingSettings())
        self._built = Engines(
            self.vad,
            WatchedTurnEnd(FaultyTurnEnd(take=take), self.failures.take),
            FallbackStt(self._with_others(self.stt, ScriptedStt()), self.failures.take, 10.0),
            FallbackLlm(
                self._with_others(self.llm, ScriptedLlm(replies=("There.",))), self.failures.take, 10.0
            ),
            self.kept,
        )

    def engines(self) -> Engines:
        return self._built

    def _with_others(self, first: Any, other: Any) -> tuple[Any, ...]:
        if self.loads_s is not None:
            return _Slowly(first, 10 * self.loads_s), OnNeed(_Slowly(other, self.loads_s), WAIT_S)
        return (first, other) if self.stands_in else (first,)


class _Slowly:
    """An engine that takes its time to be loaded; else it is as it is."""

    def __init__(self, engine: Any, loads_s: float) -> None:
        self._engine = engine
        self._loads_s = loads_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self) -> None:
        await asyncio.sleep(self._loads_s)
        await self._engine.start()


@asynccontextmanager
async def faulty_call(
    *,
    stands_in: bool,
    replace_process: Callable[[str], None] | None = None,
    loads_s: float | None = None,
) -> AsyncIterator[tuple[VirtualCall, FaultyEngines]]:
    """A call whose engines are looked after."""
    loop = asyncio.get_running_loop()
    failures = EngineFailures(FaultLedger(loop.time))
    engines = FaultyEngines(stands_in=stands_in, loads_s=loads_s, failures=failures)
    built = engines.engines()
    engine_set = EngineSet(built, WarmUp(built, voice="af_heart", instructions="", language="en"))
    recovery = EngineRecovery(engine_set, engines.failures, replace_process, asyncio.Event().wait)
    async with asyncio.TaskGroup() as tasks:
        looking_after = tasks.create_task(recovery.run())
        await engine_set.start()
        await engines.kept.keep("af_heart", 1.0)
        async with virtual_call(engines, SETTINGS) as call:
            yield call, engines
        looking_after.cancel()


@pytest.mark.parametrize("role", ["stt", "llm", "tts"])
@pytest.mark.parametrize("loads_s", [3.0, 60.0])
def test_one_that_is_loaded_when_it_is_needed_is_waited_for_or_apologised_for(
    role: str, loads_s: float
) -> None:
    async def main() -> None:
        async with faulty_call(stands_in=True, loads_s=loads_s) as (call, engines):
            engines.told.faults[role] = "out of memory"
            await call.say(speech(0.8), quiet(loads_s / 2))
            assert (SORRY in answers(call)) == (loads_s > WAIT_S)
            assert engines.failures.loads[role][0]["state"] == "loading"
            await call.say(quiet(loads_s / 2 + 4))
            assert engines.failures.loads[role][0]["state"] == "loaded"
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call) == (["There."] if loads_s < WAIT_S else [SORRY]) + ["There."]

    virtual_time.run(main())


def answers(call: VirtualCall) -> list[str]:
    """What was said; of an answer that failed there may be nothing."""
    return [text for role, text in call.said() if role == "assistant" and text]


@pytest.mark.parametrize("fault", ["raises", "breaks", "garbage", "out of memory"])
@pytest.mark.parametrize("role", ["stt", "llm", "tts"])
def test_alone_it_is_apologised_for_and_the_next_turn_is_answered(role: str, fault: FaultName) -> None:
    async def main() -> None:
        async with faulty_call(stands_in=False) as (call, engines):
            engines.told.faults[role] = fault
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call) == [SORRY]
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call)[-1] == "There."
            assert engines.failures.faults.report["open"] == []
            assert engines.failures.faults.report["total"] == 1

    virtual_time.run(main())


@pytest.mark.parametrize("fault", ["raises", "breaks", "garbage", "out of memory"])
def test_without_a_verdict_a_turn_ends_by_its_words(fault: FaultName) -> None:
    async def main() -> None:
        async with faulty_call(stands_in=False) as (call, engines):
            engines.told.faults["turn_end"] = fault
            await call.say(speech(0.8), quiet(4.0))
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call) == ["There.", "There."]
            assert engines.failures.faults.report["total"] == 1
            assert engines.failures.faults.report["open"] == []

    virtual_time.run(main())


def test_verdicts_that_never_come_are_missed_after_some_turns() -> None:
    """Each turn ends by its words, and whoever waited for its verdict has given up by then."""

    async def main() -> None:
        replaced: list[str] = []
        async with faulty_call(stands_in=False, replace_process=replaced.append) as (call, engines):
            engines.told.faults["turn_end"] = "hangs"
            turns = 0
            while not replaced:
                await call.say(speech(0.8), quiet(4.0))
                turns += 1
                assert answers(call) == ["There."] * turns
            assert 2 < turns < 10
            assert replaced == ["scripted has brought nothing for 10.0 s."]
            (fault,) = engines.failures.faults.report["open"]
            assert (fault["engine"], fault["code"], fault["recovery"]) == (
                "turn_end",
                "engine_silent",
                "restart_process",
            )
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call) == ["There."] * (turns + 1)
            assert replaced[1:] == []

    virtual_time.run(main())


@pytest.mark.parametrize("fault", [name for name in get_args(FaultName) if name != "killed"])
@pytest.mark.parametrize("role", ["stt", "llm", "tts"])
def test_where_another_one_stands_in_nothing_is_missed(role: str, fault: FaultName) -> None:
    async def main() -> None:
        async with faulty_call(stands_in=True) as (call, engines):
            engines.told.faults[role] = fault
            await call.say(speech(0.8), quiet(15.0 if fault == "hangs" else 4.0))
            assert answers(call) == ["There."]
            await call.say(speech(0.8), quiet(4.0))
            assert answers(call) == ["There.", "There."]

    virtual_time.run(main())


# A real call, whose engines are in a real process


SILENCE_S = 1.0


def question() -> Audio:
    t = np.arange(round(0.6 * SPEECH_RATE_HZ), dtype=np.float32) / SPEECH_RATE_HZ
    tone = Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), SPEECH_RATE_HZ)
    return concatenate([tone, silence(SILENCE_S, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


async def until_answered(caller: Caller) -> None:
    """Asks, and asks again after each apology. Prints how long it took since the first question was over."""
    await caller.say(question())
    began_s = loop_time_s() - SILENCE_S
    apologies = 0
    while (said := await next_words(caller)) != "There.":
        apologies += said == SORRY
        await caller.say(question())
    print(f"answered after {loop_time_s() - began_s:.1f} s, apologies: {apologies}")
    await caller.next_event("output_audio_buffer.stopped")  # who speaks over an answer may not be answered


async def next_words(caller: Caller) -> str:
    """What is said next; nothing where that takes too long."""
    try:
        async with asyncio.timeout(5.0):
            while not (said := await caller.next_event(TRANSCRIPT)).event["transcript"]:
                pass
            return str(said.event["transcript"])
    except TimeoutError:
        return ""


async def status_of(server: Server) -> dict[str, Any]:
    async with aiohttp.ClientSession(server.health_url) as client, client.get("/status") as response:
        status: dict[str, Any] = await response.json()
    return status


def test_one_call_outlives_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "fault"
    monkeypatch.setenv("FAULT", str(file))
    faults: tuple[tuple[str, FaultName], ...] = (
        ("llm", "raises"),
        ("tts", "garbage"),
        ("stt", "out of memory"),
        ("llm", "hangs"),
        ("tts", "killed"),
        ("turn_end", "hangs"),
    )

    async def main() -> dict[str, Any]:
        async with asyncio.timeout(2 * LIMIT_S):
            with EngineProcess(CONFIG, "tests.faulty_engines") as process:
                async with (
                    process.engines(LevelVad()) as engines,
                    running_server(CONFIG, engines, process) as server,
                ):
                    await server.engine_set.until_ready()
                    async with Caller(server.url) as caller:
                        for role, fault in faults:
                            before = (await status_of(server))["faults"]["total"]
                            # Whoever is asked may be let go before it goes wrong: then it did not.
                            while (await status_of(server))["faults"]["total"] == before:
                                file.write_text(f"{role} {fault}")
                                print(f"\n{role} {fault}: ", end="")
                                await until_answered(caller)
                                file.unlink(missing_ok=True)
                    await server.engine_set.until_ready()
                    return await status_of(server)

    status = asyncio.run(main())
    assert status["engine_process"]["restarts"] >= 3
    report = status["faults"]
    assert report["open"] == []
    assert report["by_kind"].keys() == {"runtime", "validation", "memory", "performance"}
    assert report["recoveries"].keys() == {"retry", "restart_engine", "restart_process"}
    for recovery, outcomes in report["recoveries"].items():
        print(f"{recovery}: {outcomes['succeeded']} times, {outcomes['mean_s']} s on average")


def test_while_a_large_model_is_loaded_again_callers_hear_the_apology_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads for far longer than a request waits, and the voice has died with it."""
    file = tmp_path / "fault"
    monkeypatch.setenv("FAULT", str(file))
    monkeypatch.setenv("LOADS_S", "3")
    config = CONFIG.model_copy(
        update={"performance": CONFIG.performance.model_copy(update={"engine_wait_s": 0.5})}
    )

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S):
            with EngineProcess(config, "tests.faulty_engines") as process:
                async with (
                    process.engines(LevelVad()) as engines,
                    running_server(config, engines, process) as server,
                ):
                    await server.engine_set.until_ready()
                    async with Caller(server.url) as caller:
                        await until_answered(caller)  # and what is kept is kept by then
                        said, was_ready = "", True
                        while said != SORRY or was_ready:
                            if server.engine_set.ready:
                                file.write_text("llm killed")
                            await caller.say(question())
                            said, was_ready = await next_words(caller), server.engine_set.ready
                        file.unlink(missing_ok=True)
                        await caller.next_event("output_audio_buffer.stopped")
                        print("killed, and loaded for long: ", end="")
                        await until_answered(caller)

    asyncio.run(main())


# Endpoints


INTERNAL_ERROR = refuses(500, {"error": {"message": "Something is wrong."}})


async def nothing(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


@dataclass
class Failing:
    """An endpoint that does its work, unless it is told to do something else."""

    works: Answer
    instead: Answer | None = None
    asked: int = 0
    """How often that was done."""

    async def answer(self, exchange: Exchange) -> None:
        if self.instead is None:
            await self.works(exchange)
        else:
            self.asked += 1
            await self.instead(exchange)


def test_endpoints_that_fail_are_gone_on_from() -> None:
    """One call: each of the three answers 500, then each says nothing."""
    tone = (8000 * np.sin(np.arange(12_000) * 0.1)).astype("<i2").tobytes()
    patience = Patience(2.0, 1.5, 1.5, retries_s=())
    failing = {
        "stt": Failing(hears("hello")),
        "llm": Failing(says("There.")),
        "tts": Failing(sends(tone, content_type="audio/pcm")),
    }

    async def main() -> dict[str, Any]:
        failures = EngineFailures()
        near = ScriptedEngines(llm=ScriptedLlm("near", replies=("There.",)))
        async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
            url = {
                role: (await stack.enter_async_context(Endpoint((one.answer,)).running())).base_url
                for role, one in failing.items()
            }
            stt = OpenAiTranscription(url["stt"], "a-model", languages=("en",), patience=patience)
            llm = OpenAiChat(url["llm"], "a-model", patience=patience)
            tts = OpenAiSpeech(url["tts"], "a-model", voice="af_heart", patience=patience)
            engines = Engines(
                near.vad,
                near.turn_end,
                FallbackStt((stt, near.stt), failures.take),
                FallbackLlm((llm, near.llm), failures.take),
                FallbackTts((tts, near.tts), ("af_heart", "af_heart"), failures.take),
            )
            async with running_server(CONFIG, engines, engine_failures=failures) as server:
                await server.engine_set.until_ready()
                async with Caller(server.url) as caller:
                    for name, fault in (("500", INTERNAL_ERROR), ("slow", nothing)):
                        for role, endpoint in failing.items():
                            endpoint.instead = fault
                            # One that failed before rests, and is asked again then.
                            while not endpoint.asked:
                                print(f"\n{role} {name}: ", end="")
                                await until_answered(caller)
                            endpoint.instead, endpoint.asked = None, 0
        return failures.faults.report

    report = asyncio.run(main())
    assert report["by_kind"].keys() == {"network", "performance"}
