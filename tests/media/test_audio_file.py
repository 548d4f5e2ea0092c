"""Sound files: what is written comes back, whatever the rate and the channels."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from media.audio import Audio
from media.audio_file import read_audio, write_wav


def test_sound_survives_the_file(tmp_path: Path) -> None:
    samples = (np.sin(np.arange(22_050) * 0.05) * 20_000).astype(np.int16)
    path = tmp_path / "a.wav"
    write_wav(path, Audio(samples, 22_050))
    back = read_audio(path)
    assert back.rate_hz == 22_050
    assert np.array_equal(back.samples, samples)


def test_two_channels_become_one(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(np.repeat(np.array([8000], dtype="<i2"), 2 * 44_100).tobytes())
    mono = read_audio(path)
    assert len(mono) == 44_100
    assert mono.rate_hz == 44_100
