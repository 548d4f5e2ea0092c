"""Slots: taken one at a time, given back however a call ends, and drained."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from media.audio import Audio
from media.errors import ConfigError, EngineError, ServerFull
from media.events import CallEvent, ResponseDone
from media.items import Message, Part
from media.overlap import OverlapScores
from media.yielding import OverlapJudge
from server.calls import Calls
from server.config import Config
from server.engine_set import EngineSet
from server.metrics import Metrics
from server.runtime_settings import RuntimeSettings
from server.warm_up import WarmUp
from tests import virtual_time
from tests.scripted import ScriptedEngines, speech


@asynccontextmanager
async def hosting(
    settings: dict[str, Any] | None = None, *, ready: bool = True, judge: OverlapJudge | None = None
) -> AsyncIterator[Calls]:
    config = Config.model_validate(settings or {"server": {"max_calls": 2}})
    engines = ScriptedEngines().engines()
    warm_up = WarmUp(engines, voice="af_heart", instructions="Be kind.", language="en")
    engine_set = EngineSet(engines, warm_up)
    if ready:
        await engine_set.start()
    metrics = Metrics(clock=asyncio.get_running_loop().time)
    async with asyncio.TaskGroup() as tasks:
        yield Calls(tasks, engine_set, RuntimeSettings(config), metrics, judge)
    await engine_set.close()


def run(main: Callable[[Calls], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def hosted() -> None:
        async with hosting(**options) as calls:
            await main(calls)

    virtual_time.run(hosted())


async def talk(end: asyncio.Event) -> None:
    await end.wait()


def test_no_more_calls_than_slots() -> None:
    async def main(calls: Calls) -> None:
        first, second = calls.admit(), calls.admit()
        with pytest.raises(ServerFull) as refused:
            calls.admit()
        assert refused.value.retry_after_s > 0
        assert str(refused.value) == "All 2 lines are busy. Try again in a moment."
        assert first.call_id != second.call_id
        assert first.call_id.startswith("rtc_")
        first.release()
        first.release()
        assert calls.active == 1
        calls.admit().release()
        second.release()
        assert calls.active == 0

    run(main)


def test_many_who_come_at_once_share_the_slots() -> None:
    async def main(calls: Calls) -> None:
        admitted = 0

        async def come() -> None:
            nonlocal admitted
            await asyncio.sleep(0)
            try:
                slot = calls.admit()
            except ServerFull:
                return
            admitted += 1
            await asyncio.sleep(1)
            slot.release()

        async with asyncio.TaskGroup() as callers:
            for _ in range(50):
                callers.create_task(come())
        assert admitted == 2
        assert calls.active == 0

    run(main)


def test_a_call_that_ends_gives_its_slot_back() -> None:
    async def main(calls: Calls) -> None:
        end = asyncio.Event()
        slot = calls.admit()
        slot.start(talk(end), end.set)
        await asyncio.sleep(0)
        slot.release()  # too late: the call runs, and keeps its slot
        assert calls.active == 1
        end.set()
        await asyncio.sleep(0.1)
        assert calls.active == 0

    run(main)


def test_a_call_that_breaks_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main(calls: Calls) -> None:
        async def breaks() -> None:
            raise EngineError("the voice is gone")

        end = asyncio.Event()
        calls.admit().start(talk(end), end.set)
        calls.admit().start(breaks(), lambda: None)
        await asyncio.sleep(0.1)
        assert calls.active == 1
        end.set()
        await asyncio.sleep(0.1)
        report = calls.metrics.as_json(calls_active=calls.active, uptime_s=1)
        assert report["calls"] == {"active": 0, "admitted": 2, "refused": 0, "failed": 1}

    run(main)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.message == "call failed"


def test_nobody_is_admitted_before_the_engines_are_ready() -> None:
    async def main(calls: Calls) -> None:
        with pytest.raises(ServerFull) as refused:
            calls.admit()
        assert refused.value.code == "server_starting"

    run(main, ready=False)


def test_draining_lets_calls_end() -> None:
    async def main(calls: Calls) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        calls.admit().start(talk(end), lambda: pytest.fail("hung up although there was time"))
        loop.call_later(20, end.set)
        began_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(calls.drain(30))
            await asyncio.sleep(1)
            with pytest.raises(ServerFull) as refused:
                calls.admit()
            assert refused.value.code == "server_draining"
        assert loop.time() - began_s == pytest.approx(20, abs=0.1)

    run(main)


def test_when_the_time_is_up_calls_are_hung_up() -> None:
    async def main(calls: Calls) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        calls.admit().start(talk(end), end.set)
        began_s = loop.time()
        await calls.drain(5)
        assert end.is_set()
        assert calls.active == 0
        assert loop.time() - began_s == pytest.approx(5, abs=0.1)

    run(main)


def test_a_call_that_does_not_listen_is_cancelled() -> None:
    cancelled = []

    async def main(calls: Calls) -> None:
        async def deaf() -> None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        calls.admit().start(deaf(), lambda: None)
        await calls.drain(1)

    run(main)
    assert cancelled == [True]


def test_a_call_that_is_cancelled_before_it_began_gives_its_slot_back() -> None:
    async def main(calls: Calls) -> None:
        slot = calls.admit()
        slot.start(talk(asyncio.Event()), lambda: None)
        slot.cancel()
        await asyncio.sleep(0.1)
        assert calls.active == 0
        await calls.drain(1)

    run(main)


def test_a_handshake_that_ends_after_the_drain_ends_its_call() -> None:
    async def main(calls: Calls) -> None:
        slot = calls.admit()
        await calls.drain(1)
        end = asyncio.Event()
        slot.start(talk(end), end.set)
        await asyncio.sleep(0.1)
        assert end.is_set()
        assert calls.active == 0

    run(main)


def test_changed_settings_hold_for_the_next_call() -> None:
    async def main(calls: Calls) -> None:
        before = calls.session_defaults()
        overlay = calls.change_settings(
            {"tts": {"voice": "bf_emma"}, "model": {"language": "es"}, "server": {"max_calls": 1}}
        )
        after = calls.session_defaults()
        assert (before.voice, before.language) == ("af_heart", "en")
        assert (after.voice, after.language) == ("bf_emma", "es")
        assert overlay["tts"] == {"voice": "bf_emma"}
        assert calls.page_config()["defaults"]["voice"] == "bf_emma"
        slot = calls.admit()
        with pytest.raises(ServerFull, match="The only line is busy"):
            calls.admit()
        slot.release()

    run(main)


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"tts": {"voice": "af_nobody"}}, "There is no voice af_nobody."),
        ({"tts": {"voice": "jf_alpha"}}, "The voice jf_alpha cannot speak here: Japanese needs an extra"),
        ({"model": {"language": "fi"}}, "The language fi is not understood here."),
    ],
)
def test_what_the_engines_cannot_do_is_refused(patch: dict[str, Any], sentence: str) -> None:
    async def main(calls: Calls) -> None:
        with pytest.raises(ConfigError) as refused:
            calls.change_settings(patch)
        assert str(refused.value) == sentence
        assert calls.session_defaults().voice == "af_heart"

    run(main)


def test_a_conversation_is_heard_by_the_metrics_and_not_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A typed turn with the persona's secret in it: counted, told to its caller, in no log at `info`."""
    told: list[CallEvent] = []

    async def main(calls: Calls) -> None:
        slot = calls.admit()
        conversation = slot.conversation(calls.session_defaults(), told.append)
        slot.start(conversation.run(), conversation.close)
        await asyncio.sleep(0.1)
        conversation.add_item(Message("item_1", "user", (Part("input_text", "My code is swordfish."),)))
        conversation.create_response()
        async with asyncio.timeout(60):
            while not any(isinstance(event, ResponseDone) for event in told):
                await conversation.playout.next_frame()
        conversation.close()
        await asyncio.sleep(1)
        report = calls.metrics.as_json(calls_active=calls.active, uptime_s=1)
        assert report["turns"]["by_status"]["completed"] == 1
        assert report["throughput"]["spoken_s"] > 0

    with caplog.at_level(logging.INFO):
        run(main, settings={"speech_to_speech": {"greeting": "", "instructions": "Guard the swordfish."}})
    assert not [record for record in caplog.records if "swordfish" in str(vars(record))]
    assert not [record for record in caplog.records if "Hello there" in str(vars(record))]
    assert [record for record in caplog.records if record.message == "call ended"]


class CountingJudge:
    """Takes every sound for a noise."""

    def __init__(self) -> None:
        self.judged = 0

    def judge(self, sound: Audio, speech: Sequence[float], /) -> OverlapScores:
        self.judged += 1
        return OverlapScores(interruption=0.0, backchannel=0.0, noise=1.0)


@pytest.mark.parametrize("classify", [True, False])
def test_calls_judge_sounds_over_the_assistants_voice_if_they_are_to(classify: bool) -> None:
    judge = CountingJudge()

    async def main(calls: Calls) -> None:
        slot = calls.admit()
        conversation = slot.conversation(calls.session_defaults(), lambda event: None)

        async def hear() -> None:
            while True:
                await conversation.playout.next_frame()

        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(hear())
            running = tasks.create_task(conversation.run())
            await asyncio.sleep(0.5)
            for _ in range(20):
                conversation.hear(speech(0.02))
                await asyncio.sleep(0.02)
            assert bool(judge.judged) == classify
            conversation.close()
            await running
            hearing.cancel()
        slot.release()

    run(main, settings={"interruption": {"classify": classify}}, judge=judge)
