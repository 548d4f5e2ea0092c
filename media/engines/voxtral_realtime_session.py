"""One turn's transcription by a model that streams, in this process.

Audio is heard as it comes, on the engine's thread, and the transcript grows. A flush finishes a copy of the
stream, so a turn that goes on after all loses nothing. A turn that lasts goes on in a new stream after a
pause: what came before it is finished for good.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import partial

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.inference import InferenceThreads, Urgency
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_blocks import LONGEST_STREAM_S, ROTATE_AFTER_S, Block, SpeechBlocks
from media.engines.speech_pieces import joined
from media.engines.voxtral_stream import RealtimeModel, VoxtralStream
from media.errors import EngineError

_TOKENS_AT_ONCE = 4
"""Between two of these, another call's work may come."""


class VoxtralRealtimeSession:
    """Satisfies `SttSession`. Made by `VoxtralRealtime.open`.

    `push`, on the loop, only appends blocks; the engine's one thread takes them. Work of one session never
    overlaps, so nothing else needs a lock.
    """

    def __init__(self, model: RealtimeModel, inference: InferenceThreads, options: SttOptions) -> None:
        self._model = model
        self._inference = inference
        self._options = options
        self._blocks = SpeechBlocks()
        self._waiting: deque[Block] = deque()
        self._pushed_samples = 0
        self._spoken_samples = 0
        """Where the last block ended in which somebody spoke."""
        self._stream = VoxtralStream(model)
        self._taken_samples = 0
        """What streams were given, all together."""
        self._behind = False
        """The stream has more to hear."""
        self._committed: list[str] = []
        self._last = Transcript("", 0.0, options.language)
        self._last_samples = 0
        self._aborted = False
        self._changed = asyncio.Event()
        self._flush_numbers = itertools.count()
        self._flushes: set[int] = set()

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
        while not self._aborted:
            self._changed.clear()
            if not self._behind and self._pushed_samples - self._taken_samples < self._model.token_samples:
                await self._changed.wait()
                continue
            written = await self._inference.run(self._advance, urgency=Urgency.SOON)
            if written != text and not self._aborted:
                text = written
                if self._options.partials:
                    yield Transcript(text, self._taken_samples / SPEECH_RATE_HZ, self._options.language)

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed: at once where nothing audible came since the last one.

        Raises:
            EngineError: the model failed, or the session was aborted.
        """
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        if self._spoken_samples > self._last_samples:
            number = next(self._flush_numbers)
            self._flushes.add(number)
            try:
                await self._inference.run(partial(self._finish, lambda: number in self._flushes))
            finally:
                self._flushes.discard(number)
        else:
            audio_s = self._pushed_samples / SPEECH_RATE_HZ
            self._last = Transcript(self._last.text, audio_s, self._last.language)
        return self._last

    async def abort(self) -> None:
        """Ends the session. Work that runs ends with its next token."""
        self._aborted = True
        self._flushes.clear()
        self._changed.set()

    # What follows runs on the engine's thread.

    def _advance(self) -> str:
        """Hears a little more, and says what was written by then."""
        if not self._aborted:
            self._take()
            self._behind = self._stream.advance(_TOKENS_AT_ONCE)
        return self._whole(self._stream.text)

    def _finish(self, wanted: Callable[[], bool]) -> None:
        if not wanted():
            return
        self._take()
        samples = self._taken_samples
        text = self._stream.finished_text(wanted)
        if text is not None:
            self._last_samples = samples
            self._last = Transcript(self._whole(text), samples / SPEECH_RATE_HZ, self._options.language)

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
            self._stream.push(Audio(np.asarray(block.samples), SPEECH_RATE_HZ).as_float32())
            self._taken_samples += len(block.samples)

    def _whole(self, text: str) -> str:
        return joined([*self._committed, text], self._options.language)
