"""A reply that is begun before anybody knows that it is wanted.

While a pause is weighed, its transcript is there long before the turn is over. A draft asks the LLM and
speaks the first clause in that time, and tells nobody. A reply that then asks for the very same is given what
the draft has made; if the caller goes on, the draft is dropped without a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from media.clauses import StreamingSettings
from media.clock import loop_time_s
from media.engines.protocols import (
    Engines,
    LlmDelta,
    LlmEngine,
    LlmRequest,
    SpeechChunk,
    TtsEngine,
    TtsRequest,
    Voice,
)
from media.errors import VoxtralKokoroError
from media.events import DraftSettled
from media.opening import Piece, PieceSplitter
from media.session import SessionConfig
from media.speakable import speakable

T = TypeVar("T")


class _Tape(Generic[T]):
    """What a stream gave, for one listener who may come late."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._error: VoxtralKokoroError | None = None
        self._changed = asyncio.Event()
        self.ended = False

    def add(self, item: T) -> None:
        self._items.append(item)
        self._changed.set()

    def end(self, error: VoxtralKokoroError | None = None) -> None:
        self.ended, self._error = True, error
        self._changed.set()

    async def play(self) -> AsyncGenerator[T, None]:
        """All of it from the beginning, waiting for what is still to come."""
        at = 0
        while True:
            while at < len(self._items):
                yield self._items[at]
                at += 1
            if self.ended:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error


class Draft:
    """One answer, begun in advance.

    Args:
        request: what the LLM is asked.
        session: how the answer is spoken.
        language: of the session's voice.
        streaming: how replies are cut into clauses.
        engines: the real ones.
        settled: told once what became of it.
    """

    def __init__(
        self,
        request: LlmRequest,
        session: SessionConfig,
        language: str,
        streaming: StreamingSettings,
        engines: Engines,
        settled: Callable[[DraftSettled], None],
    ) -> None:
        self.request = request
        self._session = session
        self._language = language
        self._streaming = streaming
        self._real = engines
        self._words: _Tape[LlmDelta] = _Tape()
        self._words_taken = False
        self._sounds: dict[TtsRequest, _Tape[SpeechChunk]] = {}
        """What is spoken of the first clause: all of it, or its opening, and then the rest."""
        self._task: asyncio.Task[None] | None = None
        self._tell_settled: Callable[[DraftSettled], None] | None = settled
        self._begun_s = loop_time_s()
        self._made_s: float | None = None

    @property
    def engines(self) -> Engines:
        """The engines, which give what the draft has made to whoever asks for just that."""
        return replace(
            self._real, llm=_DraftedLlm(self._real.llm, self), tts=_DraftedTts(self._real.tts, self)
        )

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._begun_s = loop_time_s()
        self._task = tasks.create_task(self._make(), name="draft")
        self._task.add_done_callback(self._note_made)

    def use(self) -> None:
        """It is the answer: a reply takes it over."""
        self._settle(used=True)

    def drop(self) -> None:
        """Makes no more. May be called twice, and after `use`."""
        self._settle(used=False)
        if self._task is not None:
            self._task.cancel()

    def _settle(self, *, used: bool) -> None:
        tell, self._tell_settled = self._tell_settled, None
        if tell is not None:
            until_s = loop_time_s() if self._made_s is None else self._made_s
            tell(DraftSettled(used, until_s - self._begun_s))

    def _note_made(self, _: asyncio.Task[None]) -> None:
        self._made_s = loop_time_s()

    def words_for(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None] | None:
        """The drafted reply, if this is what was asked. Once: whoever asks again wants another."""
        if request != self.request or self._words_taken:
            return None
        self._words_taken = True
        return self._words.play()

    def sound_for(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None] | None:
        """The drafted sound, if this is the clause that was spoken."""
        sound = self._sounds.get(replace(request, lead_s=0.0))
        return sound.play() if sound is not None else None

    async def _make(self) -> None:
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            if self._session.modality == "audio":
                tasks.create_task(self._speak_first(pieces), name="draft's first clause")
            splitter = PieceSplitter(self._streaming)
            try:
                async with aclosing(self._real.llm.reply(self.request)) as deltas:
                    async for delta in deltas:
                        self._words.add(delta)
                        for piece in splitter.push(delta.text):
                            pieces.put_nowait(piece)
                        if delta.tool_calls:
                            for piece in splitter.finish():
                                pieces.put_nowait(piece)
            except VoxtralKokoroError as error:
                self._words.end(error)
            else:
                self._words.end()
                for piece in splitter.finish():
                    pieces.put_nowait(piece)
            pieces.put_nowait(None)

    async def _speak_first(self, pieces: asyncio.Queue[Piece | None]) -> None:
        """Speaks pieces up to the end of the first clause; once the reply has taken over, it asks itself."""
        sound_s = 0.0
        while (piece := await pieces.get()) is not None and self._tell_settled is not None:
            words = speakable(piece.text, self._language)
            if not words:
                continue
            voice, speed = self._session.voice, self._session.speed
            request = TtsRequest(words, voice, speed, before=piece.before, after=piece.after)
            sound = self._sounds[request] = _Tape()
            try:
                async with aclosing(self._real.tts.speak(replace(request, lead_s=sound_s))) as chunks:
                    async for chunk in chunks:
                        sound_s += chunk.audio.duration_s
                        sound.add(chunk)
            except VoxtralKokoroError as error:
                sound.end(error)
                return
            sound.end()
            if not piece.after:
                return


@dataclass(frozen=True, slots=True)
class _DraftedLlm:
    """Satisfies `LlmEngine`."""

    real: LlmEngine
    draft: Draft

    @property
    def name(self) -> str:
        return self.real.name

    async def start(self) -> None:
        await self.real.start()

    async def close(self) -> None:
        await self.real.close()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        drafted = self.draft.words_for(request)
        async with aclosing(drafted or self.real.reply(request)) as deltas:
            async for delta in deltas:
                yield delta


@dataclass(frozen=True, slots=True)
class _DraftedTts:
    """Satisfies `TtsEngine`."""

    real: TtsEngine
    draft: Draft

    @property
    def name(self) -> str:
        return self.real.name

    @property
    def rate_hz(self) -> int:
        return self.real.rate_hz

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self.real.voices

    async def start(self) -> None:
        await self.real.start()

    async def close(self) -> None:
        await self.real.close()

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        drafted = self.draft.sound_for(request)
        async with aclosing(drafted or self.real.speak(request)) as chunks:
            async for chunk in chunks:
                yield chunk
