"""The Python caller of docs/websocket.md: run as it stands there, but for the server's address."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from server.config import Config
from server.serve import running_server
from tests.scripted import ScriptedEngines, ScriptedLlm

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "websocket.md"
DOCUMENTED_URL = "http://127.0.0.1:8000"
LIMIT_S = 20.0


def test_the_documented_caller_gets_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert DOCUMENTED_URL in program

    async def main() -> None:
        settings = Config.model_validate({"server": {"port": 0, "health_port": 0}})
        scripted = ScriptedEngines(llm=ScriptedLlm(replies=["Bees make honey."]))
        async with asyncio.timeout(LIMIT_S), running_server(settings, scripted.engines()) as server:
            await server.engine_set.until_ready()
            code = compile(program.replace(DOCUMENTED_URL, server.url), PAGE.name, "exec")
            # In a thread: it runs an event loop of its own.
            await asyncio.to_thread(exec, code, {})

    asyncio.run(main())
    assert "Bees make honey." in capsys.readouterr().out
