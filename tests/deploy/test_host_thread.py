"""The engine host of a replica, without Ray: looked after like any other, given up where that cannot help."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.ray.host_thread import HostThread
from media.engines.fallback import FallbackLlm
from media.engines.protocols import Engines
from media.errors import ConfigError, EngineError, EngineOutOfMemory
from server.config import Config
from server.engines import Tell
from tests.scripted import ScriptedEngines, ScriptedLlm
from tests.server.scripted_nvml import nvml_with

LIMIT_S = 30.0
STUCK = EngineError("It says nothing.", code="engine_silent")


@asynccontextmanager
async def host(failure: EngineError) -> AsyncIterator[tuple[HostThread, aiohttp.ClientSession]]:
    """One whose language model fails when it is first asked, after its warm-up."""
    llm = ScriptedLlm(replies=("ready", failure, "ready", "better"))

    def build(_config: Config, tell: Tell) -> Engines:
        near = ScriptedEngines()
        return Engines(near.vad, near.turn_end, near.stt, FallbackLlm((llm,), tell), near.tts)

    running = HostThread(Config(), build)
    url = await asyncio.to_thread(running.start)
    try:
        async with asyncio.timeout(LIMIT_S), aiohttp.ClientSession(url) as client:
            yield running, client
    finally:
        await asyncio.to_thread(running.close)


async def asked(client: aiohttp.ClientSession) -> str:
    """The reply, or the code of its failure."""
    body = {"model": Config().llm.name, "messages": [{"role": "user", "content": "Hello."}]}
    async with client.post("/v1/chat/completions", json=body) as answer:
        said = await answer.json()
    return str(said["choices"][0]["message"]["content"] if answer.ok else said["error"]["code"])


async def is_ready(client: aiohttp.ClientSession) -> bool:
    async with client.get("/ready") as answer:
        return answer.ok


def test_an_engine_that_ran_out_of_memory_is_started_again() -> None:
    async def main() -> None:
        async with host(EngineOutOfMemory("CUDA out of memory.")) as (running, client):
            assert await asked(client) == "out_of_memory"
            while not await is_ready(client):
                running.check()
            assert await asked(client) == "better"
            running.check()

    asyncio.run(main())


def test_with_one_that_is_stuck_the_replica_is_to_be_replaced() -> None:
    async def main() -> None:
        async with host(STUCK) as (running, client):
            running.check()
            assert await asked(client) == "engine_silent"
            assert not await is_ready(client)
            with pytest.raises(RuntimeError, match="stuck"):
                running.check()
        with pytest.raises(RuntimeError, match="has ended"):
            running.check()

    asyncio.run(main())


def test_what_does_not_fit_into_its_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(nvml_with(tmp_path, [(24, 22.5), (8, 3)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # as Ray does it
    config = Config.model_validate({"model": {"engine": "voxtral", "name": "voxtral", "load_in_4bit": False}})
    with pytest.raises(ConfigError, match=r"cuda:0 has 2\.5 GB free"):
        HostThread(config, lambda _config, _tell: pytest.fail("built")).start()
    del sys.modules["pynvml"]
