"""The log-mel spectrogram that Whisper, and all that was built from its encoder, listens to.

As in `whisper/audio.py` (Radford et al. 2022, section 2.2): 25 ms Hann windows every 10 ms at 16 kHz, power,
Slaney mel bands, log10 floored 8 below the loudest, then scaled to about [-1, 1].
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FRAMES_PER_S = 100

_RATE_HZ = 16_000
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0

_HANN = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)


def log_mel(samples: npt.NDArray[np.float32], *, bands: int = 80) -> npt.NDArray[np.float32]:
    """Shape (bands, len(samples) // 160).

    Args:
        samples: 16 kHz in [-1, 1], at least 201 of them (the edges are reflected).
        bands: 80, or 128 for Whisper large-v3.
    """
    padded = np.pad(samples, WINDOW_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    frames = frames[: len(samples) // HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * _HANN, axis=-1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    levels = np.log10(np.maximum(_mel_filters(bands) @ power.T.astype(np.float32), np.float32(1e-10)))
    levels = np.maximum(levels, levels.max() - np.float32(8.0))
    return np.ascontiguousarray((levels + np.float32(4.0)) / np.float32(4.0), dtype=np.float32)


@cache
def _mel_filters(bands: int) -> npt.NDArray[np.float32]:
    """Triangles of equal area on Slaney's mel scale (linear to 1 kHz, then logarithmic), (bands, 201)."""
    bins_hz = np.fft.rfftfreq(WINDOW_SAMPLES, d=1.0 / _RATE_HZ)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(_RATE_HZ / 2), bands + 2))
    widths_hz = np.diff(edges_hz)
    distances_hz = edges_hz[:, None] - bins_hz[None, :]
    rising = -distances_hz[:-2] / widths_hz[:-1, None]
    falling = distances_hz[2:] / widths_hz[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    filters: npt.NDArray[np.float32] = triangles.astype(np.float32)
    return filters


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above_knee = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ_PER_MEL, above_knee)
