"""The engine process, a real one around scripted engines: begun, watched, started again, ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from media.engines.protocols import ChatMessage, Engines, LlmRequest, SttOptions
from media.errors import EngineError, ModelMissing
from server import engine_process
from server.backoff import delay_s
from server.config import Config
from server.engine_process import EngineProcess
from server.engine_set import EngineState
from server.serve import Server, running_server
from tests.scripted import LevelVad, speech

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "tests.scripted_engine_host"
LIMIT_S = 30.0
REQUEST = LlmRequest((ChatMessage("system", "Be kind."), ChatMessage("user", "Hello.")), 160, 0.3)


def config() -> Config:
    return Config.model_validate({"server": {"port": 0, "health_port": 0, "drain_timeout_s": 0.5}})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, EngineProcess, Engines]]:
    """A ready server with its engine process."""
    async with asyncio.timeout(LIMIT_S):
        with EngineProcess(config(), HOST) as process:
            async with process.engines(LevelVad()) as engines:
                async with running_server(config(), engines, process) as server:
                    await server.engine_set.until_ready()
                    yield server, process, engines


def run(test: Callable[[Server, EngineProcess, Engines], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with serving() as parts:
            await test(*parts)

    asyncio.run(main())


def pid_of(process: EngineProcess) -> int:
    pid = process.report.pid
    assert pid is not None
    return pid


async def reply(engines: Engines) -> str:
    async with aclosing(engines.llm.reply(REQUEST)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def until(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it comes about."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_the_engines_work_in_a_process_that_gives_way() -> None:
    async def test(server: Server, process: EngineProcess, engines: Engines) -> None:
        assert await reply(engines) == "Hello there. How are you?"
        assert await engines.turn_end.judge(speech(1.0)) == 0.98
        child = psutil.Process(pid_of(process))
        assert engines.llm.name == f"scripted, process {child.pid}"
        assert child.nice() == min(19, os.nice(0) + 5)
        assert server.engine_set.ready
        assert (process.report.restarts, process.report.last_end) == (0, None)

    run(test)


def test_one_that_is_killed_is_replaced_and_work_goes_on() -> None:
    async def test(server: Server, process: EngineProcess, engines: Engines) -> None:
        files = psutil.Process().num_fds()
        session = engines.stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        before = pid_of(process)

        os.kill(before, signal.SIGKILL)
        async with asyncio.TaskGroup() as tasks:
            replying = tasks.create_task(reply(engines))
            flushing = tasks.create_task(session.flush())
            await until(lambda: not server.engine_set.ready)
            refusal = server.calls.refusal()
            assert refusal is not None
            assert refusal.code == "server_starting"
        assert replying.result() == "Hello there. How are you?"
        assert (flushing.result().text, flushing.result().audio_s) == ("hello", 1.0)
        await session.abort()

        await server.engine_set.until_ready()
        assert server.calls.refusal() is None
        assert not psutil.pid_exists(before)
        async with aiohttp.ClientSession(server.health_url) as client:
            async with client.get("/status") as response:
                status = await response.json()
            async with client.get("/metrics") as response:
                metrics = await response.text()
        assert status["engine_process"] == {
            "pid": pid_of(process),
            "restarts": 1,
            "last_end": "killed by SIGKILL",
        }
        assert status["engines"]["llm"]["name"] == f"scripted, process {pid_of(process)}"
        assert "voxtral_kokoro_engine_process_restarts_total 1.0" in metrics
        assert psutil.Process().num_fds() == files

    run(test)


def test_it_gives_memory_back_and_goes_on() -> None:
    async def test(_server: Server, process: EngineProcess, engines: Engines) -> None:
        process.give_back_gpu_memory()
        assert await reply(engines)
        assert process.gpu_pools == ()  # it uses no GPU

    run(test)


def test_one_that_cannot_tell_of_its_memory_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What CUDA raises from whatever is asked of it once a device is lost does not end the server."""
    monkeypatch.setenv("SCRIPTED_ENGINES", "lost its device")
    monkeypatch.setattr(engine_process, "_PING_INTERVAL_S", 0.02)

    async def test(server: Server, process: EngineProcess, engines: Engines) -> None:
        await until(lambda: caplog.text.count("an engine broke") > 1)
        assert process.gpu_pools == ()
        assert await reply(engines)
        os.kill(pid_of(process), signal.SIGKILL)
        await until(lambda: process.report.restarts == 1 and server.engine_set.ready)

    run(test)


