"""Sounds as a microphone and a line bring them: a room, a distance, noise, a telephone, Opus."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from bench.overlap_generated import Chance, coloured, time_axis_s
from bench.overlap_sounds import EVENT_S, Floats, Sound
from media.audio import SPEECH_RATE_HZ, Audio
from media.resampler import resample

_CROWD = 6
"""Voices."""


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What is around the sounds: real noises, and voices for a crowd far away."""

    noises: list[Floats]
    voices: list[Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """2.1 s of a call.

    Attributes:
        stream: 16 kHz.
        start: the sample with which the sound begins in it.
    """

    stream: Floats
    start: int


def as_heard(sound: Sound, around: Surroundings, chance: Chance, *, clean: bool = False) -> Heard:
    """The sound as it would be picked up and sent: half a second of its surroundings first, 2.1 s in all.

    Args:
        sound: what happens.
        around: what else there is.
        chance: where the room, the distance, the noise and the line come from.
        clean: just the sound, on a quiet line.
    """
    samples = sound.samples[: round(EVENT_S * SPEECH_RATE_HZ)].astype(np.float32)
    fade = np.linspace(0, 1, 80, dtype=np.float32)
    samples = np.concatenate([samples[:80] * fade[: len(samples[:80])], samples[80:]])
    if not clean and chance.random() < 0.6:
        speed = chance.uniform(0.9, 1.1)
        at = np.arange(0, len(samples) - 1, speed)
        samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    if len(samples) >= 160 and len(samples) < round(EVENT_S * SPEECH_RATE_HZ):
        samples[-160:] *= np.linspace(1, 0, 160, dtype=np.float32)
    if not clean and chance.random() < 0.5:
        samples = _in_a_room(samples, chance)
    samples = samples / max(1e-4, float(np.abs(samples).max())) * 0.7
    start = round(0.5 * SPEECH_RATE_HZ) + int(chance.integers(512))
    whole = np.zeros(66 * 512, np.float32)
    whole[start : start + len(samples)] = samples[: len(whole) - start]
    if clean:
        return Heard(whole + chance.normal(size=len(whole)).astype(np.float32) * np.float32(1e-4), start)
    loudness = float(np.sqrt(np.mean(np.square(samples)))) + 1e-6
    if chance.random() < 0.8:
        noise = _background(around, chance, len(whole))
        below_db = chance.uniform(0, 35) if sound.kind == "noise" else chance.uniform(3, 40)
        level = float(np.sqrt(np.mean(np.square(noise)))) + 1e-9
        whole = whole + noise * np.float32(loudness / level * 10 ** (-below_db / 20))
    if chance.random() < 0.25:
        whole = _telephone(whole)
    whole = whole * np.float32(10 ** (chance.uniform(-30, 0) / 20))
    if chance.random() < 0.5:
        whole = _through_opus(whole, int(chance.choice([16_000, 24_000, 32_000])))
    return Heard(np.clip(whole, -1, 1).astype(np.float32), start)


def _in_a_room(samples: Floats, chance: Chance) -> Floats:
    time_s = time_axis_s(0.4)
    tail = chance.normal(size=len(time_s)) * 10 ** (-3 * time_s / chance.uniform(0.1, 0.6))
    tail *= chance.uniform(0.02, 0.15)
    tail[0] = 1
    size = 1 << (len(samples) + len(tail)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size))
    return wet[: len(samples) + len(tail) // 2].astype(np.float32)


def _background(around: Surroundings, chance: Chance, length: int) -> Floats:
    drawn = chance.random()
    if drawn < 0.45 or not around.noises:
        return coloured(chance, length, chance.uniform(0, 1.1)).astype(np.float32)
    if drawn < 0.8:
        return _piece(around.noises[chance.integers(len(around.noises))], chance, length)
    crowd = [
        _piece(around.voices[chance.integers(len(around.voices))], chance, length) for _ in range(_CROWD)
    ]
    return _in_a_room(np.sum(crowd, axis=0).astype(np.float32), chance)[:length]


def _piece(samples: Floats, chance: Chance, length: int) -> Floats:
    start = int(chance.integers(len(samples)))
    return np.resize(np.roll(samples, -start), length)


def _telephone(samples: Floats) -> Floats:
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SPEECH_RATE_HZ)
    passes = 1 / (1 + (300 / np.maximum(hertz, 1)) ** 6) / (1 + (hertz / 3400) ** 16)
    return np.fft.irfft(spectrum * passes, len(samples)).astype(np.float32)


def _through_opus(samples: Floats, bit_rate: int) -> Floats:
    """To Opus and back."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = (
        SPEECH_RATE_HZ,
        "mono",
        "s16",
        bit_rate,
    )
    encoder.options = {"application": "voip", "frame_duration": "20", "compression_level": "3"}
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = SPEECH_RATE_HZ, "mono"
    decoded = []
    pcm = Audio(samples, SPEECH_RATE_HZ).as_int16()
    for at in range(0, len(pcm) - 319, 320):
        frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 320], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SPEECH_RATE_HZ, at
        for packet in encoder.encode(frame):
            decoded += [
                np.asarray(piece.to_ndarray(), np.int16).reshape(-1) for piece in decoder.decode(packet)
            ]
    heard = resample(Audio(np.concatenate(decoded), decoder.sample_rate), SPEECH_RATE_HZ).as_float32()
    result = np.zeros(len(samples), np.float32)
    result[: min(len(heard), len(result))] = heard[: len(result)]
    return result
