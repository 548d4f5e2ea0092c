"""Kokoro's parts as a bench drives them: whole or in windows, whatever the machine is busy with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from media.audio import Audio, concatenate
from media.engines.g2p import PronouncedWord, pronounce
from media.engines.kokoro_clause import RATE_HZ, ClauseSound
from media.engines.kokoro_parts import ClauseFeatures, Floats, KokoroParts, NormStatistics
from media.engines.kokoro_runs import Run, runs_of
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, language_of
from media.engines.protocols import SpokenWord
from media.engines.window_plan import first_window, next_window, time_of
from server.model_store import ModelStore, default_root

USUAL_COST = 0.3
"""Windows are as large as they are where a frame takes this many frames of sound to make."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A clause after the front."""

    run: Run
    speed: float
    voice: str
    clause: ClauseFeatures

    def sound(self) -> ClauseSound:
        return ClauseSound(
            self.clause, self.run, self.voice, self.speed, 0.0, first=0, end=len(self.run.words)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A clause as it is heard.

    Attributes:
        audio: from its first sound to the end of its pause.
        words: and when they are said.
        seams: where one window follows another, in samples.
    """

    audio: Audio
    words: tuple[SpokenWord, ...]
    seams: tuple[int, ...] = ()


class Speaker:
    """Loads the model on `threads` threads."""

    def __init__(self, *, threads: int = 2) -> None:
        store = ModelStore(default_root())
        self.parts = KokoroParts.load(
            store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx", threads=threads
        )
        self._options = ort.RunOptions()

    def prepare(self, voice: str, text: str, speed: float = 1.0) -> Prepared:
        """The front's work. A text between slashes is phonemes."""
        run = run_of(voice, text)
        clause = self.parts.prepare(run.token_ids, style_of(voice, run), speed, self._options)
        return Prepared(run, speed, voice, clause)

    def samples(self, prepared: Prepared) -> tuple[Floats, NormStatistics]:
        """All of the clause, silence around it included, and its norms' statistics."""
        return self.parts.speak_whole(prepared.clause, self._options)

    def whole(self, prepared: Prepared) -> Spoken:
        samples, _ = self.samples(prepared)
        chunk = prepared.sound().whole(samples)
        if chunk is None:
            raise ValueError(f"{prepared.run.words[0].text!r} has no sound")
        return Spoken(chunk.audio, chunk.words)

    def in_windows(self, prepared: Prepared, statistics: NormStatistics) -> Spoken:
        """By given statistics, in the windows of a machine that does nothing else."""
        sound = prepared.sound()
        at, end = sound.frames_heard
        parts: list[Audio] = []
        words: list[SpokenWord] = []
        size, unheard_frames = first_window(end - at, USUAL_COST, 0), 0.0
        while at < end:
            is_last = at + size == end
            stop = at + size if is_last else min(at + size + 1, prepared.clause.frames)
            samples = self.parts.speak_window(prepared.clause, statistics, at, stop, self._options)
            chunk = sound.window(at, samples, last=is_last)
            if chunk is not None:
                parts.append(chunk.audio)
                words += chunk.words
            at += size
            unheard_frames = max(0.0, unheard_frames - time_of(size, USUAL_COST)) + size
            size = next_window(end - at, USUAL_COST, unheard_frames)
        seams = np.cumsum([len(part) for part in parts[:-1]])
        return Spoken(concatenate(parts, RATE_HZ), tuple(words), tuple(int(seam) for seam in seams))


def run_of(voice: str, text: str) -> Run:
    """A text that fits into one run; one between slashes is phonemes."""
    if text.startswith("/"):
        return Run((PronouncedWord(text, text[1:-1]),))
    (run,) = runs_of(pronounce(text, language_of(voice)))
    return run


def style_of(voice: str, run: Run) -> Floats:
    file = ModelStore(default_root()).path("kokoro-voices") / f"{voice}.bin"
    styles = np.fromfile(file, np.float32).reshape(STYLE_ROWS, 1, STYLE_WIDTH)
    style: Floats = styles[len(run.token_ids) - 1]
    return style
