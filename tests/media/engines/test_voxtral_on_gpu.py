"""The real Voxtrals on a GPU: `python -m pytest -m gpu -s tests/media/engines/test_voxtral_on_gpu.py`.

The weights (9.4 and 8.9 GB) come from the hub, or from the directories that `VOXTRAL_KOKORO_TEST_VOXTRAL` and
`VOXTRAL_KOKORO_TEST_VOXTRAL_REALTIME` name. Skipped where there is no GPU.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from media.audio import Audio
from media.engines.protocols import SttEngine, SttOptions
from media.engines.voxtral import Voxtral
from media.engines.voxtral_realtime import VoxtralRealtime
from tests.media.engines.speech import QUESTION
from tests.peers.voices import word_error_rate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.models,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

VOXTRAL = os.environ.get("VOXTRAL_KOKORO_TEST_VOXTRAL", "mistralai/Voxtral-Mini-3B-2507")
REALTIME = os.environ.get("VOXTRAL_KOKORO_TEST_VOXTRAL_REALTIME", "mistralai/Voxtral-Mini-4B-Realtime-2602")


async def transcribed(engine: SttEngine, speech: Audio) -> str:
    session = engine.open(SttOptions(language="en"))
    await session.push(speech)
    text = (await session.flush()).text
    await session.abort()
    return text


async def transcribed_by_calls(engine: SttEngine, speech: Audio, calls: Sequence[int]) -> None:
    """By one call, then by several at once; prints what each round took."""
    await engine.start()
    try:
        for count in calls:
            began_s = time.perf_counter()
            texts = await asyncio.gather(*(transcribed(engine, speech) for _ in range(count)))
            took_ms = 1000 * (time.perf_counter() - began_s)
            memory = torch.cuda.max_memory_allocated() / 1e9
            print(f"{engine.name}: {count} calls, {took_ms:.0f} ms, {memory:.1f} GB at most: {texts[0]}")
            assert all(word_error_rate(QUESTION, text) < 0.1 for text in texts)
    finally:
        await engine.close()


@pytest.mark.parametrize("settings", [{}, {"compiled": True}, {"load_in_4bit": True}], ids=str)
def test_voxtral_understands_a_question(question: Audio, settings: dict[str, Any]) -> None:
    if settings.get("load_in_4bit"):
        pytest.importorskip("bitsandbytes")
    engine = Voxtral(VOXTRAL, languages=("en",), device="cuda", **settings)
    asyncio.run(transcribed_by_calls(engine, question, (1, 1, 4, 8)))


def test_voxtral_answers_about_a_recording(question: Audio) -> None:
    async def main() -> None:
        engine = Voxtral(VOXTRAL, languages=("en",), device="cuda")
        await engine.start()
        try:
            answer = await engine.understand(question, "Which country is asked about? One word.")
        finally:
            await engine.close()
        assert "France" in answer

    asyncio.run(main())


def test_voxtral_realtime_understands_a_question(question: Audio) -> None:
    engine = VoxtralRealtime(REALTIME, languages=("en",), device="cuda")
    asyncio.run(transcribed_by_calls(engine, question, (1, 1, 2, 4)))
