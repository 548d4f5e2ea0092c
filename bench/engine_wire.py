"""What the way to the engine process costs: engines that take no time, called here and over there.

    python bench/engine_wire.py

For each kind of work: the wall time until its answer is there (of a stream, from when a piece was said until
it was heard), and the processor time that it takes in this process. The difference is the wire's.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import calibrate  # noqa: E402
from bench.instant_engines import SilentVad, instant_engines  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio, silence  # noqa: E402
from media.engines.protocols import (  # noqa: E402
    VAD_WINDOW_SAMPLES,
    ChatMessage,
    Engines,
    LlmRequest,
    SttOptions,
    TtsRequest,
)
from server.config import Config  # noqa: E402
from server.engine_process import EngineProcess  # noqa: E402

ROUNDS = 200
PAUSE_S = 0.005
"""Between two rounds: nothing is in a hurry, as in a call."""

WINDOW = Audio(np.zeros(VAD_WINDOW_SAMPLES, np.int16), SPEECH_RATE_HZ)
TURN = silence(8.0, SPEECH_RATE_HZ)
REPLY = LlmRequest((ChatMessage("system", "Be brief."), ChatMessage("user", "Hello.")), 160, 0.3)
CLAUSE = TtsRequest("Hello.", "af_heart")

Figures = dict[str, float]


async def measured(engines: Engines) -> dict[str, Figures]:
    """Each kind of work, many times."""
    session = engines.stt.open(SttOptions("en"))

    async def push() -> None:
        await session.push(WINDOW)

    async def push_and_flush() -> None:
        await session.push(WINDOW)
        await session.flush()

    async def judge() -> None:
        await engines.turn_end.judge(TURN)

    figures = {
        "push of 32 ms": await _round_trips(push),
        "push and flush": await _round_trips(push_and_flush),
        "verdict on 8 s": await _round_trips(judge),
        "a word of a reply": await _pieces(lambda: _words(engines)),
        "0.2 s of a clause": await _pieces(lambda: _sounds(engines)),
    }
    await session.abort()
    return figures


async def _round_trips(work: Callable[[], Awaitable[None]]) -> Figures:
    wall_ms: list[float] = []
    cpu_ms: list[float] = []
    for _ in range(ROUNDS):
        await asyncio.sleep(PAUSE_S)
        began_s, cpu_began_s = time.perf_counter(), time.thread_time()
        await work()
        cpu_ms.append((time.thread_time() - cpu_began_s) * 1000)
        wall_ms.append((time.perf_counter() - began_s) * 1000)
    return _summary(wall_ms, statistics.median(cpu_ms))


async def _pieces(stream: Callable[[], Awaitable[list[float]]]) -> Figures:
    cpu_began_s = time.thread_time()
    late_ms = await stream()
    return _summary(late_ms, (time.thread_time() - cpu_began_s) * 1000 / len(late_ms))


async def _words(engines: Engines) -> list[float]:
    late_ms = []
    async with aclosing(engines.llm.reply(REPLY)) as deltas:
        async for delta in deltas:
            if delta.text:
                late_ms.append((time.monotonic() - float(delta.text)) * 1000)
    return late_ms


async def _sounds(engines: Engines) -> list[float]:
    late_ms = []
    async with aclosing(engines.tts.speak(CLAUSE)) as chunks:
        async for chunk in chunks:
            late_ms.append((time.monotonic() - chunk.words[0].start_s) * 1000)
    return late_ms


def _summary(wall_ms: list[float], cpu_ms: float) -> Figures:
    p95_ms = statistics.quantiles(wall_ms, n=20)[-1]
    return {
        "p50_ms": round(statistics.median(wall_ms), 3),
        "p95_ms": round(p95_ms, 3),
        "cpu_ms": round(cpu_ms, 3),
    }


async def main() -> None:
    machine = calibrate()
    config = Config()
    hosted = instant_engines(config)
    here = await measured(Engines(SilentVad(), hosted.turn_end, hosted.stt, hosted.llm, hosted.tts))
    with EngineProcess(config, "bench.instant_engines") as process:
        async with process.engines(SilentVad()) as engines:
            for engine in (engines.turn_end, engines.stt, engines.llm, engines.tts):
                await engine.start()
            there = await measured(engines)
    print("| work (ms) | here p50 | p95 | CPU | over there p50 | p95 | CPU |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, figures in here.items():
        cells = " | ".join(f"{value:g}" for value in (*figures.values(), *there[name].values()))
        print(f"| {name} | {cells} |")
    print()
    print(json.dumps({"machine": machine.as_dict(), "here": here, "over_there": there}))


if __name__ == "__main__":
    asyncio.run(main())
