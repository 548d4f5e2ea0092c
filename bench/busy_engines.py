"""Whisper and Kokoro at work without a pause, in a process of their own: a server's engines at full load.

    python bench/busy_engines.py

Prints a line when they are started, and works until its standard input ends. It gives way to others as much
as the server's engine process does (`performance.engine_niceness`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment, set_thread_switch_interval  # noqa: E402

prepare_environment()

from bench.scripted_server import speechlike  # noqa: E402
from media.audio import SPEECH_RATE_HZ  # noqa: E402
from media.engines.protocols import SttEngine, SttOptions, TtsEngine, TtsRequest  # noqa: E402
from server.config import load_config  # noqa: E402
from server.engines import build_hosted_engines  # noqa: E402

SENTENCE = "This is one of the sentences that are spoken while the calls go on."


async def transcribe(stt: SttEngine) -> None:
    question = speechlike(3.0, SPEECH_RATE_HZ)
    while True:
        session = stt.open(SttOptions("en", partials=False))
        await session.push(question)
        await session.flush()
        await session.abort()


async def speak(tts: TtsEngine, voice: str) -> None:
    while True:
        async for _ in tts.speak(TtsRequest(SENTENCE, voice)):
            pass


async def work() -> None:
    config = load_config(None, {})
    os.nice(config.performance.engine_niceness)
    set_thread_switch_interval(config.performance.thread_switch_interval_ms)
    engines = build_hosted_engines(config)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await engines.stt.start()
    await engines.tts.start()
    async with asyncio.TaskGroup() as tasks:
        working = [
            tasks.create_task(transcribe(engines.stt)),
            tasks.create_task(speak(engines.tts, config.tts.voice)),
        ]
        print("working", flush=True)
        await ended.wait()
        for task in working:
            task.cancel()
    await engines.stt.close()
    await engines.tts.close()


if __name__ == "__main__":
    asyncio.run(work())
