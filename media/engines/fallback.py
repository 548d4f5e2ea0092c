"""Several engines as one: where one fails, the next one goes on, and the call with it.

Each satisfies its port; those given as `Beside` share the work. What has been heard or told is never taken
back: a reply is gone on with where it broke off, a clause from its next word, a turn is transcribed anew with
all of its audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from media.audio import Audio
from media.engines.fallback_order import Beside, FallbackEvent, FallbackOrder, Warm, falls_back
from media.engines.fallback_tries import WAITS_FOR_ROOM_S, Tries
from media.engines.garbage import require_delta, require_sound, require_words
from media.engines.on_need import OnNeed
from media.engines.protocols import (
    CANNOT_CONTINUE,
    LlmDelta,
    LlmEngine,
    LlmRequest,
    SpeechChunk,
    SpokenWord,
    SttEngine,
    SttOptions,
    SttSession,
    Transcript,
    TtsEngine,
    TtsRequest,
    Voice,
)
from media.engines.stt_languages import require_language
from media.errors import EngineError

Tell = Callable[[FallbackEvent], None]


class FallbackLlm:
    """Satisfies `LlmEngine`."""

    def __init__(
        self,
        engines: Sequence[LlmEngine | Beside[LlmEngine] | OnNeed[LlmEngine]],
        tell: Tell,
        silence_limit_s: float | None = None,
        warm: Warm[LlmEngine] | None = None,
    ) -> None:
        self._order: FallbackOrder[LlmEngine] = FallbackOrder("llm", engines, tell, silence_limit_s, warm)

    @property
    def name(self) -> str:
        return self._order.name

    async def start(self) -> None:
        await self._order.start()

    async def close(self) -> None:
        await self._order.close()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Streams the reply of the first that gives one. One that breaks off amid its words is gone on with
        by the next, if that can.

        Raises:
            EngineError: the last one's; or one's that had called a tool.
        """
        if request.max_tokens == 0:
            async with aclosing(self._read_ahead(request)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        failure: EngineError | None = None
        said, called = request.begun, False
        tries = Tries(self._order, request.conversation)
        while (at := await tries.next()) is not None:
            said_before = said
            try:
                await self._order.ready(at)
                async with aclosing(self._replying(at, replace(request, begun=said))) as deltas:
                    async for delta in deltas:
                        said += delta.text
                        called = called or bool(delta.tool_calls)
                        yield delta
            except EngineError as error:
                if not falls_back(error):
                    raise
                if error.code == CANNOT_CONTINUE:
                    failure = failure or error
                    continue
                tries.failed(at, error, amid=said != said_before)
                failure = error
                if called:
                    raise
                continue
            self._order.worked(at)
            return
        assert failure is not None, "there is at least one"
        raise failure

    async def _read_ahead(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """Only whoever would be asked for the reply reads ahead, and it proves nothing that it did, or takes
        its time: the reply will be waited for."""
        at = next(self._order.tries(request.conversation))
        if not self._order.is_started(at):
            return
        try:
            with self._order.asking(at, request.conversation) as engine, self._order.translating(at):
                async with aclosing(engine.reply(request)) as deltas:
                    async for delta in deltas:
                        self._order.sign_of_life(at)
                        yield delta
        except EngineError as error:
            if falls_back(error):
                self._order.failed(at, error)
            raise

    async def _replying(self, at: int, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        """One engine's reply.

        Raises: EngineError.
        """
        with self._order.asking(at, request.conversation) as engine:
            async with aclosing(self._order.items(at, engine.reply(request))) as deltas:
                async for delta in deltas:
                    yield require_delta(delta)


@dataclass(slots=True)
class _Spoken:
    """What of a clause has been handed out.

    Attributes:
        sound_s: how much sound.
        words: that began in it, in seconds from the clause's first sample.
    """

    sound_s: float = 0.0
    words: list[SpokenWord] = field(default_factory=list)

    def take(self, chunk: SpeechChunk, began_s: float) -> SpeechChunk:
        """Notes a chunk of a request that began so late in its clause; gives it in the clause's time."""
        words = tuple(
            replace(word, start_s=word.start_s + began_s, end_s=word.end_s + began_s) for word in chunk.words
        )
        self.words.extend(words)
        self.sound_s += chunk.audio.duration_s
        return replace(chunk, words=words)

    def rest_of(self, request: TtsRequest) -> TtsRequest | None:
        """What is still to be said: from the first word on that did not sound to its end; None where it is
        not known which that is.

        Words are those of the text, one for one.
        """
        if not self.sound_s:
            return request
        if not self.words:
            return None
        said = sum(word.end_s <= self.sound_s for word in self.words)
        words = request.text.split()
        before = f"{request.before} {' '.join(words[:said])}".strip()
        return replace(request, text=" ".join(words[said:]), before=before, lead_s=0.0)


class FallbackTts:
    """Satisfies `TtsEngine`.

    Args:
        engines: of one rate.
        voices: of each engine, or those beside each other, in their order: the voice that speaks where it has
            not the one that is wanted.
        tell: given what happens.
        silence_limit_s, warm: as `FallbackOrder` has them.
    """

    def __init__(
        self,
        engines: Sequence[TtsEngine | Beside[TtsEngine] | OnNeed[TtsEngine]],
        voices: Sequence[str],
        tell: Tell,
        silence_limit_s: float | None = None,
        warm: Warm[TtsEngine] | None = None,
    ) -> None:
        self._order: FallbackOrder[TtsEngine] = FallbackOrder("tts", engines, tell, silence_limit_s, warm)
        if len({engine.rate_hz for engine in self._order.engines}) != 1:
            raise ValueError("voices that stand in for each other speak at one rate")
        self._stand_ins: Mapping[int, str] = dict(enumerate(voices))

    @property
    def name(self) -> str:
        return self._order.name

    @property
    def rate_hz(self) -> int:
        return self._order.first.rate_hz

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._order.first.voices

    async def start(self) -> None:
        await self._order.start()

    async def close(self) -> None:
        await self._order.close()

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause, whoever speaks it.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            EngineError: the last one's; or one's that had begun without telling its words.
        """
        failure: EngineError | None = None
        spoken = _Spoken()
        tries = Tries(self._order)
        while (at := await tries.next()) is not None:
            rest = spoken.rest_of(request)
            if rest is None:
                break
            if not rest.text:
                return
            began_s = spoken.sound_s
            try:
                await self._order.ready(at)
                asked = replace(rest, voice=self._voice(at, request.voice))
                with self._order.asking(at) as engine:
                    async with aclosing(self._order.items(at, engine.speak(asked))) as chunks:
                        async for chunk in chunks:
                            yield spoken.take(require_sound(chunk, self.rate_hz), began_s)
            except EngineError as error:
                if not falls_back(error):
                    raise
                tries.failed(at, error, amid=spoken.sound_s > began_s)
                failure = error
                continue
            self._order.worked(at)
            return
        assert failure is not None, "there is at least one"
        raise failure

    def _voice(self, at: int, wanted: str) -> str:
        """The voice, where this engine can speak it; the first engine says itself what it cannot."""
        has = any(
            voice.name == wanted and voice.unavailable is None for voice in self._order.engines[at].voices
        )
        rank = self._order.rank(at)
        return wanted if has or rank == 0 else self._stand_ins[rank]


class FallbackStt:
    """Satisfies `SttEngine`."""

    def __init__(
        self,
        engines: Sequence[SttEngine | Beside[SttEngine] | OnNeed[SttEngine]],
        tell: Tell,
        silence_limit_s: float | None = None,
        warm: Warm[SttEngine] | None = None,
    ) -> None:
        self._order: FallbackOrder[SttEngine] = FallbackOrder("stt", engines, tell, silence_limit_s, warm)

    @property
    def name(self) -> str:
        return self._order.name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._order.first.languages

    async def start(self) -> None:
        await self._order.start()

    async def close(self) -> None:
        await self._order.close()

    def open(self, options: SttOptions) -> FallbackSttSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`.
        """
        require_language(self, options)
        return FallbackSttSession(self._order, options)


class FallbackSttSession:
    """Satisfies `SttSession`. Keeps the turn's audio until it is over: whoever goes on hears all of it."""

    def __init__(self, order: FallbackOrder[SttEngine], options: SttOptions) -> None:
        self._order = order
        self._options = options
        self._tries = list(order.tries())
        self._waits_s = list(WAITS_FOR_ROOM_S)
        self._pushed: list[Audio] = []
        self._session: SttSession | None = None
        self._counts_at: int | None = None
        """The engine at which this session is under way."""
        self._opened_in = 0
        """Which of its engine's starts it belongs to."""
        self._aborted = False
        self._open_if_started()

    async def push(self, audio: Audio) -> None:
        """More of the turn.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        await self._leave_closed()
        # In this order, and at once: who opens a session meanwhile gives it what was pushed by then.
        session = self._session
        self._pushed.append(audio)
        if session is not None:
            await session.push(audio)

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far. After a failure they begin anew, with a transcript of all of the turn.

        Raises:
            EngineError: all of them failed.
        """
        while not self._aborted:
            at = self._tries[0]
            try:
                with self._order.translating(at):
                    session = await self._present()
                    async for transcript in session.partials():
                        self._order.sign_of_life(at)
                        if isinstance(transcript.text, str):  # else `flush` will tell
                            yield transcript
            except EngineError as error:
                if self._aborted:
                    return
                await self._failed(at, error)
            else:
                if session is self._session:
                    return

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed.

        Raises:
            EngineError: all of them failed, or the session was aborted.
        """
        while True:
            if self._aborted:
                raise EngineError("The transcription was aborted.", code="aborted")
            at = self._tries[0]
            try:
                with self._order.translating(at):
                    session = await self._present()
                async with self._order.awaited(at):
                    transcript = require_words(await session.flush())
            except EngineError as error:
                await self._failed(at, error)
                continue
            self._order.worked(at)
            return transcript

    async def abort(self) -> None:
        self._aborted = True
        self._pushed.clear()
        self._count_at(None)
        session, self._session = self._session, None
        if session is not None:
            await session.abort()

    def _count_at(self, at: int | None) -> None:
        if self._counts_at is not None:
            self._order.end(self._counts_at)
        self._counts_at = at
        if at is not None:
            self._order.begin(at)

    def _open_if_started(self) -> None:
        """Opens the session where that needs no waiting, so that it works from the first word on.

        Where it cannot be opened, that is tried once more when its words are asked for; then the next one's.
        """
        at = self._tries[0]
        if self._order.is_started(at):
            with suppress(EngineError), self._order.translating(at):
                self._session = self._order.engines[at].open(self._options)
                self._opened_in = self._order.starts(at)
                self._count_at(at)

    async def _leave_closed(self) -> None:
        """Lets go of a session whose engine was closed, or started again, since it was opened."""
        at = self._tries[0]
        if self._order.is_started(at) and self._order.starts(at) == self._opened_in:
            return
        session, self._session = self._session, None
        if session is not None:
            await session.abort()

    async def _present(self) -> SttSession:
        """The session of the engine whose turn it is, with all that was said.

        Raises:
            EngineError: it does not work, or the session was aborted.
        """
        at = self._tries[0]
        await self._order.ready(at)
        await self._leave_closed()
        if self._session is None:
            session, opened_in = self._order.engines[at].open(self._options), self._order.starts(at)
            pushed = 0
            while pushed < len(self._pushed):  # more may come meanwhile
                await session.push(self._pushed[pushed])
                pushed += 1
            if self._session is None and at == self._tries[0] and not self._aborted:
                self._session, self._opened_in = session, opened_in
                self._count_at(at)
            else:
                await session.abort()
        if self._session is None:
            raise EngineError("The transcription was aborted.", code="aborted")
        return self._session

    async def _failed(self, at: int, error: EngineError) -> None:
        """Goes on to the next engine, unless that was done meanwhile.

        Raises:
            EngineError: this one, where there is no further one, or the session was aborted.
        """
        if self._aborted:
            raise error
        if at != self._tries[0]:
            return
        if falls_back(error):
            self._order.failed(at, error)
        if len(self._tries) > 1:
            self._tries.pop(0)
        elif self._order.merely_full(at, error) and self._waits_s:
            await asyncio.sleep(self._waits_s.pop(0))
            self._tries = list(self._order.tries())
        else:
            raise error
        self._count_at(None)
        session, self._session = self._session, None
        if session is not None:
            await session.abort()
