"""One run of Kokoro as it is heard: trimmed to its sound, joined from windows, its words timed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from media.audio import Audio
from media.engines.kokoro_parts import FRAME_SAMPLES, Floats
from media.engines.kokoro_pauses import pause_after_s
from media.engines.kokoro_runs import Run, word_spans
from media.engines.protocols import SpeechChunk, SpokenWord
from media.speech_trim import FADE_S, TAIL_S, sound_bounds, trim_speech

RATE_HZ = 24_000

SOUND_LEAD_S = 0.06
"""Kokoro's sounds come this long before the durations say (the median at the ends of pauses)."""

SEAM_SAMPLES = 120
"""Windows are cross-faded over 5 ms: each has its own quantisation, so they meet almost but not quite."""

_AFTER_S = 0.14
"""What is made at most after the last sound, as the durations have it."""

_SOUNDS_FROM = -2.0
_BEFORE_FRAMES = 1
"""The first sound comes 0.8 frames (the median) after the predicted loudness first exceeds this, 98 times of
a hundred from 0.8 before to 3.6 after it: 872 clauses in 54 voices."""

_AFTER_FRAMES = 4
"""What is made at most after the predicted loudness last exceeds `_SOUNDS_FROM`: some voices are silent 0.2 s
before the durations say, and silence that was handed out cannot be taken back."""

_EARLIEST_S = 0.15
"""So long before the durations say, and longer, there is no first sound, but now and then a breath."""

_JOIN_SAMPLES = 240
_JOIN_SHIFT_SAMPLES = 160
"""Where a clause goes on from another request's beginning of it, the two are joined over 10 ms, where within
6.7 ms to each side the waveforms are most alike: more than a period of most voices."""

_AUDIBLE = 0.003
"""A first window whose loudest sample is below this (−50 dBFS) is silence, and is left out."""

_CLAUSE_PEAK = 0.7
"""The loudest sample of a clause of Kokoro's: 0.66 (the median of 70 clauses in 14 voices), 0.50 to 0.96 nine
times of ten. A first window may hold no more than its soft beginning, which says little of that. Were it 0.5,
as of unknown voices (`media.streamed_trim`), one onset in seven would lie 5 ms earlier."""


class ClauseShape(Protocol):
    """What every backend's front tells of a clause before its sound is made."""

    @property
    def frames(self) -> int: ...

    @property
    def loudness(self) -> Floats:
        """The logarithm of the energy, as the model predicts it, one value for each frame."""

    @property
    def durations(self) -> Floats:
        """How many pairs of frames each token lasts, pads included, (tokens,)."""


