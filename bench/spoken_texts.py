"""Texts as Kokoro speaks them, through the server's own engine; what was spoken once is kept in a folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.clips import WHOLE
from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.engines.protocols import TtsEngine, TtsRequest
from media.resampler import resample
from server.config import load_config
from server.engines import build_engines


def spoken(texts: Sequence[tuple[str, str]], cache: Path) -> list[Audio]:
    """Each text, by a voice, at 16 kHz.

    Args:
        texts: pairs of a voice and what it says.
        cache: a folder for what was spoken.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [(voice, text) for voice, text in texts if not _path(cache, voice, text).exists()]
    if missing:
        asyncio.run(_speak(missing, cache))
    return [Audio(np.load(_path(cache, voice, text)), SPEECH_RATE_HZ) for voice, text in texts]


async def _speak(texts: Sequence[tuple[str, str]], cache: Path) -> None:
    tts = build_engines(load_config(None, {})).tts
    await tts.start()
    try:
        for voice, text in texts:
            samples = (await _spoken(tts, voice, text)).as_int16()
            np.save(_path(cache, voice, text), samples)
    finally:
        await tts.close()


async def _spoken(tts: TtsEngine, voice: str, text: str) -> Audio:
    parts = [chunk.audio async for chunk in tts.speak(TtsRequest(text, voice, lead_s=WHOLE))]
    return resample(await asyncio.to_thread(concatenate, parts, tts.rate_hz), SPEECH_RATE_HZ)


def _path(cache: Path, voice: str, text: str) -> Path:
    return cache / f"{voice} {hashlib.sha1(text.encode()).hexdigest()[:16]}.npy"
