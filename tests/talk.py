"""Sound with the fine structure of speech, for what a tone is too plain for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from media.audio import Audio

Wave = npt.NDArray[np.float32]


def talk(seed: int, length_s: float, rate_hz: int) -> Audio:
    """Somebody's syllables: voices of different seeds have another pitch and another pace.

    Args:
        seed: whose, and which.
        length_s: so much of them.
        rate_hz: of the audio; its content is the same at any.
    """
    chance = np.random.default_rng(seed)
    base_hz = chance.uniform(90, 220)
    sound = np.zeros(round(length_s * rate_hz), np.float32)
    at_s = 0.02
    while at_s < length_s:
        syllable_s = chance.uniform(0.05, 0.35)
        make = _vowel if chance.random() < 0.65 else _consonant
        syllable = make(chance, base_hz * chance.uniform(0.8, 1.3), syllable_s, rate_hz)
        start = round(at_s * rate_hz)
        sound[start : start + len(syllable)] += syllable[: len(sound) - start]
        at_s += syllable_s + chance.choice([0.0, 0.0, 0.03, 0.08, 0.25])
    return Audio(0.5 * sound / np.abs(sound).max(), rate_hz)


def _vowel(chance: np.random.Generator, hz: float, length_s: float, rate_hz: int) -> Wave:
    """Three formants that glide from one place to another."""
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    partials = np.arange(1, int(3900 / hz))[:, None] * hz
    way = time_s / length_s
    heights = np.full((len(partials), len(time_s)), 0.003)
    for low_hz, high_hz, width_hz, height in (
        (250, 900, 150, 1.0),
        (900, 2300, 200, 0.6),
        (2300, 3600, 250, 0.3),
    ):
        places_hz = chance.uniform(low_hz, high_hz, size=2)
        centre_hz = places_hz[0] + (places_hz[1] - places_hz[0]) * way
        heights += height * chance.uniform(0.2, 1) * np.exp(-(((partials - centre_hz) / width_hz) ** 2))
    wave = (heights * np.sin(2 * np.pi * partials * time_s)).sum(axis=0)
    return _swelling(chance, wave, way)


def _consonant(chance: np.random.Generator, hz: float, length_s: float, rate_hz: int) -> Wave:
    """Tones so close to one another that they are noise, in some band."""
    time_s = np.arange(round(0.5 * length_s * rate_hz)) / rate_hz
    low_hz = chance.uniform(500, 2800)
    tones_hz = chance.uniform(low_hz, low_hz + chance.uniform(400, 1200), size=(40, 1))
    wave = np.sin(2 * np.pi * (tones_hz * time_s + chance.random((40, 1)))).sum(axis=0) / 12
    return _swelling(chance, wave, time_s / (0.5 * length_s))


def _swelling(
    chance: np.random.Generator, wave: npt.NDArray[np.float64], way: npt.NDArray[np.float64]
) -> Wave:
    swell = np.sin(np.pi * way ** chance.uniform(0.4, 2)) ** chance.uniform(0.3, 1.2)
    sound: Wave = (wave * swell * 10 ** chance.uniform(-0.7, 0)).astype(np.float32)
    return sound
