"""How late sound is, all the time: a noise is sent, and found again in what arrives.

The noise never repeats itself, so that three packets of it tell where in the signal they come from: at the
lag of the highest normalised cross-correlation. What was concealed or distorted correlates with nothing, and
is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ, Audio, concatenate

WINDOW_S = 0.06
"""Of the sound that is looked for: three packets."""
LONGEST_DELAY_S = 1.5
RECOGNISED = 0.5
"""Correlation from which it is the same sound. Opus leaves 0.8 and more of this noise; chance gives 0.2."""

_LOWEST_HZ, _HIGHEST_HZ = 200.0, 2000.0
_LEVEL = 0.1
_EARLIEST_S = -0.05
"""Somewhat before it could have been sent: nothing is decided here about clocks."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound that was handed over.

    Attributes:
        at_s: when, in loop time.
        audio: 16 kHz.
    """

    at_s: float
    audio: Audio


@dataclass(frozen=True, slots=True)
class Sighting:
    """Sound that was recognised.

    Attributes:
        at_s: when it was handed over, in loop time.
        delay_s: between the moment at which its last sample was spoken and that.
    """

    at_s: float
    delay_s: float


def probe(duration_s: float, seed: int = 0) -> Audio:
    """A noise in the band of the voice, 16 kHz."""
    samples = round(duration_s * SPEECH_RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    frequencies_hz = np.fft.rfftfreq(samples, 1 / SPEECH_RATE_HZ)
    spectrum[(frequencies_hz < _LOWEST_HZ) | (frequencies_hz > _HIGHEST_HZ)] = 0
    noise = np.fft.irfft(spectrum, samples)
    return Audio((noise * (_LEVEL / noise.std())).astype(np.float32), SPEECH_RATE_HZ)


def sightings(sent: Audio, began_s: float, heard: Sequence[Piece]) -> list[Sighting]:
    """Where each piece that was handed over lies in what was sent.

    Args:
        sent: the probe.
        began_s: when its first sample was spoken, in loop time.
        heard: everything, in order.
    """
    stream = concatenate([piece.audio for piece in heard], SPEECH_RATE_HZ).as_float32()
    signal = sent.as_float32()
    window = round(WINDOW_S * SPEECH_RATE_HZ)
    found = []
    end = 0
    for piece in heard:
        end += len(piece.audio)
        if end < window or not len(piece.audio):
            continue
        spoken = round((piece.at_s - began_s) * SPEECH_RATE_HZ)
        first = max(0, spoken - round(LONGEST_DELAY_S * SPEECH_RATE_HZ))
        section = signal[first : max(0, spoken - round(_EARLIEST_S * SPEECH_RATE_HZ))]
        at = _found_at(stream[end - window : end], section)
        if at is not None:
            last_spoken_s = began_s + (first + at + window) / SPEECH_RATE_HZ
            found.append(Sighting(piece.at_s, piece.at_s - last_spoken_s))
    return found


def _found_at(window: Floats, section: Floats) -> int | None:
    """Where in `section` the window begins, in samples."""
    energy = float(np.dot(window, window))
    if len(section) < len(window) or energy <= 0:
        return None
    size = 1 << (len(section) - 1).bit_length()
    product = np.fft.rfft(section, size) * np.conj(np.fft.rfft(window, size))
    correlation = np.fft.irfft(product, size)[: len(section) - len(window) + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(section, dtype=np.float64))])
    energies = np.maximum(sums[len(window) :] - sums[: -len(window)], 1e-9)
    likeness = correlation / np.sqrt(energies * energy)
    best = int(np.argmax(likeness))
    return best if likeness[best] >= RECOGNISED else None