def test_one_that_is_stuck_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "_PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(engine_process, "_SILENCE_LIMIT_S", 1.0)

    async def test(_server: Server, process: EngineProcess, engines: Engines) -> None:
        os.kill(pid_of(process), signal.SIGSTOP)
        assert await reply(engines) == "Hello there. How are you?"
        assert process.report.restarts == 1

    run(test)


def test_one_that_keeps_dying_is_tried_until_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(server: Server, process: EngineProcess, engines: Engines) -> None:
        monkeypatch.setenv("SCRIPTED_ENGINES", "crash")
        os.kill(pid_of(process), signal.SIGKILL)
        await until(lambda: process.report.last_end == "killed by SIGABRT")
        failed = {report.state for report in server.engine_set.reports if report.role != "vad"}
        assert failed == {EngineState.FAILED}
        monkeypatch.delenv("SCRIPTED_ENGINES")
        await server.engine_set.until_ready()
        assert process.report.restarts >= 2
        assert await reply(engines) == "Hello there. How are you?"

    run(test)


def test_the_more_often_it_dies_young_the_longer_the_next_one_is_waited_for() -> None:
    delays_s = [delay_s(short_lives) for short_lives in range(12)]
    assert delays_s[:6] == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]
    assert delays_s[-1] == 30.0


@pytest.mark.parametrize(
    ("behaviour", "error", "sentence"),
    [
        ("missing", ModelMissing, "^Fetch the model.$"),
        ("crash", EngineError, "ended while its engines were built: killed by SIGABRT"),
        ("deadly", EngineError, "The engine process ended"),
    ],
)
def test_one_that_cannot_begin_stops_the_server(
    behaviour: str, error: type[EngineError], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_ENGINES", behaviour)

    async def main() -> None:
        async with serving():
            pytest.fail("it became ready")

    with pytest.raises(error, match=sentence):
        asyncio.run(main())


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_the_server_does_not_stop_the_engines_before_it(signal_number: int) -> None:
    async def test(_server: Server, process: EngineProcess, engines: Engines) -> None:
        os.kill(pid_of(process), signal_number)
        assert await reply(engines) == "Hello there. How are you?"
        assert os.getpgid(pid_of(process)) != os.getpgid(0), "the terminal's Ctrl-C would reach it"
        assert os.getsid(pid_of(process)) == os.getsid(0)
        assert process.report.restarts == 0

    run(test)


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import signal\n"
        "from server.config import Config\n"
        "from server.engine_process import EngineProcess\n"
        f"with EngineProcess(Config(), {HOST!r}) as process:\n"
        "    print(process.report.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=10)


def test_its_log_is_written_with_the_servers_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SCRIPTED_ENGINES", "chatty")

    async def test(_server: Server, _process: EngineProcess, engines: Engines) -> None:
        await reply(engines)

    with caplog.at_level(logging.INFO):
        run(test)
    records = [record for record in caplog.records if record.name == "media.engines.chatty"]
    assert [(record.levelname, record.getMessage()) for record in records] == [
        ("INFO", "loaded"),
        ("ERROR", "slow"),
    ]
    assert vars(records[0])["layers"] == "12"
    assert "a cold cache" in (records[1].exc_text or "")


def test_nothing_is_left_when_the_server_fails() -> None:
    """As where a port is in use: the process was begun, and nobody ever spoke to it."""
    with EngineProcess(config(), HOST) as process:
        child = psutil.Process(pid_of(process))
    assert not child.is_running()


def test_engines_that_fail_in_it_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_ENGINES", "failing")

    async def document(url: str) -> Any:
        async with aiohttp.ClientSession() as client, client.get(url) as response:
            return await response.json(content_type=None)

    async def test(server: Server, process: EngineProcess, engines: Engines) -> None:
        status = await document(f"{server.health_url}/status")
        assert status["engine_failures"] == {
            "stt": [
                {
                    "engine": "far away",
                    "works": True,
                    "failures": 1,
                    "last_code": "stt_timeout",
                    "last_reason": "It says nothing.",
                }
            ],
            "llm": [
                {
                    "engine": "far away",
                    "works": False,
                    "failures": 1,
                    "last_code": "llm_unreachable",
                    "last_reason": "It is not there.",
                }
            ],
        }
        os.kill(pid_of(process), signal.SIGKILL)
        await until(lambda: not server.engine_set.ready)
        await server.engine_set.until_ready()
        metrics = await document(f"{server.health_url}/speech-to-speech/metrics")
        assert metrics["engine_failures"]["llm"] >= 1

    run(test)
