"""Callers that are synthesised, and ears that are not the server's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.audio_file import write_wav
from media.engines.g2p import pronounce
from media.engines.kokoro_onnx import KokoroOnnx
from media.engines.protocols import SttOptions, TtsRequest
from media.engines.whisper import Whisper
from media.resampler import resample

WHOLE = 3600.0
"""As `TtsRequest.lead_s`: the same sound each time, however busy the machine."""


def spoken(models: Path, text: str, voice: str = "am_michael") -> Audio:
    """Somebody says it, 16 kHz."""

    async def main() -> Audio:
        tts = KokoroOnnx(
            models / "kokoro-82m-int8" / "kokoro-v1.0.int8.onnx", models / "kokoro-voices", threads=2
        )
        await tts.start()
        try:
            parts = [chunk.audio async for chunk in tts.speak(TtsRequest(text, voice, lead_s=WHOLE))]
        finally:
            await tts.close()
        return resample(concatenate(parts, tts.rate_hz), SPEECH_RATE_HZ)

    return asyncio.run(main())


def says(models_dir: Path, folder: Path, *parts: str | float) -> Path:
    """A microphone's WAV: texts are said, numbers are seconds of silence."""
    pieces = [
        silence(part, SPEECH_RATE_HZ) if isinstance(part, float) else spoken(models_dir, part)
        for part in parts
    ]
    path = folder / "microphone.wav"
    write_wav(path, concatenate(pieces, SPEECH_RATE_HZ))
    return path


def transcribed(models: Path, audio: Audio, language: str = "en") -> str:
    """What a larger model than the server's default hears."""

    async def main() -> str:
        stt = Whisper(models / "whisper-base", threads=2, model_name="base", partial_interval_s=1.0)
        await stt.start()
        try:
            session = stt.open(SttOptions(language=language, partials=False))
            try:
                await session.push(audio)
                return (await session.flush()).text
            finally:
                await session.abort()
        finally:
            await stt.close()

    return asyncio.run(main())


def words(text: str) -> list[str]:
    """Lower case, without punctuation: what transcripts are compared by."""
    return re.findall(r"[a-z0-9']+", text.lower())


def word_error_rate(reference: str, heard: str) -> float:
    """Levenshtein distance in words over the length of the reference."""
    return _error_rate(words(reference), words(heard))


def sound_error_rate(reference: str, heard: str) -> float:
    """The same in phonemes: of what sounds alike ("bees", "B's") nobody can tell how it is written."""
    return _error_rate(_phonemes(reference), _phonemes(heard))


def _phonemes(text: str) -> list[str]:
    spoken_words = pronounce(" ".join(words(text)), "en-us")
    return [phoneme for word in spoken_words for phoneme in word.phonemes if phoneme.isalpha()]


def _error_rate(expected: Sequence[str], got: Sequence[str]) -> float:
    row = list(range(len(got) + 1))
    for at, word in enumerate(expected, 1):
        previous, row[0] = row[0], at
        for column, other in enumerate(got, 1):
            previous, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, previous + (word != other)),
            )
    return row[-1] / max(1, len(expected))