@dataclass(slots=True)
class ClauseSound:
    """Turns the samples of a run into chunks: those of the whole, or of one window after the other.

    Args:
        clause: from the front.
        run: its words.
        voice: one of the 54, or a mixture of them.
        speed: as asked for.
        offset_s: where this run begins in its clause.
        first: the first of its words that is to be heard; those before it were.
        end: the word behind the last one to be heard; the others are to come.
        joins: what the sound before the first word went on with, if that is known.
    """

    clause: ClauseShape
    run: Run
    voice: str
    speed: float
    offset_s: float
    first: int
    end: int
    joins: Floats | None = None
    exact: Floats | None = None
    """The samples of the whole, where windows of it turned out implausible."""
    _spoken_samples: int = 0
    _quiet_samples: int = 0
    """At the end of what was handed out: a part of the pause already."""
    _onset_samples: int | None = None
    _peak: float = 0.0
    _seam: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    _told_words: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of the run is to be heard."""
        return not self.goes_on and not self.is_begun

    @property
    def is_begun(self) -> bool:
        """Whether words of it were heard already."""
        return self.first > 0

    @property
    def goes_on(self) -> bool:
        """Whether words of it are to come."""
        return self.end < len(self.run.words)

    @property
    def frames_heard(self) -> tuple[int, int]:
        """The first and the last (exclusive) frame that windows must make."""
        spans = word_spans(self.run.words)
        ends_s = self._token_ends_s()
        frame_s = FRAME_SAMPLES / RATE_HZ
        sounding = np.flatnonzero(self.clause.loudness.reshape(-1) > _SOUNDS_FROM)
        sounds_from, sounds_to = (sounding[0], sounding[-1] + 1) if len(sounding) else (0, self.clause.frames)
        if self.goes_on:
            end = math.ceil((self._word_start_samples(self.end) + _JOIN_SAMPLES) / FRAME_SAMPLES)
        else:
            end = math.ceil((ends_s[spans[-1][1] + 1] - SOUND_LEAD_S + _AFTER_S) / frame_s)
            end = min(end, int(sounds_to) + _AFTER_FRAMES)
        if self.is_begun:
            start = int((self._word_start_samples(self.first) - _JOIN_SHIFT_SAMPLES) / FRAME_SAMPLES)
        else:
            # What the durations say is up to 0.1 s off. A slower speed stretches the silence in front as they
            # have it, but not as it sounds.
            earliest_s = ends_s[spans[0][0]] * min(1.0, self.speed) - _EARLIEST_S
            start = max(int(earliest_s / frame_s), int(sounds_from) - _BEFORE_FRAMES)
        start = min(max(0, start), self.clause.frames - 1)
        return start, min(self.clause.frames, max(start + 1, end))

    @property
    def spoken_s(self) -> float:
        """How much was handed out so far."""
        return self._spoken_samples / RATE_HZ

    @property
    def pause_s(self) -> float:
        """What is to be heard after its last sound, in all."""
        if self.goes_on:
            return 0.0
        spans, ends_s = word_spans(self.run.words), self._token_ends_s()
        sound_s = float(ends_s[spans[-1][1] + 1] - ends_s[spans[0][0]])
        return pause_after_s(self.voice, self.run.words[-1].text, sound_s, speed=self.speed)

    @property
    def seam(self) -> Floats:
        """Once all of it was handed out: what its sound would have gone on with."""
        return self._seam

    def whole(self, samples: Floats) -> SpeechChunk | None:
        """The one chunk of a run that was made whole; None where it has no sound."""
        speech = trim_speech(samples, RATE_HZ, pause_s=self.pause_s)
        if not len(speech.samples):
            return None
        self._onset_samples = speech.lead_samples
        return self._chunk(speech.samples, last=True)

    def window(self, start: int, samples: Floats, *, last: bool) -> SpeechChunk | None:
        """The chunk of a window.

        Args:
            start: its first frame.
            samples: its own, and `SEAM_SAMPLES` or more of what follows unless it is the last.
            last: nothing follows.

        Returns:
            None where all of it lies before the first sound.
        """
        if not last:
            samples, following = samples[:-FRAME_SAMPLES], samples[-FRAME_SAMPLES:][:SEAM_SAMPLES]
        elif self.goes_on:
            cut = max(0, self._word_start_samples(self.end) - start * FRAME_SAMPLES)
            samples, following = samples[:cut], samples[cut : cut + _JOIN_SAMPLES]
        else:
            following = samples[:0]
        samples = self._joined(samples)
        self._seam = following
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        if self._onset_samples is None:
            samples = self._from_word(start, samples) if self.is_begun else self._from_onset(start, samples)
            if not len(samples):
                return None
        bounds = sound_bounds(samples, RATE_HZ, peak=self._peak)
        if last and not self.goes_on:
            samples = self._ended(samples, bounds[1] if bounds else 0)
        elif bounds:
            self._quiet_samples = len(samples) - bounds[1]
        else:
            self._quiet_samples += len(samples)
        return self._chunk(samples, last=last)

    def _joined(self, samples: Floats) -> Floats:
        seam = min(len(self._seam), len(samples))
        if not seam:
            return samples.copy()
        ramp = np.linspace(0.0, 1.0, seam, endpoint=False, dtype=np.float32)
        joined = samples.copy()
        joined[:seam] = samples[:seam] * ramp + self._seam[:seam] * (1 - ramp)
        return joined

    def _from_word(self, start: int, samples: Floats) -> Floats:
        """Joined to what was heard of the clause."""
        at = max(0, self._word_start_samples(self.first) - start * FRAME_SAMPLES)
        joins = self.joins if self.joins is not None else samples[:0]
        at = _most_alike(joins, samples, at)
        self._onset_samples = start * FRAME_SAMPLES + at
        kept = samples[at:].copy()
        fade = min(_JOIN_SAMPLES, len(kept))
        ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
        kept[:fade] *= ramp
        both = min(fade, len(joins))
        kept[:both] += joins[:both] * (1 - ramp[:both])
        return kept

    def _from_onset(self, start: int, samples: Floats) -> Floats:
        bounds = sound_bounds(samples, RATE_HZ, peak=_CLAUSE_PEAK)
        if bounds is None or self._peak < _AUDIBLE:
            return samples[:0]
        cut = bounds[0]
        self._onset_samples = start * FRAME_SAMPLES + cut
        kept = samples[cut:]
        fade = min(round(FADE_S * RATE_HZ), len(kept))
        kept[:fade] *= np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
        return kept

    def _ended(self, samples: Floats, end: int) -> Floats:
        """Cut after the last sound, faded, and followed by what is left of the pause that is due."""
        kept = samples[: end + round(min(TAIL_S, self.pause_s) * RATE_HZ)]
        fade = min(round(FADE_S * RATE_HZ), len(kept))
        if fade:
            kept[-fade:] *= np.linspace(1.0, 0.0, fade, endpoint=False, dtype=np.float32)
        quiet = len(kept) - end if end else len(kept) + self._quiet_samples
        return np.pad(kept, (0, max(0, round(self.pause_s * RATE_HZ) - quiet)))

    def _chunk(self, samples: Floats, *, last: bool) -> SpeechChunk:
        self._spoken_samples += len(samples)
        words = self._words(max(0.0, self.spoken_s - self.pause_s) if last else math.inf)
        told = len(words) if last else self._told_words
        # The last word's end is known when the sound's is.
        while told < len(words) - 1 and words[told].start_s - self.offset_s < self.spoken_s:
            told += 1
        fresh, self._told_words = words[self._told_words : told], told
        return SpeechChunk(Audio(samples, RATE_HZ), tuple(fresh))

    def _words(self, end_s: float) -> list[SpokenWord]:
        """The words to be heard, timed from the first sample; the run's own sound ends at `end_s`."""
        shift_s = (self._onset_samples or 0) / RATE_HZ + SOUND_LEAD_S
        times_s = np.clip(self._token_ends_s() - shift_s, 0.0, end_s) + self.offset_s
        if not self.is_begun:
            times_s[word_spans(self.run.words)[0][0]] = self.offset_s  # see `frames_heard`
        words = [
            SpokenWord(word.text, float(times_s[first]), float(times_s[last + 1]))
            for word, (first, last) in zip(self.run.words, word_spans(self.run.words), strict=True)
        ]
        return words[self.first : self.end]

    def _word_start_samples(self, word: int) -> int:
        """Where a word's sound begins, in samples of the run."""
        token = word_spans(self.run.words)[word][0]
        return max(0, round((float(self._token_ends_s()[token]) - SOUND_LEAD_S) * RATE_HZ))

    def _token_ends_s(self) -> npt.NDArray[np.float64]:
        """Where each token ends in the run, the pad before the first one at index 0."""
        frames = np.cumsum(self.clause.durations, dtype=np.float64) * 2
        ends_s: npt.NDArray[np.float64] = frames * FRAME_SAMPLES / RATE_HZ
        return ends_s


def _most_alike(joins: Floats, samples: Floats, at: int) -> int:
    """Where near `at` the samples are most like what they are to be joined to."""
    first = max(0, at - _JOIN_SHIFT_SAMPLES)
    last = min(len(samples) - len(joins), at + _JOIN_SHIFT_SAMPLES)
    if not len(joins) or last <= first:
        return at
    near = np.lib.stride_tricks.sliding_window_view(samples[first : last + len(joins)], len(joins))
    likeness = near @ joins / (np.linalg.norm(near, axis=1) + np.float32(1e-6))
    return first + int(np.argmax(likeness))
