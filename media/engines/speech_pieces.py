"""Long speech, cut where it is quietest, for engines that take a piece at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio

LONGEST_TAIL_S = 24.0
"""Beyond it the older part is transcribed for good. Whisper's window less the silence that it needs."""

SILENT_DBFS = -55.0
"""Audio that is nowhere louder adds no word to a transcript."""

_CUT_FROM_S = 14.0
_CUT_TO_S = 23.0
_CUT_STEP_SAMPLES = SPEECH_RATE_HZ // 50
_CUT_PAUSE_STEPS = 15
"""The quietest 0.3 s between these two is where the older part ends."""

_LEVEL_SAMPLES = 320

_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def quietest_cut(samples: npt.NDArray[np.float32]) -> int:
    """Where to cut speech of more than 23 s: the middle of the quietest 0.3 s between 14 s and 23 s."""
    start, end = round(_CUT_FROM_S * SPEECH_RATE_HZ), round(_CUT_TO_S * SPEECH_RATE_HZ)
    energy = np.square(samples[start:end]).reshape(-1, _CUT_STEP_SAMPLES).sum(axis=1)
    pauses = np.convolve(energy, np.ones(_CUT_PAUSE_STEPS), mode="valid")
    return start + round((int(np.argmin(pauses)) + _CUT_PAUSE_STEPS / 2) * _CUT_STEP_SAMPLES)


def loudest_dbfs(samples: npt.NDArray[np.float32]) -> float:
    """The level of the loudest 20 ms, in dBFS."""
    whole = samples[: len(samples) // _LEVEL_SAMPLES * _LEVEL_SAMPLES].reshape(-1, _LEVEL_SAMPLES)
    if not len(whole):
        return Audio(samples, SPEECH_RATE_HZ).level_dbfs()
    loudest = whole[np.argmax(np.square(whole).sum(axis=1))]
    return Audio(loudest, SPEECH_RATE_HZ).level_dbfs()


def joined(pieces: Sequence[str], language: str | None) -> str:
    """The words of pieces as those of the whole."""
    separator = "" if language in _UNSPACED_LANGUAGES else " "
    return separator.join(piece for piece in pieces if piece)
