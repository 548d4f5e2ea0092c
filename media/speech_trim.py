"""Cutting synthesised speech to its sound, and giving back the pause that its punctuation deserves.

A TTS model surrounds each clause with silence (Kokoro: 220-390 ms before, 355-700 ms after). Played one after
the other, clauses would stand in holes of most of a second, and every answer would begin late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FADE_S = 0.005
"""Both ends are faded over this long, so that no step in the waveform clicks."""

_FRAME_S = 0.005
_FLOOR_BELOW_PEAK_DB = 42.0
"""What is quieter than the loudest frame by this is not speech: breath and the model's noise floor."""

TAIL_S = 0.030
"""Kept after the last sound: its decay. It counts as part of the pause."""

_CLOSERS = "\"'”’»)]」』"

NO_PAUSE_S = 0.06
"""After a clause that ends with no mark."""

PAUSE_AFTER_S = {
    **dict.fromkeys(",،、，", 0.17),
    **dict.fromkeys("—–", 0.20),
    **dict.fromkeys(";；", 0.26),
    **dict.fromkeys(":：", 0.28),
    **dict.fromkeys(".!。！।॥．", 0.30),
    **dict.fromkeys("?？؟…", 0.32),
}
"""The last mark of a clause → silence after it, in seconds, at the voice's own speed.

The medians of what Kokoro itself leaves after that mark inside a longer text (three voices, three texts).
"""


@dataclass(frozen=True, slots=True, eq=False)
class TrimmedSpeech:
    """Speech without the silence around it.

    Attributes:
        samples: float32, shape (n,): from just before the onset to the end of the pause.
        lead_samples: how many samples were cut from the front.
    """

    samples: npt.NDArray[np.float32]
    lead_samples: int


def pause_after_s(text: str, *, speed: float = 1.0) -> float:
    """The pause that a clause's final punctuation deserves, whatever the voice."""
    return PAUSE_AFTER_S.get(final_character(text), NO_PAUSE_S) / speed


def final_character(text: str) -> str:
    """Its last one, be it a mark; quotes and brackets after it do not count, three dots are one."""
    last = text.rstrip().rstrip(_CLOSERS).rstrip()[-3:]
    return "…" if last == "..." else last[-1:]


def trim_speech(samples: npt.NDArray[np.float32], rate_hz: int, *, pause_s: float) -> TrimmedSpeech:
    """Cuts speech to its sound and appends silence; empty where there is no sound at all.

    Args:
        samples: float32, shape (n,).
        rate_hz: of the samples.
        pause_s: silence from the last sound to the end.
    """
    bounds = sound_bounds(samples, rate_hz)
    if bounds is None:
        return TrimmedSpeech(samples[:0], 0)
    # Nothing before the onset is kept: Opus adds 6.5 ms of its own, and a first packet would be silent.
    start, end = bounds
    kept = samples[start : end + round(min(TAIL_S, pause_s) * rate_hz)].copy()
    fade = min(round(FADE_S * rate_hz), len(kept) // 2)
    ramp = np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32)
    kept[:fade] *= ramp
    kept[len(kept) - fade :] *= ramp[::-1]
    spoken = end - start + round(pause_s * rate_hz)
    return TrimmedSpeech(np.pad(kept, (0, max(0, spoken - len(kept)))), start)


def sound_bounds(
    samples: npt.NDArray[np.float32], rate_hz: int, *, peak: float | None = None
) -> tuple[int, int] | None:
    """The first and the last sounding frame of 5 ms, as samples (the end is exclusive); None in silence.

    What sounds is measured against the loudest frame, or against that of a louder whole: `peak` is its
    largest sample.
    """
    frame = round(_FRAME_S * rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.mean(np.square(frames), axis=1)
    if not len(power) or power.max() <= 0.0:
        return None
    # A frame's power is at most the square of its peak; speech stays about 9 dB below that.
    loudest = power.max() if peak is None else max(float(power.max()), peak**2 / 8)
    sounding = np.flatnonzero(power > loudest * 10 ** (-_FLOOR_BELOW_PEAK_DB / 10))
    if not len(sounding):
        return None
    return int(sounding[0]) * frame, (int(sounding[-1]) + 1) * frame
