"""How one rendering of a clause differs from another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from media.engines.kokoro_clause import RATE_HZ, SEAM_SAMPLES
from media.engines.kokoro_parts import Floats
from media.engines.protocols import SpokenWord

_FARTHEST_S = 0.1
_CLOSE_S = 0.015
_BENDS_FLOOR = 1e-3
_QUIET_BELOW_PEAK_DB = 38.0
_FRAME_SAMPLES = RATE_HZ // 200
_NEAR_FRAMES = 140
"""A pause is looked for 0.7 s around where it should be: whispering voices pause for 0.8 s."""


def aligned(one: Floats, other: Floats) -> tuple[Floats, Floats, int]:
    """The parts of two renderings that lie on each other best, and where `one` is cut.

    They may begin up to 0.1 s apart: each is trimmed to its own first sound.
    """
    size = 1 << (len(one) + len(other)).bit_length()
    product = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    farthest = round(_FARTHEST_S * RATE_HZ)
    lags = np.arange(-farthest, farthest + 1)
    lag = int(lags[np.argmax(product[lags])])
    first, second = (one[lag:], other) if lag >= 0 else (one, other[-lag:])
    length = min(len(first), len(second))
    return first[:length], second[:length], max(0, lag)


def level_difference_db(one: Floats, other: Floats) -> float:
    return 10 * float(np.log10(np.mean(np.square(one)) / np.mean(np.square(other))))


def mel_distance_db(one: Floats, other: Floats) -> float:
    """The mean absolute difference of their mel spectra, each floored 40 dB or so below full speech."""
    return float(np.mean(np.abs(_mel_db(one) - _mel_db(other))))


def step_db(one: Floats, other: Floats, seam: int) -> float:
    """How much more sharply `one` bends at a seam than `other` does around it.

    A step of the waveform bends it more than speech does. It is searched for where a cross-fade begins and
    where it ends.
    """
    close = round(_CLOSE_S * RATE_HZ)
    ends = [seam, seam + SEAM_SAMPLES]
    bends = max(float(np.max(_bends(one[max(0, end - 4) : end + 4]), initial=0.0)) for end in ends)
    usual = float(np.max(_bends(other[max(0, seam - close) : seam + close + SEAM_SAMPLES]), initial=0.0))
    return 20 * float(np.log10((bends + _BENDS_FLOOR) / (usual + _BENDS_FLOOR)))


def longest_quiet_s(samples: Floats, words: Sequence[SpokenWord], before_word: int) -> float:
    """The pause in front of a word: the longest run of quiet frames near where it should be."""
    power = np.mean(
        np.square(samples[: len(samples) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)), 1
    )
    quiet = power < power.max() * 10 ** (-_QUIET_BELOW_PEAK_DB / 10)
    middle = round((words[before_word - 1].end_s + words[before_word].start_s) / 2 * 200)
    longest = length = 0
    for is_quiet in quiet[max(0, middle - _NEAR_FRAMES) : middle + _NEAR_FRAMES]:
        length = length + 1 if is_quiet else 0
        longest = max(longest, length)
    return longest / 200


def _bends(samples: Floats) -> Floats:
    return np.abs(np.diff(samples, 2))


def _mel_db(samples: Floats, bands: int = 80, size: int = 1024) -> Floats:
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4] * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(frames))
    hertz = np.linspace(0, RATE_HZ / 2, size // 2 + 1)
    mels = 2595 * np.log10(1 + hertz / 700)
    edges = np.linspace(0, mels[-1], bands + 2)
    rising = (mels - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mels) / (edges[2:] - edges[1:-1])[:, None]
    bank = np.clip(np.minimum(rising, falling), 0, None)
    result: Floats = 20 * np.log10(spectrum @ bank.T + 1e-2)
    return result
