"""Kokoro-82M on ONNX Runtime: the embedded text-to-speech.

A clause that is wanted at once is spoken in windows, by predicted norm statistics (`kokoro_parts`,
`kokoro_norms`); one that has time is spoken whole.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from media.clock import thread_time_s
from media.engines.g2p import PronouncedWord, pronounce, unavailable
from media.engines.inference import InferenceThreads, Urgency
from media.engines.kokoro_clause import RATE_HZ, ClauseSound
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import FRAME_SAMPLES, Floats, KokoroParts, NormStatistics
from media.engines.kokoro_runs import Run, runs_of
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, label_of, language_of
from media.engines.memory import give_back_freed
from media.engines.model_files import damaged, require_files
from media.engines.onnx import ONNX_ERRORS
from media.engines.protocols import SpeechChunk, TtsRequest, Voice
from media.engines.starting import closed_unless_started
from media.engines.window_plan import OVERHEAD_FRAMES, first_window, next_window
from media.errors import CallerError, EngineError, VoiceUnavailable

MIN_SPEED, MAX_SPEED = 0.5, 2.0

_WARM_UP = "Let me think about that for you."
_FRAME_S = FRAME_SAMPLES / RATE_HZ
_STYLE_ROW_BYTES = STYLE_WIDTH * 4
_LOUDEST = 1.2
"""Kokoro's samples stay below 1; more comes of statistics that do not fit the clause."""
_SEAMS_KEPT = 32
"""Some KB each: more than there are answers under way at once."""
_AMPLE = 1.3
"""A clause is spoken whole where there is so many times the time that it should take."""


log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pace:
    """How long things take here and now, as multiples of the sound's own length: 1 is real time.

    Guesses at first, then a moving mean of what was measured; the machine may be busy with other calls.
    """

    whole: float = 0.4
    window: float = 0.4

    def whole_took(self, spent_s: float, frames: int) -> None:
        self.whole += 0.3 * (spent_s / (frames * _FRAME_S) - self.whole)

    def window_took(self, spent_s: float, frames: int) -> None:
        self.window += 0.3 * (spent_s / ((frames + OVERHEAD_FRAMES) * _FRAME_S) - self.window)


