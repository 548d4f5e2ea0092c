"""One turn's transcription by a model that streams, in this process.

Audio is heard as it comes, on the engine's thread, and the transcript grows. A flush finishes a copy of the
stream, so a turn that goes on after all loses nothing. A turn that lasts goes on in a new stream after a
pause: what came before it is finished for good.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import thread_time_s
from media.engines.batcher import Batcher
from media.engines.inference import Urgency
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_blocks import LONGEST_STREAM_S, ROTATE_AFTER_S, Block, SpeechBlocks
from media.engines.speech_pieces import joined
from media.engines.voxtral_stream import RealtimeModel, VoxtralStream
from media.errors import EngineError

NextStream: TypeAlias = Callable[[], VoxtralStream | None]
"""Asked on the engine's thread which stream is to write a token, if there is one."""

Steps: TypeAlias = Batcher[NextStream, None]
"""The engine's: streams of several calls write a token each, together."""


class VoxtralRealtimeSession:
    """Satisfies `SttSession`. Made by `VoxtralRealtime.open`.

    `push`, on the loop, only appends blocks; the engine's one thread takes them. Steps never overlap, so
    nothing else needs a lock.
    """

    def __init__(self, model: RealtimeModel, steps: Steps, options: SttOptions) -> None:
        self._model = model
        self._steps = steps
        self._options = options
        self._blocks = SpeechBlocks()
        self._waiting: deque[Block] = deque()
        self._pushed_samples = 0
        self._spoken_samples = 0
        """Where the last block ended in which somebody spoke."""
        self._stream = VoxtralStream(model)
        self._taken_samples = 0
        """What streams were given, all together."""
        self._written = ""
        self._committed: list[str] = []
        self._last = Transcript("", 0.0, options.language)
        self._last_samples = 0
        self._aborted = False
        self._changed = asyncio.Event()

    async def push(self, audio: Audio) -> None:
        """More of the turn.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        if audio.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"speech is transcribed at {SPEECH_RATE_HZ} Hz; got {audio.rate_hz} Hz")
        for block in self._blocks.push(audio.as_int16()):
            self._pushed_samples += len(block.samples)
            if not block.is_quiet:
                self._spoken_samples = self._pushed_samples
            self._waiting.append(block)
        self._changed.set()

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far, whenever there is more of it. The speech is heard here, as it comes."""
        text = ""
        behind_since_s = thread_time_s()
        while not self._aborted:
            self._changed.clear()
            unheard = self._pushed_samples - self._taken_samples
            if unheard < self._model.token_samples and not self._stream.ready:
                await self._changed.wait()
                behind_since_s = thread_time_s()
                continue
            await self._steps.run(self._next, urgency=Urgency.SOON, since_s=behind_since_s)
            if self._written != text and not self._aborted:
                text = self._written
                if self._options.partials:
                    yield Transcript(text, self._taken_samples / SPEECH_RATE_HZ, self._options.language)

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed: at once where nothing audible came since the last one.

        Raises:
            EngineError: the model failed, or the session was aborted.
        """
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        if self._spoken_samples <= self._last_samples:
            audio_s = self._pushed_samples / SPEECH_RATE_HZ
            self._last = Transcript(self._last.text, audio_s, self._last.language)
            return self._last
        ending = _Ending(self)
        while not ending.done and not self._aborted:
            await self._steps.run(ending.next)
        return self._last

    async def abort(self) -> None:
        """Ends the session. A step that runs comes to its end, unheard."""
        self._aborted = True
        self._changed.set()

    # What follows runs on the engine's thread.

    def _next(self) -> VoxtralStream | None:
        """The stream, once it was given what was pushed."""
        if self._aborted:
            return None
        self._take()
        self._written = self._whole(self._stream.text)
        return self._stream if self._stream.ready else None

    def _take(self) -> None:
        """Gives the stream what was pushed, and goes on in another one after a pause, if it is time."""
        while self._waiting:
            block = self._waiting[0]
            age_s = self._stream.samples / SPEECH_RATE_HZ
            if age_s >= LONGEST_STREAM_S or (block.after_pause and age_s >= ROTATE_AFTER_S):
                if text := self._stream.finished_text():
                    self._committed.append(text)
                self._stream = VoxtralStream(self._model)
            self._waiting.popleft()
            self._stream.push(Audio(block.samples, SPEECH_RATE_HZ).as_float32())
            self._taken_samples += len(block.samples)

    def _whole(self, text: str) -> str:
        return joined([*self._committed, text], self._options.language)


class _Ending:
    """A flush, step by step: the stream hears all that it was given, then a copy of it is ended."""

    def __init__(self, session: VoxtralRealtimeSession) -> None:
        self.done = False
        self._session = session
        self._stream: VoxtralStream | None = None
        self._samples = 0

    def next(self) -> VoxtralStream | None:
        """Which stream is to write a token; with the one after the last, there is a transcript."""
        session = self._session
        if self._stream is None:
            stream = session._next()
            if stream is not None or session._aborted:
                return stream
            self._samples = session._taken_samples
            self._stream = session._stream.ended()
        if self._stream.ready:
            return self._stream
        session._last_samples = self._samples
        text, audio_s = session._whole(self._stream.text), self._samples / SPEECH_RATE_HZ
        session._last = Transcript(text, audio_s, session._options.language)
        self.done = True
        return None
