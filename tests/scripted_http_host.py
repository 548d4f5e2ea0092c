"""An engine host with scripted engines, in a process that can be killed.

`python -m tests.scripted_http_host SLOTS` says its address in a line of JSON, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from media.engines.protocols import LlmRequest
from server.config import Config
from server.serve_engines import running_host
from tests.scripted import Calls, ScriptedEngines, ScriptedLlm, ScriptedStt, WordByWord

ROOT = Path(__file__).resolve().parent.parent
STORY = "The library in the old town opens at nine in the morning and it closes at noon."
WHO = "Who are you?"


class Narrator(ScriptedLlm):
    """Tells its story, or which process it is."""

    def script(self, request: LlmRequest) -> str | Calls:
        return f"process {os.getpid()}" if request.messages[-1].text == WHO else STORY


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One that runs.

    Attributes:
        url: `/v1` follows it.
        process: to be killed.
    """

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def host_processes(count: int, *, slots: int = 4) -> Iterator[tuple[HostProcess, ...]]:
    """Hosts, each of its own process, ready, until the block ends or they are killed."""
    command = [sys.executable, "-m", "tests.scripted_http_host", str(slots)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) for _ in range(count)]
    try:
        yield tuple(HostProcess(_url_of(process), process) for process in started)
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _url_of(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    url: str = json.loads(process.stdout.readline())["url"]
    return url


async def _serve(slots: int) -> None:
    limits = {"max_clauses": slots, "max_replies": slots, "max_transcriptions": slots}
    config = Config.model_validate({"engine_host": {"port": 0} | limits})
    scripted = ScriptedEngines(
        stt=ScriptedStt(says=("and when does it open",)),
        llm=Narrator(word_s=0.05),
        tts=WordByWord(pause_s=0.25),
    )
    async with running_host(config, scripted.engines()) as running:
        await running.engine_set.until_ready()
        print(json.dumps({"url": running.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
