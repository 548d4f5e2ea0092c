"""Kokoro-82M on ONNX Runtime: the embedded text-to-speech.

A clause that is wanted at once is spoken in windows, by predicted norm statistics (`kokoro_parts`,
`kokoro_norms`); one that has time is spoken whole.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnxruntime as ort

from media.clock import thread_time_s
from media.engines.g2p import pronounce
from media.engines.inference import InferenceThreads
from media.engines.kokoro_clause import RATE_HZ, ClauseSound
from media.engines.kokoro_norms import KokoroNorms
from media.engines.kokoro_parts import FRAME_SAMPLES, ClauseFeatures, KokoroParts, NormStatistics
from media.engines.kokoro_plan import Pace, Piece, pieces_of, plausible
from media.engines.kokoro_request import Seams, heard_runs, in_context, require_speed
from media.engines.kokoro_voice_files import KokoroVoiceFiles
from media.engines.kokoro_voices import VOICE_NAMES
from media.engines.memory import give_back_freed
from media.engines.model_files import require_files
from media.engines.onnx import ONNX_ERRORS
from media.engines.protocols import SpeechChunk, TtsRequest, Voice
from media.engines.starting import closed_unless_started
from media.errors import EngineError

_WARM_UP = "Let me think about that for you."

log = logging.getLogger(__name__)


class KokoroOnnx:
    """The TTS port, on the CPU.

    Args:
        model: `kokoro-v1.0.int8.onnx`.
        voices_dir: see `KokoroVoiceFiles`.
        threads: of one synthesis.
        parallel: how many clauses are synthesised at once, each on `threads` of its own.
        blends: mixtures of voices that are offered beside the 54 (see `kokoro_blend`).

    Raises:
        VoiceUnavailable: a mixture is none.
    """

    def __init__(
        self,
        model: Path,
        voices_dir: Path,
        *,
        threads: int = 1,
        parallel: int = 1,
        blends: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._voices = KokoroVoiceFiles(voices_dir, blends)
        self._threads = threads
        self._inference = InferenceThreads("kokoro", threads=parallel, failures=ONNX_ERRORS)
        self._parts: KokoroParts | None = None
        self._norms: KokoroNorms | None = None
        self._pace = Pace()
        self._running: set[ort.RunOptions] = set()
        self._seams = Seams()

    @property
    def name(self) -> str:
        return f"kokoro ({self._model.stem})"

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._voices.voices

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
        self._pace = Pace()

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
        language = self._voices.language_of(request.voice)
        require_speed(request.speed)
        parts, norms = self._parts, self._norms
        if parts is None or norms is None:
            raise EngineError(f"The engine {self.name} is not started.", code="engine_closed")
        options = ort.RunOptions()
        options.log_severity_level = 4  # being terminated is no error worth a line
        # What a long clause needed goes back to the system: 0.5 GB after 25 s of audio otherwise stay.
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._running.add(options)
        needed_at_s = thread_time_s() + request.lead_s
        spoken_s = 0.0
        try:
            words = await self._inference.run(partial(pronounce, in_context(request), language))
            for run, first, end in heard_runs(request, words):
                style = self._voices.style(request.voice, len(run.token_ids))
                front = partial(parts.prepare, run.token_ids, style, request.speed, options)
                clause = await self._inference.run(front)
                joins = self._seams.before(request) if first else None
                sound = ClauseSound(clause, run, request.voice, request.speed, spoken_s, first, end, joins)
                making = _Making(parts, options, norms, self._pace, clause, sound)
                for piece in pieces_of(sound, self._pace, needed_at_s + spoken_s):
                    chunk = await self._inference.run(partial(making.make, piece), urgency=piece.urgency)
                    if chunk is not None:
                        yield chunk
                spoken_s += sound.spoken_s
                if sound.goes_on:
                    self._seams.keep(request, sound.seam)
        finally:
            options.terminate = True
            self._running.discard(options)

    def _load(self) -> tuple[KokoroParts, KokoroNorms]:
        require_files(self._model)
        self._voices.require()
        parts = KokoroParts.load(self._model, threads=self._threads)
        give_back_freed()
        return parts, KokoroNorms()


@dataclass(slots=True)
class _Making:
    """One run's sound, made piece by piece on the engine's thread: other calls' pieces come between."""

    parts: KokoroParts
    options: ort.RunOptions
    norms: KokoroNorms
    pace: Pace
    clause: ClauseFeatures
    sound: ClauseSound
    _statistics: NormStatistics | None = None

    def make(self, piece: Piece) -> SpeechChunk | None:
        """Blocks."""
        return self._whole() if piece.is_whole else self._window(piece)

    def _whole(self) -> SpeechChunk | None:
        begun_s = thread_time_s()
        samples, _ = self.parts.speak_whole(self.clause, self.options)
        self.pace.whole_took(thread_time_s() - begun_s, self.clause.frames)
        return self.sound.whole(samples)

    def _window(self, piece: Piece) -> SpeechChunk | None:
        sound, first = self.sound, piece.first
        if self._statistics is None:
            self._statistics = self.norms.predict(sound.voice, self.clause)
        begun_s = thread_time_s()
        # One frame more than is heard now: the next window is faded in over it.
        stop = piece.stop if piece.is_last else min(piece.stop + 1, self.clause.frames)
        if sound.exact is None:
            samples = self.parts.speak_window(self.clause, self._statistics, first, stop, self.options)
            self.pace.window_took(thread_time_s() - begun_s, piece.stop - first)
            if not plausible(samples):
                log.warning("a window was implausible, its clause is spoken whole")
                sound.exact, _ = self.parts.speak_whole(self.clause, self.options)
        if sound.exact is not None:
            samples = sound.exact[first * FRAME_SAMPLES : stop * FRAME_SAMPLES]
        return sound.window(first, samples, last=piece.is_last)
