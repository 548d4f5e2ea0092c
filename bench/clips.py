"""What the synthetic callers say: real recordings where they are at hand, synthesised ones otherwise."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.audio_file import read_audio
from media.engines.protocols import TtsEngine, TtsRequest
from media.resampler import resample

PAUSE_S = 0.3
"""A pause inside a clip counts from here."""
LONGEST_S = 9.0
SHORTEST_S = 0.8

WHOLE = 3600.0
"""As `TtsRequest.lead_s`: the same sound each time, however busy the machine."""

QUESTIONS = (
    ("am_michael", "What is the capital of France?"),
    ("bf_emma", "How do I boil an egg?"),
    ("am_puck", "Tell me something about the moon."),
    ("af_bella", "Can you recommend a good book?"),
    ("bm_george", "What should I wear when it rains?"),
    ("af_nicole", "How many days are there in a leap year?"),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording that ends where the speaker's turn ends.

    Attributes:
        name: where it comes from.
        audio: at 16 kHz.
        has_pause: whether the speaker pauses inside it for 0.3 s or longer.
    """

    name: str
    audio: Audio
    has_pause: bool


def read_clip(path: Path) -> Audio:
    """A recording at 16 kHz. `.raw` is taken as 16-bit at 16 kHz."""
    if path.suffix == ".raw":
        return Audio(np.frombuffer(path.read_bytes(), dtype="<i2").astype(np.int16), SPEECH_RATE_HZ)
    return read_audio(path, SPEECH_RATE_HZ)


def recorded(folder: Path, language: str = "en") -> list[Clip]:
    """The clips of a folder's `manifest.jsonl` that end a turn, of the length of a request."""
    clips = []
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        wanted = entry.get("language") == language and "turn-end" in entry.get("use", ())
        if not wanted or not SHORTEST_S <= entry["seconds"] <= LONGEST_S:
            continue
        audio = read_clip(folder / entry["path"])
        # Leading silence of a recording only costs the bench time; its end is what is measured.
        has_pause = any(pause >= PAUSE_S for pause in entry.get("vad_pauses_s") or ())
        clips.append(Clip(entry["path"], audio.slice_s(0, entry["energy_end_s"]), has_pause))
    return clips


async def synthesised(tts: TtsEngine) -> list[Clip]:
    """Questions in several voices, for where no recordings are at hand."""
    await tts.start()
    try:
        return [Clip(f"{voice}: {text}", await _spoken(tts, voice, text), False) for voice, text in QUESTIONS]
    finally:
        await tts.close()


async def _spoken(tts: TtsEngine, voice: str, text: str) -> Audio:
    parts = [chunk.audio async for chunk in tts.speak(TtsRequest(text, voice, lead_s=WHOLE))]
    return resample(await asyncio.to_thread(concatenate, parts, tts.rate_hz), SPEECH_RATE_HZ)


def evenly(clips: list[Clip], limit: int) -> list[Clip]:
    """`limit` of them, spread over the list: neighbours are often of one speaker."""
    if limit >= len(clips):
        return clips
    return [clips[round(index * (len(clips) - 1) / max(1, limit - 1))] for index in range(limit)]
