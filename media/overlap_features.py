"""What a sound that overlaps the assistant's speech is like: the numbers for `media/overlap.py`.

All of it is relative to the sound's own loudest moment, so that a quiet microphone is heard like a loud one.
The sound is described twice: as a whole (timbre, pitch, envelope), and in slots of 64 ms from the onset on,
since "right" and "wait" differ in what comes when. What has not been heard yet is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import VAD_WINDOW_SAMPLES

LEAD_WINDOWS = 5
"""Windows of `sound` before the onset: 160 ms."""

HOP_SAMPLES = VAD_WINDOW_SAMPLES // 2
"""A frame is as long as a VAD window, and there are two of them a window."""

SLOT_FRAMES = 4
SLOTS_BEFORE = 2
SLOTS_AFTER = 8
"""The last of them holds all that came after the others."""

_BANDS = 40
_CEPSTRA = 12
_VOICING, _PITCH = _CEPSTRA + 1, _CEPSTRA + 2
"""Columns of the track: the level, the cepstra, then these and others."""
_ALL_BUT_PITCH = np.array([column for column in range(_CEPSTRA + 8) if column != _PITCH])
_FLOOR_DB = 60.0
"""What is quieter than the loudest band by this is as good as silent."""
_LOUD_DB = 25.0
"""A frame within this of the loudest one belongs to the sound."""
_VOICED = 0.55
_PITCH_BINS = VAD_WINDOW_SAMPLES // 4 + 1
"""Pitch is sought below 4 kHz, at 8 kHz."""
_PITCH_RATE_HZ = SPEECH_RATE_HZ // 2
_SHORTEST_LAG = _PITCH_RATE_HZ // 400
_LONGEST_LAG = _PITCH_RATE_HZ // 66

Floats: TypeAlias = npt.NDArray[np.float32]

_HANN = np.hanning(VAD_WINDOW_SAMPLES + 2)[1:-1].astype(np.float32)
_BINS_HZ = np.fft.rfftfreq(VAD_WINDOW_SAMPLES, 1 / SPEECH_RATE_HZ)


def _mel_bank() -> Floats:
    """Triangles on the mel scale from 60 to 7600 Hz, (bins, bands), each of sum 1."""
    mels = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7600 / 700), _BANDS + 2)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    rising = (_BINS_HZ[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - _BINS_HZ[:, None]) / np.diff(edges_hz)[1:]
    bank = np.clip(np.minimum(rising, falling), 0, None)
    shares: Floats = (bank / np.maximum(bank.sum(axis=0), 1e-3)).astype(np.float32)
    return shares


def _cosines() -> Floats:
    """The discrete cosine transform of the bands, without its constant: (bands, cepstra)."""
    angles = np.pi * (np.arange(_BANDS) + 0.5)[:, None] * np.arange(1, _CEPSTRA + 1) / _BANDS
    cosines: Floats = (np.cos(angles) * np.sqrt(2 / _BANDS)).astype(np.float32)
    return cosines


def _window_correlation() -> Floats:
    """The window's own autocorrelation at voices' lags: that of a frame is divided by it (Boersma 1993)."""
    whole = np.fft.irfft(np.abs(np.fft.rfft(_HANN)[:_PITCH_BINS]) ** 2)
    lags: Floats = (whole[_SHORTEST_LAG - 1 : _LONGEST_LAG + 2] / whole[0]).astype(np.float32)
    return lags


_MEL_BANK = _mel_bank()
_COSINES = _cosines()
_WINDOW_CORRELATION = _window_correlation()
_LOW_BINS = (_BINS_HZ < 500).astype(np.float32)
_HIGH_BINS = (_BINS_HZ > 3400).astype(np.float32)
_MIDDLE_HZ = _BINS_HZ.astype(np.float32)


def describe(sound: Audio, speech: Sequence[float]) -> Floats:
    """The numbers, NaN for what has not been heard yet.

    Args:
        sound: as for `OverlapClassifier.judge`: whole windows at 16 kHz.
        speech: P(speech) of each.

    Raises:
        ValueError: another rate, or another number of windows than of probabilities, or none.
    """
    windows = len(speech)
    if sound.rate_hz != SPEECH_RATE_HZ or len(sound) != windows * VAD_WINDOW_SAMPLES or not windows:
        raise ValueError(
            f"{windows} probabilities do not describe {len(sound)} samples at {sound.rate_hz} Hz"
        )
    frames = np.lib.stride_tricks.sliding_window_view(sound.as_float32(), VAD_WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * _HANN, axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32) + np.float32(1e-7)
    onset = 2 * min(LEAD_WINDOWS, windows - 1)

    bands_db = 10 * np.log10(power @ _MEL_BANK)
    bands_db = np.maximum(bands_db, bands_db.max() - np.float32(_FLOOR_DB))
    energy = power.sum(axis=1)
    level_db = 10 * np.log10(energy)
    level_db = np.maximum(level_db - level_db[onset:].max(), np.float32(-_FLOOR_DB))
    voicing, octaves = _pitch(power)
    probabilities = np.repeat(np.asarray(speech, np.float32), 2)[: len(frames)]
    flatness = bands_db.mean(axis=1) - 10 * np.log10(np.mean(10 ** (bands_db / 10), axis=1))
    track = np.column_stack(
        [
            level_db / 10,
            bands_db @ _COSINES / 20,
            voicing,
            np.where(voicing > _VOICED, octaves, np.nan),
            flatness / 10,
            (power @ _LOW_BINS) / energy,
            (power @ _HIGH_BINS) / energy,
            np.log2(power @ _MIDDLE_HZ / energy) - 10,
            probabilities,
        ]
    ).astype(np.float32)
    return np.concatenate([_in_slots(track, onset), _as_a_whole(track, onset, windows)])


def _pitch(power: Floats) -> tuple[Floats, Floats]:
    """How periodic each frame is (about 0 to 1), and its fundamental in octaves above 100 Hz."""
    correlation = np.fft.irfft(power[:, :_PITCH_BINS], axis=1)
    lags = correlation[:, _SHORTEST_LAG - 1 : _LONGEST_LAG + 2] / correlation[:, :1] / _WINDOW_CORRELATION
    inner = lags[:, 1:-1]
    peaks = np.where((inner >= lags[:, :-2]) & (inner >= lags[:, 2:]), inner, np.float32(0))
    highest = peaks.max(axis=1)
    # The first peak nearly as high as the highest: later ones are its multiples.
    lag = np.argmax(peaks >= 0.9 * highest[:, None], axis=1) + _SHORTEST_LAG
    octaves = np.log2(_PITCH_RATE_HZ / 100 / lag)
    return np.clip(highest, 0, 1.2).astype(np.float32), octaves.astype(np.float32)


def _in_slots(track: Floats, onset: int) -> Floats:
    """The track's mean in each slot; of the pitch, that of its voiced frames."""
    edges = onset + SLOT_FRAMES * np.arange(-SLOTS_BEFORE, SLOTS_AFTER + 1)
    edges[-1] = max(len(track), edges[-1])
    edges = np.clip(edges, 0, len(track))
    voiced = ~np.isnan(track[:, _PITCH, None])
    known = np.concatenate([np.where(np.isnan(track), np.float32(0), track), voiced], axis=1)
    sums = np.zeros((len(track) + 1, known.shape[1]), np.float32)
    np.cumsum(known, axis=0, out=sums[1:])
    slots = np.diff(sums[edges], axis=0)
    frames = np.diff(edges).astype(np.float32)[:, None]
    counts = np.repeat(frames, track.shape[1], axis=1)
    counts[:, _PITCH] = slots[:, -1]
    means = slots[:, :-1] / np.where(counts > 0, counts, np.float32(np.nan))
    flat: Floats = means.reshape(-1).astype(np.float32)
    return flat


