"""One turn's transcription by whoever is given recordings: an endpoint, or a model that does not stream.

The speech so far is given as it stands: when a partial transcript is due, and when the turn seems to be over.
One request of a session is under way at a time. A partial is asked for only after so much new speech, and
after three times as long as the last one took: who is slow is asked less often. It gives way to a flush:
it is cancelled, at which endpoints and models stop. One that fails, since an endpoint is full, is left
out, and for a while no other is asked for: only a flush has to succeed. What is silent is never given. Before
the buffer outgrows 24 s, its older part is transcribed for good, up to the quietest point: requests stay
small in long turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.engines.inference import Urgency
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_pieces import LONGEST_TAIL_S, SILENT_DBFS, joined, loudest_dbfs, quietest_cut
from media.errors import EngineError

_PROMPT_LETTERS = 200
"""How much of what was said before the tail is told."""

_PARTIALS_SHARE = 3.0
"""Partials leave whoever transcribes alone for so many times what each takes."""

_REST_S = 3.0
"""So much speech after one that failed, the next is asked for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a piece of speech says, and in which language, where that is known."""

    text: str
    language: str | None


Hear: TypeAlias = Callable[[npt.NDArray[np.int16], str | None, str, Urgency], Awaitable[Heard]]
"""Transcribes a recording: samples at 16 kHz, language, prompt, and how urgent it is. Cancelled where nobody
waits for it any more."""


@dataclass(frozen=True, slots=True)
class _Done:
    """A transcript, and how many samples of the turn it covers."""

    transcript: Transcript
    samples: int


class RecordedSession:
    """Satisfies `SttSession`.

    Args:
        hear: transcribes a recording.
        options: of the turn.
        partial_interval_s: how much new speech a partial transcript is worth.
    """

    def __init__(self, hear: Hear, options: SttOptions, partial_interval_s: float) -> None:
        self._hear = hear
        self._options = options
        self._partial_interval_s = partial_interval_s
        self._parts: list[npt.NDArray[np.int16]] = []
        self._samples = 0
        self._committed_samples = 0
        self._committed: list[str] = []
        self._language = options.language
        self._last = _Done(Transcript("", 0.0, options.language), 0)
        self._partial_cost_s = 0.0
        self._partial: asyncio.Timeout | None = None
        """By which a request in the background is broken off."""
        self._rests_until_samples = 0
        """Nothing is asked for in the background until so much of the turn was said."""
        self._flushes = 0
        self._aborted = False
        self._changed = asyncio.Event()

    async def push(self, audio: Audio) -> None:
        """More of the turn.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        if audio.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"speech is transcribed at {SPEECH_RATE_HZ} Hz; got {audio.rate_hz} Hz")
        self._parts.append(audio.as_int16())
        self._samples += len(audio)
        self._changed.set()

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far, whenever it has changed.

        The older part of a long speech is transcribed here, in the background of the speech, also for a
        session that asked for no partials. What fails is left out.
        """
        text = ""
        while not self._aborted:
            self._changed.clear()
            if self._flushes or not self._background_is_due:
                await self._changed.wait()
                continue
            began_s = loop_time_s()
            try:
                async with asyncio.timeout(None) as self._partial:
                    if self._tail_is_long:
                        await self._commit(Urgency.SOON)
                    else:
                        await self._transcribe(Urgency.IDLE)
            except TimeoutError:
                continue  # it gave way
            except EngineError as error:
                log.info("an interim transcript is left out", extra={"reason": str(error)})
                self._rests_until_samples = self._samples + round(_REST_S * SPEECH_RATE_HZ)
                continue
            finally:
                self._partial = None
            self._partial_cost_s = loop_time_s() - began_s
            transcript = self._last.transcript
            if transcript.text != text and not self._aborted and self._options.partials:
                text = transcript.text
                yield transcript

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed: at once where nothing audible came since the last one.

        Raises:
            EngineError: the transcription failed, or the session was aborted.
        """
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        self._flushes += 1
        self._break_off()
        try:
            while self._tail_is_long:
                await self._commit(Urgency.NOW)
            await self._transcribe(Urgency.NOW)
        finally:
            self._flushes -= 1
            self._changed.set()
        return self._last.transcript

    async def abort(self) -> None:
        """Ends the session; what it asked for in the background is broken off."""
        self._aborted = True
        self._break_off()
        self._changed.set()

    def _break_off(self) -> None:
        if self._partial is not None and not self._partial.expired():
            self._partial.reschedule(loop_time_s())

    @property
    def _tail_is_long(self) -> bool:
        return self._samples - self._committed_samples > LONGEST_TAIL_S * SPEECH_RATE_HZ

    @property
    def _background_is_due(self) -> bool:
        is_wanted = self._tail_is_long or self._partial_is_due
        return is_wanted and self._samples >= self._rests_until_samples

    @property
    def _partial_is_due(self) -> bool:
        interval_s = max(self._partial_interval_s, _PARTIALS_SHARE * self._partial_cost_s)
        return self._options.partials and self._samples - self._last.samples >= interval_s * SPEECH_RATE_HZ

    async def _transcribe(self, urgency: Urgency) -> None:
        """Everything that was pushed before now."""
        begin, tail = self._committed_samples, self._tail()
        samples = begin + len(tail)
        if samples <= self._last.samples:
            return
        audio_s = samples / SPEECH_RATE_HZ
        last = self._last.transcript
        if _is_silent(tail[max(0, self._last.samples - begin) :]):
            self._last = _Done(Transcript(last.text, audio_s, last.language), samples)
            return
        heard = await self._hear(tail, self._language, self._prompt(), urgency)
        if samples > self._last.samples and begin == self._committed_samples:
            text = joined([*self._committed, heard.text], heard.language)
            self._last = _Done(Transcript(text, audio_s, heard.language), samples)

    async def _commit(self, urgency: Urgency) -> None:
        """Transcribes the older part for good."""
        begin, tail = self._committed_samples, self._tail()
        cut = quietest_cut(Audio(tail, SPEECH_RATE_HZ).as_float32())
        heard = Heard("", self._language)
        if not _is_silent(tail[:cut]):
            heard = await self._hear(tail[:cut], self._language, self._prompt(), urgency)
        if begin != self._committed_samples:
            return  # a request that gave way had its answer after all
        if heard.text:
            self._committed.append(heard.text)
            self._language = heard.language
        self._parts[:] = [self._tail()[cut:]]
        self._committed_samples += cut
        if self._last.samples < self._committed_samples:
            text = joined(self._committed, heard.language)
            audio_s = self._committed_samples / SPEECH_RATE_HZ
            self._last = _Done(Transcript(text, audio_s, heard.language), self._committed_samples)

    def _tail(self) -> npt.NDArray[np.int16]:
        """What is not committed, which becomes the buffer's one part."""
        self._parts[:] = [np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)]
        return self._parts[0]

    def _prompt(self) -> str:
        if not self._committed:
            return self._options.prompt
        return f"{self._options.prompt} {self._committed[-1][-_PROMPT_LETTERS:]}".strip()


def _is_silent(samples: npt.NDArray[np.int16]) -> bool:
    return loudest_dbfs(Audio(samples, SPEECH_RATE_HZ).as_float32()) < SILENT_DBFS
