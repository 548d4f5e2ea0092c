"""One turn's transcription with a model that does not stream.

The speech so far lies in a buffer. A partial transcribes it as it stands, a flush does the same and goes
before partials that wait. Before the buffer outgrows Whisper's window, its older part is transcribed for
good, up to the quietest point, and leaves the buffer: a flush has only the tail to do, however long it was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import thread_time_s
from media.engines.inference import InferenceThreads, Urgency
from media.engines.protocols import SttOptions, Transcript
from media.engines.speech_pieces import (
    LONGEST_TAIL_S,
    SILENT_DBFS,
    joined,
    loudest_dbfs,
    quietest_cut,
)
from media.engines.whisper_decoder import Unwanted, WhisperDecoder
from media.errors import EngineError

_PROMPT_LETTERS = 200
"""How much of what was said before the tail is told."""

_PARTIALS_SHARE = 3.0
"""Partials leave the engine free for so many times what each takes: busy machines make fewer."""


@dataclass(frozen=True, slots=True)
class _Done:
    """A transcript, and how many samples of the turn it covers."""

    transcript: Transcript
    samples: int


class WhisperSession:
    """Satisfies `SttSession`. Made by `Whisper.open`.

    The buffer is changed by `push` on the loop (which only appends) and by work on the engine's one thread
    (which takes and cuts): work of one session never overlaps, so nothing else needs a lock.
    """

    def __init__(
        self,
        decoder: WhisperDecoder,
        inference: InferenceThreads,
        options: SttOptions,
        partial_interval_s: float,
    ) -> None:
        self._decoder = decoder
        self._inference = inference
        self._options = options
        self._partial_interval_s = partial_interval_s
        self._parts: list[npt.NDArray[np.float32]] = []
        self._samples = 0
        self._committed_samples = 0
        self._committed: list[str] = []
        self._language = options.language
        self._last = _Done(Transcript("", 0.0, options.language), 0)
        self._told_samples = 0
        """What the last partial covered."""
        self._partial_cost_s = 0.0
        self._aborted = False
        self._changed = asyncio.Event()
        self._flush_numbers = itertools.count()
        self._flushes: set[int] = set()
        """Those that somebody waits for."""

    async def push(self, audio: Audio) -> None:
        """More of the turn.

        Raises:
            ValueError: another rate than 16 kHz.
        """
        if audio.rate_hz != SPEECH_RATE_HZ:
            raise ValueError(f"speech is transcribed at {SPEECH_RATE_HZ} Hz; got {audio.rate_hz} Hz")
        self._parts.append(audio.as_float32())
        self._samples += len(audio)
        self._changed.set()

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        """The transcript so far, whenever it has changed.

        The work between two pauses of a long speech is done here, in the background of the speech, also for
        a session that asked for no partials.
        """
        text = ""
        while not self._aborted:
            self._changed.clear()
            if self._tail_is_long:
                await self._inference.run(self._commit, urgency=Urgency.SOON)
                continue
            if not self._options.partials or not self._partial_is_due:
                await self._changed.wait()
                continue
            done = await self._inference.run(self._transcribe_timed, urgency=Urgency.IDLE)
            self._told_samples = done.samples
            if done.transcript.text != text and not self._aborted:
                text = done.transcript.text
                yield done.transcript

    async def flush(self) -> Transcript:
        """The transcript of all that was pushed: at once where nothing audible came since the last one.

        Raises:
            EngineError: CTranslate2 failed, or the session was aborted.
        """
        if self._aborted:
            raise EngineError("The transcription was aborted.", code="aborted")
        while (
            self._tail_is_long and not self._aborted
        ):  # piece by piece, so that other calls' flushes come between
            await self._inference.run(self._commit)
        if self._new_samples:
            number = next(self._flush_numbers)
            self._flushes.add(number)
            try:
                await self._inference.run(partial(self._transcribe, lambda: number in self._flushes))
            finally:
                self._flushes.discard(number)
        return self._last.transcript

    async def abort(self) -> None:
        """Ends the session. Work that runs comes to its end on the engine's thread, unheard."""
        self._aborted = True
        self._changed.set()

    @property
    def _tail_is_long(self) -> bool:
        return self._samples - self._committed_samples > LONGEST_TAIL_S * SPEECH_RATE_HZ

    @property
    def _partial_is_due(self) -> bool:
        return self._samples - self._told_samples >= self._interval_samples

    @property
    def _interval_samples(self) -> float:
        return SPEECH_RATE_HZ * max(self._partial_interval_s, _PARTIALS_SHARE * self._partial_cost_s)

    @property
    def _new_samples(self) -> int:
        """What the last transcript does not cover."""
        return self._samples - self._last.samples

    # What follows runs on the engine's thread.

    def _transcribe_timed(self) -> _Done:
        """For a partial, which gives way to a flush, of this call or another."""
        if self._last.samples - self._told_samples >= self._interval_samples / 2:
            return self._last  # a flush has come before it
        start_s = thread_time_s()
        done = self._transcribe(lambda: not self._inference.presses(Urgency.NOW))
        self._partial_cost_s = thread_time_s() - start_s
        return done

    def _transcribe(self, wanted: Callable[[], bool]) -> _Done:
        """Everything that was pushed before now; what there was already, where it is not wanted any more."""
        if self._aborted:
            return self._last
        tail = self._tail()
        samples = self._committed_samples + len(tail)
        new = tail[max(0, self._last.samples - self._committed_samples) :]
        audio_s = samples / SPEECH_RATE_HZ
        if loudest_dbfs(new) < SILENT_DBFS:
            last = self._last.transcript
            self._last = _Done(Transcript(last.text, audio_s, last.language), samples)
            return self._last
        try:
            decoded = self._decoder.transcribe(
                tail, language=self._language, prompt=self._prompt(), wanted=wanted
            )
        except Unwanted:
            return self._last
        text = joined([*self._committed, decoded.text], decoded.language)
        self._last = _Done(Transcript(text, audio_s, decoded.language), samples)
        return self._last

    def _commit(self) -> None:
        """Transcribes the older part for good, if the tail is (still) long."""
        tail = self._tail()
        if self._aborted or len(tail) <= LONGEST_TAIL_S * SPEECH_RATE_HZ:
            return
        cut = quietest_cut(tail)
        decoded = self._decoder.transcribe(tail[:cut], language=self._language, prompt=self._prompt())
        if decoded.text:
            self._committed.append(decoded.text)
            self._language = decoded.language
        self._parts[:1] = [tail[cut:]]
        self._committed_samples += cut
        if self._last.samples < self._committed_samples:
            text = joined(self._committed, decoded.language)
            audio_s = self._committed_samples / SPEECH_RATE_HZ
            self._last = _Done(Transcript(text, audio_s, decoded.language), self._committed_samples)

    def _tail(self) -> npt.NDArray[np.float32]:
        """What is not committed, which becomes the buffer's first part."""
        taken = len(self._parts)
        tail = np.concatenate(self._parts[:taken]) if taken else np.zeros(0, np.float32)
        self._parts[:taken] = [tail]  # one step of the interpreter: what `push` appends meanwhile stays
        return tail

    def _prompt(self) -> str:
        if not self._committed:
            return self._options.prompt
        said = self._committed[-1][-_PROMPT_LETTERS:]
        return f"{self._options.prompt} {said}".strip()
