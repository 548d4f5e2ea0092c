"""The engines of the engine process, as the conversation knows them: each satisfies its port."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.engines.link import Connection, EngineLink, EngineProcessDied
from media.engines.protocols import (
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    Transcript,
    TtsRequest,
    Voice,
)
from media.engines.stt_languages import require_language
from media.engines.wire import (
    AbortSession,
    FlushSession,
    FollowSession,
    Judge,
    OpenSession,
    PushAudio,
    Reply,
    Speak,
)
from media.errors import EngineError


class RemoteTurnEnd:
    """Satisfies `TurnEndEngine`."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link

    @property
    def name(self) -> str:
        return self._link.facts.turn_end_name

    async def start(self) -> None:
        await self._link.start("turn_end")

    async def close(self) -> None:
        """Nothing: the engines are freed with their process."""

    async def judge(self, turn: Audio) -> float:
        probability: float = await self._link.ask("turn_end", Judge(turn))
        return probability


class RemoteLlm:
    """Satisfies `LlmEngine`. A reply of which nothing has come is asked for again where the process dies."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link

    @property
    def name(self) -> str:
        return self._link.facts.llm_name

    async def start(self) -> None:
        await self._link.start("llm")

    async def close(self) -> None:
        """Nothing: the engines are freed with their process."""

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        return self._link.stream("llm", Reply(request))


class RemoteTts:
    """Satisfies `TtsEngine`. A clause of which nothing has come is asked for again where the process dies."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link

    @property
    def name(self) -> str:
        return self._link.facts.tts_name

    @property
    def rate_hz(self) -> int:
        return self._link.facts.tts_rate_hz

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._link.facts.tts_voices

    async def start(self) -> None:
        await self._link.start("tts")

    async def close(self) -> None:
        """Nothing: the engines are freed with their process."""

    def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        # What was still to be heard when it was first asked has been heard by the time it is asked again.
        return self._link.stream("tts", Speak(request), again=Speak(replace(request, lead_s=0.0)))


class RemoteStt:
    """Satisfies `SttEngine`."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link
        self._numbers = itertools.count()

    @property
    def name(self) -> str:
        return self._link.facts.stt_name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._link.facts.stt_languages

    async def start(self) -> None:
        await self._link.start("stt")

    async def close(self) -> None:
        """Nothing: the engines are freed with their process."""

    def open(self, options: SttOptions) -> RemoteSttSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`.
        """
        require_language(self, options)
        return RemoteSttSession(self._link, next(self._numbers), options)


class RemoteSttSession:
    """Satisfies `SttSession`.

    Keeps the turn's audio until it is over. Where the process dies, the session is opened in the next one
    with all of it: the turn's transcript comes late, but whole.

    Args:
        link: leads to the engine process.
        number: the session's.
        options: what the transcription is told.
    """

    def __init__(self, link: EngineLink, number: int, options: SttOptions) -> None:
        self._link = link
        self._number = number
        self._options = options
        self._pushed: list[Audio] = []
        self._home: Connection | None = None
        """The process in which it was opened last."""
        self._aborted = False

    async def push(self, audio: Audio) -> None:
        """More of the turn: one message, which nobody waits for.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        if audio.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"speech is transcribed at {SPEECH_RATE_HZ} Hz; got {audio.rate_hz} Hz")
        if self._aborted:
            return
        connection = self._link.present("stt")
        if connection is not None:
            self._move_to(connection)
            connection.tell(PushAudio(self._number, audio))
        self._pushed.append(audio)

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far. After a death they begin anew, with a transcript of all of the turn.

        Raises:
            EngineError: the transcription failed, or killed two processes.
        """
        for dies_again in (False, True):
            connection = await self._link.connection("stt")
            if self._aborted:
                return
            self._move_to(connection)
            try:
                async with aclosing(connection.stream(FollowSession(self._number))) as transcripts:
                    async for transcript in transcripts:
                        yield transcript
                return
            except EngineProcessDied:
                if self._aborted:
                    return
                if dies_again:
                    raise

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed.

        Raises:
            EngineError: the backend failed, the session was aborted, or it killed two processes.
        """
        try:
            return await self._flush()
        except EngineProcessDied:
            return await self._flush()

    async def abort(self) -> None:
        self._aborted = True
        self._pushed.clear()
        home, self._home = self._home, None
        if home is not None:
            home.tell(AbortSession(self._number))

    async def _flush(self) -> Transcript:
        connection = await self._link.connection("stt")
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        self._move_to(connection)
        transcript: Transcript = await connection.ask(FlushSession(self._number))
        return transcript

    def _move_to(self, connection: Connection) -> None:
        """Opens the session there, with the turn so far, unless it is open there."""
        if connection is self._home:
            return
        self._home = connection
        connection.tell(OpenSession(self._number, self._options))
        if self._pushed:
            connection.tell(PushAudio(self._number, concatenate(self._pushed, SPEECH_RATE_HZ)))
