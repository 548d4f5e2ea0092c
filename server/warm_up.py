"""Each engine does its work once before it is called ready: so ready means that it works."""

from __future__ import annotations

from contextlib import aclosing
from typing import Literal, TypeAlias, assert_never

from media.audio import SPEECH_RATE_HZ, silence
from media.engines.protocols import (
    VAD_WINDOW_SAMPLES,
    ChatMessage,
    Engines,
    LlmEngine,
    LlmRequest,
    SttEngine,
    SttOptions,
    TtsEngine,
    TtsRequest,
)

EngineRole: TypeAlias = Literal["vad", "turn_end", "stt", "llm", "tts"]


class WarmUp:
    """One small piece of real work for each engine.

    The voice and the instructions are those of the configuration: the voice is in memory, and the LLM has
    the persona in its prompt cache, when the first caller comes. A voice that cannot speak is noticed here.

    Args:
        engines: started ones are warmed.
        voice: name of the configured voice.
        instructions: the configured persona.
        language: what callers speak; None where it is detected.
    """

    def __init__(self, engines: Engines, *, voice: str, instructions: str, language: str | None) -> None:
        self._engines = engines
        self._voice = voice
        self._instructions = instructions
        self._language = language

    async def of(self, role: EngineRole) -> None:
        """Warms one engine.

        Raises:
            EngineError: it does not work.
            VoiceUnavailable: the configured voice cannot be spoken.
        """
        match role:
            case "vad":
                window_s = VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ
                await self._engines.vad.open().push(silence(window_s, SPEECH_RATE_HZ))
            case "turn_end":
                await self._engines.turn_end.judge(silence(1.0, SPEECH_RATE_HZ))
            case "stt":
                await transcribe_once(self._engines.stt, self._language)
            case "llm":
                await reply_once(self._engines.llm, self._instructions)
            case "tts":
                await speak_once(self._engines.tts, self._voice)
            case _:
                assert_never(role)


async def transcribe_once(stt: SttEngine, language: str | None) -> None:
    """A second of silence.

    Args:
        stt: started.
        language: None, or one that it cannot be told, where it is detected.

    Raises:
        EngineError: it does not work.
    """
    known = language if language in stt.languages else None
    session = stt.open(SttOptions(known, partials=False))
    try:
        await session.push(silence(1.0, SPEECH_RATE_HZ))
        await session.flush()
    finally:
        await session.abort()


async def reply_once(llm: LlmEngine, instructions: str) -> None:
    """A word.

    Raises:
        EngineError: it does not work.
    """
    messages = (ChatMessage("system", instructions), ChatMessage("user", "Hello."))
    async with aclosing(llm.reply(LlmRequest(messages, max_tokens=1, temperature=0.0))) as deltas:
        async for _ in deltas:
            pass


async def speak_once(tts: TtsEngine, voice: str) -> None:
    """A greeting.

    Raises:
        EngineError: it does not work.
        VoiceUnavailable: it cannot speak in this voice.
    """
    async with aclosing(tts.speak(TtsRequest("Hello.", voice))) as chunks:
        async for _ in chunks:
            pass
