"""Scripted engines that go wrong when they are told to, each time once.

Shared by tests in virtual time and by an engine process (`python -m tests.faulty_engines`), which is told
through the file that `$FAULT` names: `llm hangs`. `$LOADS_S` is how long the language model takes to load.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from media.audio import Audio
from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.host import HostedEngines
from media.engines.protocols import LlmDelta, LlmRequest, SpeechChunk, SttOptions, Transcript, TtsRequest
from media.engines.watched_turn_end import WatchedTurnEnd
from media.errors import EngineError, EngineOutOfMemory
from server.config import Config
from server.engines import Tell
from tests.scripted import ScriptedLlm, ScriptedStt, ScriptedSttSession, ScriptedTts, ScriptedTurnEnd

FaultName: TypeAlias = Literal["raises", "breaks", "hangs", "garbage", "out of memory", "killed"]

Take: TypeAlias = Callable[[str], FaultName | None]
"""Gives what a role is to do wrong now, and forgets it."""

SILENCE_LIMIT_S = 3.0
VERDICTS_LIMIT_S = 1.0


async def go_wrong(fault: FaultName) -> None:
    """Does what can be done before there is a result."""
    match fault:
        case "raises":
            raise EngineError("It broke.")
        case "breaks":
            raise KeyError("logits")
        case "hangs":
            await asyncio.Event().wait()
        case "out of memory":
            raise EngineOutOfMemory("CUDA out of memory.")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            pass


@dataclass
class FaultyTurnEnd(ScriptedTurnEnd):
    """One that hangs does so for whoever asks, until it is started again."""

    take: Take = lambda _role: None
    hangs: bool = False

    async def start(self) -> None:
        self.hangs = False
        await super().start()

    async def judge(self, turn: Audio) -> float:
        fault = "hangs" if self.hangs else self.take("turn_end")
        if fault:
            self.hangs = fault == "hangs"
            await go_wrong(fault)
            return float("nan")
        return await super().judge(turn)


@dataclass
class FaultyLlm(ScriptedLlm):
    take: Take = lambda _role: None
    loads_s: float = 0.0

    async def start(self) -> None:
        await asyncio.sleep(self.loads_s)
        await super().start()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        if request.max_tokens > 0 and (fault := self.take("llm")):
            await go_wrong(fault)
            broken: Any = 12
            yield LlmDelta(broken)
        async for delta in super().reply(request):
            yield delta


@dataclass
class FaultyTts(ScriptedTts):
    take: Take = lambda _role: None

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        if fault := self.take("tts"):
            await go_wrong(fault)
            yield SpeechChunk(Audio(np.full(2400, np.nan, np.float32), self.rate_hz))
        async for chunk in super().speak(request):
            yield chunk


@dataclass
class FaultyStt(ScriptedStt):
    take: Take = lambda _role: None

    def open(self, options: SttOptions) -> ScriptedSttSession:
        session = _FaultySession(options, str(self.says[0]), self.takes_s)
        session.take = self.take
        self.sessions.append(session)
        return session


class _FaultySession(ScriptedSttSession):
    take: Take = staticmethod(lambda _role: None)

    async def flush(self) -> Transcript:
        if fault := self.take("stt"):
            await go_wrong(fault)
            broken: Any = 12
            return Transcript(broken, self.pushed_s)
        return await super().flush()


@dataclass
class Told:
    """In one process: what is to go wrong."""

    faults: dict[str, FaultName] = field(default_factory=dict)

    def take(self, role: str) -> FaultName | None:
        return self.faults.pop(role, None)


def _take_from_file(role: str) -> FaultName | None:
    path = Path(os.environ["FAULT"])
    wanted, _, fault = path.read_text().partition(" ") if path.exists() else ("", "", "")
    if wanted != role:
        return None
    path.unlink()
    named: Any = fault
    return named  # type: ignore[no-any-return]


def build(_config: Config, tell: Tell) -> HostedEngines:
    """Each alone."""
    take, loads_s = _take_from_file, float(os.environ.get("LOADS_S", "0"))
    return HostedEngines(
        WatchedTurnEnd(FaultyTurnEnd(take=take), tell, VERDICTS_LIMIT_S),
        FallbackStt((FaultyStt(take=take),), tell, SILENCE_LIMIT_S),
        FallbackLlm((FaultyLlm(replies=("There.",), take=take, loads_s=loads_s),), tell, SILENCE_LIMIT_S),
        FallbackTts((FaultyTts(take=take),), ("af_heart",), tell, SILENCE_LIMIT_S),
    )


if __name__ == "__main__":
    from server.engine_host import main

    main(build)