def _as_a_whole(track: Floats, onset: int, windows: int) -> Floats:
    """Timbre, pitch and envelope of all that was heard since the onset, of whatever length."""
    since = track[onset:]
    level = since[:, 0]
    loud = since[level > -_LOUD_DB / 10]
    pitch = loud[:, _PITCH]
    pitch = pitch[~np.isnan(pitch)]
    speech = since[::2, -1]
    others = loud[:, _ALL_BUT_PITCH]
    steps = np.diff(since[:, : _CEPSTRA + 1], axis=0)
    loudest = int(np.argmax(level))
    numbers = [
        np.log2((windows * 2 - onset) / 2),
        len(loud) / len(level),
        level[-3:].mean(),
        level[loudest:].min(),
        level[-1] - level[-5:].mean(),
        level.std(),
        loudest / len(level),
        min(loudest, 30) / 10,
        track[: max(1, onset - 2), 0].mean(),
        track[: max(1, onset - 2), 0].max(),
        np.maximum(steps[:, 0], 0).mean() if len(steps) else 0.0,
        np.maximum(steps[:, 0], 0).max(initial=0.0),
        np.minimum(steps[:, 0], 0).min(initial=0.0),
        np.abs(steps).mean() if len(steps) else 0.0,
        (loud[:, _VOICING] > _VOICED).mean(),
        len(pitch) / len(level),
        speech.min(),
        speech.max(),
        speech[-1],
        speech[-3:].mean(),
        speech.mean(),
        (speech > 0.5).mean(),
    ]
    melody = (np.median(pitch), pitch.std(), pitch[-1] - pitch[0]) if len(pitch) > 1 else (np.nan,) * 3
    change = np.abs(steps).mean(axis=0) if len(steps) else np.zeros(_CEPSTRA + 1)
    timbre = [others.mean(axis=0), others.std(axis=0), change]
    row: Floats = np.concatenate([np.array([*numbers, *melody], np.float32), *timbre]).astype(np.float32)
    return row
