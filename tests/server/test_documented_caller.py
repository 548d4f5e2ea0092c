"""The Python callers of the docs: run as they stand there, but for the server's address."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from server.config import Config
from server.serve import running_server
from signaling.caller import Caller
from signaling.socket_caller import SocketCaller, SocketCallerOptions
from tests.scripted import ScriptedEngines, ScriptedLlm

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
DOCUMENTED_URL = "http://127.0.0.1:8000"
LIMIT_S = 20.0


ANSWER = "Bees make honey."


def question() -> Audio:
    """Loud, and no direct current: Opus carries none."""
    t = np.arange(SPEECH_RATE_HZ, dtype=np.float32) / SPEECH_RATE_HZ
    return Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), SPEECH_RATE_HZ)


def programs(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """A server whose LLM has one answer. Gives its address."""
    settings = Config.model_validate({"server": {"port": 0, "health_port": 0}})
    scripted = ScriptedEngines(llm=ScriptedLlm(replies=[ANSWER]))
    async with asyncio.timeout(LIMIT_S), running_server(settings, scripted.engines()) as server:
        await server.engine_set.until_ready()
        yield server.url


def test_the_documented_program_gets_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS / "websocket.md"
    (program,) = programs(page.read_text())
    assert DOCUMENTED_URL in program

    async def main() -> None:
        async with served() as url:
            code = compile(program.replace(DOCUMENTED_URL, url), page.name, "exec")
            # In a thread: it runs an event loop of its own.
            await asyncio.to_thread(exec, code, {})

    asyncio.run(main())
    assert ANSWER in capsys.readouterr().out


@pytest.mark.parametrize("caller", ["Caller", "SocketCaller"])
def test_a_documented_caller_gets_its_answer(caller: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS / "api.md"
    section = page.read_text().partition("\n## From Python\n")[2]
    (program,) = (program for program in programs(section) if f"with {caller}(" in program)
    assert DOCUMENTED_URL in program
    names: dict[str, Any] = {each.__name__: each for each in (Caller, SocketCaller, SocketCallerOptions)}
    names["speech"] = question()

    async def main() -> None:
        async with served() as url:
            body = textwrap.indent(program.replace(DOCUMENTED_URL, url), " ")
            exec(compile(f"async def documented():\n{body}", page.name, "exec"), names)
            await names["documented"]()

    asyncio.run(main())
    assert ANSWER in capsys.readouterr().out
