"""Cutting speech to its sound while it comes in, as `media.speech_trim` does with all of it at hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from media.speech_trim import FADE_S, TAIL_S, sound_bounds

Floats = npt.NDArray[np.float32]

_LEAST_PEAK = 0.5
"""The loudest sample of speech, of whatever voice, until a louder one comes: its beginning alone says little
of how loud it will be. On the low side, since nothing of a soft voice's first sound is to be cut."""


class StreamedTrim:
    """One clause's.

    A silence is kept back until there is sound behind it: a pause within the clause comes with what follows
    it, and the silence behind the clause is replaced.

    Args:
        rate_hz: of the samples.
        pause_s: silence from the last sound to the end.
    """

    def __init__(self, rate_hz: int, *, pause_s: float) -> None:
        self._rate_hz = rate_hz
        self._pause_s = pause_s
        self._fade_samples = round(FADE_S * rate_hz)
        self._held: Floats = np.zeros(0, np.float32)
        self._peak = _LEAST_PEAK
        self._begun = False

    def push(self, samples: Floats) -> Floats:
        """More of it. Gives what is to be heard by now, from its onset on; may be empty."""
        self._held = np.concatenate([self._held, samples])
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        bounds = sound_bounds(self._held, self._rate_hz, peak=self._peak)
        if bounds is None:
            return self._held[:0]
        onset, end = bounds
        if not self._begun:
            self._begun = True
            self._held = self._held[onset:].copy()
            end -= onset
            fade = min(self._fade_samples, len(self._held))
            self._held[:fade] *= np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
        heard = max(0, end - self._fade_samples)  # the last of it may have to be faded out
        out, self._held = self._held[:heard], self._held[heard:]
        return out

    def finish(self) -> Floats:
        """What is left, its end, and the pause; empty where there was no sound at all."""
        if not self._begun:
            return self._held[:0]
        sound = min(self._fade_samples, len(self._held))
        kept = self._held[: sound + round(min(TAIL_S, self._pause_s) * self._rate_hz)].copy()
        fade = min(self._fade_samples, len(kept))
        kept[len(kept) - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
        missing = sound + round(self._pause_s * self._rate_hz) - len(kept)
        return np.pad(kept, (0, max(0, missing)))
