"""What engines may not make: text that is no text, sound that is no sound."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from media.audio import Audio
from media.engines.protocols import GARBAGE, LlmDelta, SpeechChunk, SpokenWord, ToolCallDelta, Transcript
from media.errors import EngineError

_LOUDEST = 10.0
"""Of a voice's samples, where 1 is full scale: one that clips comes to 1.2."""


def require_probability(verdict: float) -> float:
    """The turn-end engine's verdict.

    Raises: EngineError.
    """
    if not isinstance(verdict, Real) or not 0 <= verdict <= 1:
        raise EngineError("The turn-end engine's verdict is no probability.", code=GARBAGE)
    return float(verdict)


def require_delta(delta: LlmDelta) -> LlmDelta:
    """A piece of a reply.

    Raises: EngineError.
    """
    if not isinstance(delta, LlmDelta) or not isinstance(delta.text, str):
        raise EngineError("The language model wrote what is no text.", code=GARBAGE)
    if not all(
        isinstance(call, ToolCallDelta) and isinstance(call.arguments, str) for call in delta.tool_calls
    ):
        raise EngineError("The language model called what is no tool.", code=GARBAGE)
    return delta


def require_sound(chunk: SpeechChunk, rate_hz: int) -> SpeechChunk:
    """A piece of a clause, at the voice's rate.

    Raises: EngineError.
    """
    if not isinstance(chunk, SpeechChunk) or not isinstance(chunk.audio, Audio):
        raise EngineError("The voice made what is no sound.", code=GARBAGE)
    samples = chunk.audio.samples
    if chunk.audio.rate_hz != rate_hz:
        raise EngineError(f"The voice speaks at {rate_hz} Hz, not {chunk.audio.rate_hz} Hz.", code=GARBAGE)
    if not np.isfinite(samples).all():
        raise EngineError("The voice made samples that are no numbers.", code=GARBAGE)
    if samples.dtype.kind == "f" and len(samples) and np.abs(samples).max() > _LOUDEST:
        raise EngineError("The voice made samples far beyond full scale.", code=GARBAGE)
    if not all(_is_word(word) for word in chunk.words):
        raise EngineError("The voice told of words without a time.", code=GARBAGE)
    return chunk


def _is_word(word: SpokenWord) -> bool:
    return (
        isinstance(word, SpokenWord)
        and isinstance(word.text, str)
        and math.isfinite(word.start_s)
        and math.isfinite(word.end_s)
    )


def require_words(transcript: Transcript) -> Transcript:
    """A transcript.

    Raises: EngineError.
    """
    if not isinstance(transcript, Transcript) or not isinstance(transcript.text, str):
        raise EngineError("The transcriber heard what are no words.", code=GARBAGE)
    told = isinstance(transcript.language, str | None) and isinstance(transcript.audio_s, Real)
    if not told or not 0 <= transcript.audio_s < math.inf:
        raise EngineError("The transcriber heard words of no language, or at no time.", code=GARBAGE)
    return transcript
