"""Noises of machines, doors and rooms, made at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.overlap_sounds import EVENT_S, Sound
from media.audio import SPEECH_RATE_HZ

Chance: TypeAlias = np.random.Generator
Wave: TypeAlias = npt.NDArray[np.float64]


def generated(each: int) -> Iterator[Sound]:
    """What machines and doors make, at random."""
    for make in (_keys, _hum, _beep, _bell, _hiss, _knock, _horn, _melody):
        for number in range(each):
            chance = np.random.default_rng([len(make.__name__), number])
            samples = make(chance)
            samples = samples / max(1e-6, float(np.abs(samples).max())) * 0.5
            name = make.__name__.strip("_")
            yield Sound(f"{name} {number}", f"generated {name}", "noise", samples.astype(np.float32))


def time_axis_s(length_s: float) -> Wave:
    return np.arange(round(length_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ


def coloured(chance: Chance, samples: int, slope: float) -> Wave:
    """Noise whose amplitude falls as frequency to the power of `slope`: 0 is white, 1 is brown."""
    spectrum = np.fft.rfft(chance.normal(size=samples))
    hertz = np.maximum(np.fft.rfftfreq(samples, 1 / SPEECH_RATE_HZ), 50)
    return np.fft.irfft(spectrum / hertz**slope, samples)


def _sum(parts: Sequence[Wave]) -> Wave:
    total: Wave = np.sum(parts, axis=0)
    return total


def _keys(chance: Chance) -> Wave:
    sound = np.zeros(round(EVENT_S * SPEECH_RATE_HZ))
    at = 0.0
    while at < EVENT_S - 0.1:
        time_s = time_axis_s(0.08)
        click = coloured(chance, len(time_s), chance.uniform(0, 0.7)) * np.exp(
            -time_s / chance.uniform(0.003, 0.02)
        )
        click += (
            chance.uniform(0, 3)
            * np.sin(2 * np.pi * chance.uniform(150, 900) * time_s)
            * np.exp(-time_s / 0.015)
        )
        start = round(at * SPEECH_RATE_HZ)
        sound[start : start + len(click)] += click / np.abs(click).max() * chance.uniform(0.4, 1)
        at += chance.uniform(0.05, 0.35)
    return sound


def _hum(chance: Chance) -> Wave:
    time_s, base_hz = time_axis_s(EVENT_S), chance.choice([50, 60, 100, 120, chance.uniform(60, 300)])
    partials = [chance.uniform(0, 1) / n * np.sin(2 * np.pi * base_hz * n * time_s + n) for n in range(1, 15)]
    hum: Wave = _sum(partials) * np.minimum(1, time_s / chance.uniform(0.01, 0.3))
    return hum


def _beep(chance: Chance) -> Wave:
    time_s = time_axis_s(EVENT_S)
    tones_hz = chance.uniform(350, 2500, size=chance.integers(1, 3))
    on = (time_s % chance.uniform(0.2, 1.2)) < chance.uniform(0.08, 0.6)
    return _sum([np.sin(2 * np.pi * hz * time_s) for hz in tones_hz]) * on


def _bell(chance: Chance) -> Wave:
    time_s, base_hz = time_axis_s(EVENT_S), chance.uniform(200, 1500)
    ratios = (1, *chance.uniform(1.2, 5, size=4))
    tones = [
        np.sin(2 * np.pi * base_hz * n * time_s) * np.exp(-time_s * n / chance.uniform(0.1, 0.8)) / n
        for n in ratios
    ]
    return _sum(tones)


def _hiss(chance: Chance) -> Wave:
    """Breath, rustle, a passing car: noise that swells and fades."""
    time_s = time_axis_s(chance.uniform(0.2, EVENT_S))
    swell = np.sin(np.pi * np.linspace(0, 1, len(time_s)) ** chance.uniform(0.4, 1.5)) ** chance.uniform(
        0.5, 2
    )
    return coloured(chance, len(time_s), chance.uniform(0, 1.2)) * swell


def _knock(chance: Chance) -> Wave:
    sound = np.zeros(round(EVENT_S * SPEECH_RATE_HZ))
    time_s, gap_s = time_axis_s(0.3), chance.uniform(0.12, 0.4)
    for blow in range(chance.integers(1, 4)):
        thud = np.sin(2 * np.pi * chance.uniform(60, 300) * time_s) * np.exp(
            -time_s / chance.uniform(0.01, 0.08)
        )
        thud += coloured(chance, len(time_s), 0.6) * 5 * np.exp(-time_s / 0.01)
        start = round(blow * gap_s * SPEECH_RATE_HZ)
        sound[start : start + len(thud)] += thud
    return sound


def _horn(chance: Chance) -> Wave:
    time_s = time_axis_s(chance.uniform(0.3, EVENT_S))
    bases_hz = chance.uniform(180, 520) * np.array([1, chance.uniform(1.15, 1.35)])
    partials = [np.sin(2 * np.pi * hz * n * time_s) / n**0.7 for hz in bases_hz for n in range(1, 12)]
    horn: Wave = _sum(partials) * np.minimum(1, time_s / 0.02)
    return horn


def _melody(chance: Chance) -> Wave:
    notes: list[Wave] = []
    base_hz = chance.uniform(110, 500)
    while sum(len(note) for note in notes) < EVENT_S * SPEECH_RATE_HZ:
        time_s = time_axis_s(chance.uniform(0.1, 0.4))
        chord = base_hz * 2 ** (chance.integers(-7, 12, size=chance.integers(1, 4)) / 12)
        shape = np.exp(-time_s / chance.uniform(0.1, 1)) * np.minimum(1, time_s / 0.005)
        tones = [np.sin(2 * np.pi * hz * n * time_s) / n**1.3 for hz in chord for n in range(1, 7)]
        notes.append(_sum(tones) * shape)
    return np.concatenate(notes)