class KokoroOnnx:
    """The TTS port, on the CPU.

    Args:
        model: `kokoro-v1.0.int8.onnx`.
        voices_dir: holds `NAME.bin` of each of the 54 voices: float32, one style of 256 for each of the
            510 lengths that a clause can have.
        threads: of one synthesis.
        parallel: how many clauses are synthesised at once, each on `threads` of its own.
    """

    def __init__(
        self,
        model: Path,
        voices_dir: Path,
        *,
        threads: int = 1,
        parallel: int = 1,
    ) -> None:
        self._model = model
        self._voices_dir = voices_dir
        self._threads = threads
        self._inference = InferenceThreads("kokoro", threads=parallel, failures=ONNX_ERRORS)
        self._parts: KokoroParts | None = None
        self._norms: KokoroNorms | None = None
        self._pace = _Pace()
        self._running: set[ort.RunOptions] = set()
        self._seams: OrderedDict[tuple[str, float, str], Floats] = OrderedDict()
        """What the sound of a clause's beginning would have gone on with, by voice, speed and words."""
        self._voices = tuple(
            Voice(name, language_of(name), label_of(name), unavailable(language_of(name)))
            for name in VOICE_NAMES
        )

    @property
    def name(self) -> str:
        return f"kokoro ({self._model.stem})"

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    async def start(self) -> None:
        """Loads the model and speaks a sentence to warm it: about 3 s.

        Raises:
            ModelMissing: the model or a voice is absent or truncated.
            EngineError: espeak-ng cannot be loaded.
        """
        if self._parts is not None:
            return
        async with closed_unless_started(self, self._inference):
            self._parts, self._norms = await self._inference.run(self._load)
            async for _ in self.speak(TtsRequest(_WARM_UP, VOICE_NAMES[0])):
                pass
        # Other engines were loading beside it: that was no measure.
        self._pace = _Pace()

    async def close(self) -> None:
        for options in self._running:
            options.terminate = True
        await self._inference.close()
        self._parts = self._norms = None

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause.

        Nothing comes out of a text without anything speakable. Closing the generator stops the model within
        the operator that it is at.

        Raises:
            VoiceUnavailable: the voice is unknown or cannot speak here.
            CallerError: the speed is out of range.
            EngineError: the backend failed, or was not started.
        """
        language = self._speakable_language(request.voice)
        if not MIN_SPEED <= request.speed <= MAX_SPEED:
            raise CallerError(
                f"The speed is {request.speed:g}; it can be {MIN_SPEED:g} to {MAX_SPEED:g}.", param="speed"
            )
        parts, norms = self._parts, self._norms
        if parts is None or norms is None:
            raise EngineError(f"The engine {self.name} is not started.", code="engine_closed")
        options = ort.RunOptions()
        options.log_severity_level = 4  # being terminated is no error worth a line
        # What a long clause needed goes back to the system: 0.5 GB after 25 s of audio otherwise stay.
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._running.add(options)
        synthesis = _Synthesis(parts, options, norms, self._pace, request)
        needed_at_s = thread_time_s() + request.lead_s
        spoken_s = 0.0
        try:
            words = await self._inference.run(partial(pronounce, _in_context(request), language))
            for run, first, end in _heard(request, words):
                joins = self._seams.get((request.voice, request.speed, request.before)) if first else None
                style = self._style(request.voice, run)
                work = partial(synthesis.prepare, run, style, spoken_s, first, end, joins)
                sound = await self._inference.run(work)
                for piece, urgency in synthesis.pieces(sound, needed_at_s + spoken_s):
                    chunk = await self._inference.run(piece, urgency=urgency)
                    if chunk is not None:
                        yield chunk
                spoken_s += sound.spoken_s
                if sound.goes_on:
                    self._keep_seam(request, sound.seam)
        finally:
            options.terminate = True
            self._running.discard(options)

    def _keep_seam(self, request: TtsRequest, seam: Floats) -> None:
        self._seams[request.voice, request.speed, f"{request.before} {request.text}".strip()] = seam
        while len(self._seams) > _SEAMS_KEPT:
            self._seams.popitem(last=False)

    def _speakable_language(self, voice_name: str) -> str:
        for voice in self._voices:
            if voice.name == voice_name:
                if voice.unavailable:
                    raise VoiceUnavailable(f"The voice {voice.name} cannot speak here. {voice.unavailable}")
                return voice.language
        nearest = difflib.get_close_matches(voice_name, VOICE_NAMES, n=1, cutoff=0.0)[0]
        raise VoiceUnavailable(f"There is no voice {voice_name!r}: did you mean {nearest}?")

    def _load(self) -> tuple[KokoroParts, KokoroNorms]:
        voice_files = [self._voice_file(name) for name in VOICE_NAMES]
        require_files(self._model, *voice_files)
        for file in voice_files:
            if file.stat().st_size != STYLE_ROWS * _STYLE_ROW_BYTES:
                raise damaged(file)
        parts = KokoroParts.load(self._model, threads=self._threads)
        give_back_freed()
        return parts, KokoroNorms()

    def _style(self, voice: str, run: Run) -> Floats:
        """The style for a run of this length, shape (1, 256): 1 KiB of a file that the page cache holds."""
        row = len(run.token_ids) - 1
        return np.fromfile(
            self._voice_file(voice), np.float32, STYLE_WIDTH, offset=row * _STYLE_ROW_BYTES
        ).reshape(1, STYLE_WIDTH)

    def _voice_file(self, voice: str) -> Path:
        return self._voices_dir / f"{voice}.bin"


@dataclass(frozen=True, slots=True)
class _Synthesis:
    """One request's work, in pieces for the engine's thread: other calls' pieces come between."""

    parts: KokoroParts
    options: ort.RunOptions
    norms: KokoroNorms
    pace: _Pace
    request: TtsRequest

    def prepare(
        self, run: Run, style: Floats, offset_s: float, first: int, end: int, joins: Floats | None
    ) -> ClauseSound:
        """The front: an eighth of the whole work. Blocks."""
        voice, speed = self.request.voice, self.request.speed
        clause = self.parts.prepare(run.token_ids, style, speed, self.options)
        return ClauseSound(clause, run, voice, speed, offset_s, first, end, joins)

    def pieces(
        self, sound: ClauseSound, needed_at_s: float
    ) -> Iterator[tuple[Callable[[], SpeechChunk | None], Urgency]]:
        """What is left to do, each a call that blocks. The next is asked for when the one before is done.

        Args:
            sound: from `prepare`.
            needed_at_s: when the sound before it ends, on the threads' clock.
        """
        frames = sound.clause.frames
        lead_s = needed_at_s - thread_time_s()
        if sound.is_whole and lead_s > _AMPLE * self.pace.whole * frames * _FRAME_S:
            yield partial(self._whole, sound), Urgency.SOON if lead_s > 0 else Urgency.NOW
            return
        statistics = self.norms.predict(self.request.voice, sound.clause)
        at, end = sound.frames_heard
        size = first_window(end - at, self.pace.window, max(0.0, lead_s) / _FRAME_S)
        while True:
            stop = at + size
            yield partial(self._window, sound, statistics, at, stop, is_last=stop == end), Urgency.NOW
            at = stop
            if at >= end:
                return
            # The sound of this clause began when it was needed, or now, if that is past.
            needed_at_s = max(needed_at_s, thread_time_s() - sound.spoken_s)
            unheard_s = needed_at_s + sound.spoken_s - thread_time_s()
            size = next_window(end - at, self.pace.window, unheard_s / _FRAME_S)

    def _whole(self, sound: ClauseSound) -> SpeechChunk | None:
        begun_s = thread_time_s()
        samples, _ = self.parts.speak_whole(sound.clause, self.options)
        self.pace.whole_took(thread_time_s() - begun_s, sound.clause.frames)
        return sound.whole(samples)

    def _window(
        self, sound: ClauseSound, statistics: NormStatistics, first: int, last: int, *, is_last: bool
    ) -> SpeechChunk | None:
        begun_s = thread_time_s()
        # One frame more than is heard now: the next window is faded in over it.
        stop = last if is_last else min(last + 1, sound.clause.frames)
        if sound.exact is None:
            samples = self.parts.speak_window(sound.clause, statistics, first, stop, self.options)
            self.pace.window_took(thread_time_s() - begun_s, last - first)
            if not _plausible(samples):
                log.warning("a window was implausible, its clause is spoken whole")
                sound.exact, _ = self.parts.speak_whole(sound.clause, self.options)
        if sound.exact is not None:
            samples = sound.exact[first * FRAME_SAMPLES : stop * FRAME_SAMPLES]
        return sound.window(first, samples, last=is_last)


def _in_context(request: TtsRequest) -> str:
    return " ".join(filter(None, (request.before, request.text, request.after)))


def _heard(request: TtsRequest, words: list[PronouncedWord]) -> Iterator[tuple[Run, int, int]]:
    """The runs of which something is to be heard, and which of their words: the first, and that behind the
    last."""
    first = _words_of(request.before, words)
    # A run may hold more words than it was given: parts of one that no run can hold.
    end = len(words) - _words_of(request.after, reversed(words)) if request.after else sys.maxsize
    at = 0
    for run in runs_of(words):
        from_here, to_here = max(0, first - at), min(len(run.words), end - at)
        if from_here < to_here:
            yield run, from_here, to_here
        at += len(run.words)


def _words_of(text: str, words: Iterable[PronouncedWord]) -> int:
    """How many of the words, from the first one on, are the text's: one may be several written ones."""
    written = len(text.split())
    count = 0
    for word in words:
        if written <= 0:
            break
        written -= len(word.text.split())
        count += 1
    return count


def _plausible(samples: Floats) -> bool:
    return bool(np.isfinite(samples).all()) and float(np.abs(samples).max(initial=0.0)) <= _LOUDEST
