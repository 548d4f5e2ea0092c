"""Each engine does its work once before it is called ready: so ready means that it works."""

from __future__ import annotations

from contextlib import aclosing
from typing import Literal, TypeAlias, assert_never

from media.audio import SPEECH_RATE_HZ, silence
from media.engines.protocols import (
    VAD_WINDOW_SAMPLES,
    ChatMessage,
    Engines,
    LlmRequest,
    SttOptions,
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
                await self._transcribe()
            case "llm":
                await self._reply()
            case "tts":
                await self._speak()
            case _:
                assert_never(role)

    async def _transcribe(self) -> None:
        session = self._engines.stt.open(SttOptions(self._language, partials=False))
        try:
            await session.push(silence(1.0, SPEECH_RATE_HZ))
            await session.flush()
        finally:
            await session.abort()

    async def _reply(self) -> None:
        messages = (ChatMessage("system", self._instructions), ChatMessage("user", "Hello."))
        request = LlmRequest(messages, max_tokens=1, temperature=0.0)
        async with aclosing(self._engines.llm.reply(request)) as deltas:
            async for _ in deltas:
                pass

    async def _speak(self) -> None:
        async with aclosing(self._engines.tts.speak(TtsRequest("Hello.", self._voice))) as chunks:
            async for _ in chunks:
                pass
