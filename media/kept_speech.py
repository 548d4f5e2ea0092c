"""The apology's sound, kept: it is there when the voice is not."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

from media.clauses import StreamingSettings
from media.engines.protocols import SpeechChunk, TtsEngine, TtsRequest, Voice
from media.errors import EngineError, VoiceUnavailable
from media.opening import PieceSplitter
from media.reply import voice_language
from media.speakable import speakable

log = logging.getLogger(__name__)

_KEPT_CLAUSES = 32
"""Some 0.2 MB each; those that were said least recently are forgotten."""


class KeptSpeech:
    """Satisfies `TtsEngine`: one sentence is spoken once in each voice and at each speed, and then kept.

    Where it cannot be spoken, since the voice fails or is being loaded again, it is heard in the voice in
    which it was kept first.

    Args:
        tts: speaks.
        sentence: is kept, clause by clause.
        streaming: how its clauses are cut.
    """

    def __init__(self, tts: TtsEngine, sentence: str, streaming: StreamingSettings) -> None:
        self._tts = tts
        self._sentence = sentence
        self._streaming = streaming
        self._kept: OrderedDict[tuple[str, str, float], tuple[SpeechChunk, ...]] = OrderedDict()
        self._first: dict[int, tuple[SpeechChunk, ...]] = {}
        """By the clause's place in the sentence, in the voice in which it was kept first."""
        self._clauses_in: dict[str, tuple[str, ...]] = {}
        """The clauses as they are spoken, by language."""

    @property
    def name(self) -> str:
        return self._tts.name

    @property
    def rate_hz(self) -> int:
        return self._tts.rate_hz

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._tts.voices

    async def start(self) -> None:
        await self._tts.start()

    async def close(self) -> None:
        await self._tts.close()

    async def keep(self, voice: str, speed: float) -> None:
        """Has the sentence spoken, unheard, so that it is kept. What fails is kept when it is first heard."""
        try:
            for clause in self._clauses(voice):
                async with aclosing(self.speak(TtsRequest(clause, voice, speed))) as chunks:
                    async for _ in chunks:
                        pass
        except (EngineError, VoiceUnavailable) as error:
            log.warning("the apology is not kept yet", extra={"code": error.code, "reason": str(error)})

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            EngineError: the engine failed, and the clause is not kept, or had begun.
        """
        clauses = self._clauses(request.voice)
        if request.before or request.after or request.text not in clauses:
            async with aclosing(self._tts.speak(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        key = (request.text, request.voice, request.speed)
        if key in self._kept:
            self._kept.move_to_end(key)
            for chunk in self._kept[key]:
                yield chunk
            return
        at, spoken = clauses.index(request.text), list[SpeechChunk]()
        try:
            async with aclosing(self._tts.speak(request)) as chunks:
                async for chunk in chunks:
                    spoken.append(chunk)
                    yield chunk
        except EngineError:
            if spoken or at not in self._first:
                raise
            for chunk in self._first[at]:
                yield chunk
            return
        self._first.setdefault(at, tuple(spoken))
        self._kept[key] = tuple(spoken)
        if len(self._kept) > _KEPT_CLAUSES:
            self._kept.popitem(last=False)

    def _clauses(self, voice: str) -> tuple[str, ...]:
        """The sentence's clauses as a reply has this voice speak them."""
        language = voice_language(self._tts, voice)
        if language not in self._clauses_in:
            splitter = PieceSplitter(self._streaming)
            pieces = (*splitter.push(self._sentence), *splitter.finish())
            self._clauses_in[language] = tuple(
                words for piece in pieces if (words := speakable(piece.text, language))
            )
        return self._clauses_in[language]
