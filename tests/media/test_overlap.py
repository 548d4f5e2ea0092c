"""What a sound over the assistant's voice is taken for: the numbers, the network, and real voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from media import overlap
from media.audio import SPEECH_RATE_HZ, Audio, silence
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.errors import EngineError
from media.overlap import OverlapClassifier, OverlapScores
from media.overlap_features import LEAD_WINDOWS, describe

WINDOWS_AFTER_400_MS = 12


def windows(samples: npt.NDArray[np.float64], count: int) -> Audio:
    """The first so many windows, behind the lead of silence."""
    whole = np.zeros((LEAD_WINDOWS + count) * VAD_WINDOW_SAMPLES, np.float32)
    whole[LEAD_WINDOWS * VAD_WINDOW_SAMPLES :][: len(samples)] = samples[: count * VAD_WINDOW_SAMPLES]
    return Audio(whole, SPEECH_RATE_HZ)


def vowel(hz: float, length_s: float) -> npt.NDArray[np.float64]:
    """Harmonics of a voice, with a formant at 700 Hz."""
    time_s = np.arange(round(length_s * SPEECH_RATE_HZ)) / SPEECH_RATE_HZ
    partials = np.arange(1, int(4000 / hz))
    heights = 0.02 + np.exp(-(((partials * hz - 700) / 300) ** 2))
    waves = np.sin(2 * np.pi * hz * partials[:, None] * time_s)
    sound: npt.NDArray[np.float64] = 0.1 * (heights[:, None] * waves).sum(axis=0)
    return sound


def sum_of(scores: OverlapScores) -> float:
    return scores.interruption + scores.backchannel + scores.noise


@pytest.mark.parametrize("count", [1, 2, 3, 8, 12, 20, 33, 64])
def test_judges_however_much_was_heard(count: int) -> None:
    sound = Audio(
        np.random.default_rng(1).normal(size=count * VAD_WINDOW_SAMPLES).astype(np.float32) * 0.1, 16_000
    )
    assert sum_of(OverlapClassifier().judge(sound, [0.6] * count)) == pytest.approx(1, abs=1e-5)


def test_judges_silence() -> None:
    assert sum_of(OverlapClassifier().judge(silence(0.512, 16_000), [0.0] * 16)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sound", [silence(0.5, 16_000), silence(0.512, 8_000), silence(0, 16_000)])
def test_refuses_what_is_not_whole_windows(sound: Audio) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        OverlapClassifier().judge(sound, [0.5] * 16 if len(sound) else [])


def test_a_quiet_microphone_is_heard_like_a_loud_one() -> None:
    spoken = windows(vowel(140, 0.4), WINDOWS_AFTER_400_MS).as_float32()
    noise = np.random.default_rng(1).normal(size=len(spoken)).astype(np.float32) * np.float32(0.003)
    loud = Audio(spoken + noise, SPEECH_RATE_HZ)
    quiet = Audio(loud.as_float32() * np.float32(0.05), SPEECH_RATE_HZ)
    speech = [0.0] * LEAD_WINDOWS + [0.9] * WINDOWS_AFTER_400_MS
    assert np.allclose(describe(loud, speech), describe(quiet, speech), atol=0.05, equal_nan=True)


def test_what_was_not_heard_yet_is_not_a_number() -> None:
    sound = vowel(140, 0.9)
    unknown = [
        int(np.isnan(describe(windows(sound, count), [0.9] * (LEAD_WINDOWS + count))).sum())
        for count in (2, 6, 12, 24)
    ]
    assert unknown == sorted(unknown, reverse=True)
    assert unknown[0] > unknown[-1] == 0 or unknown[-1] < unknown[0]


def test_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "overlap.npz"
    damaged.write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.setattr(overlap, "WEIGHTS_FILE", damaged)
    with pytest.raises(EngineError, match="damaged"):
        OverlapClassifier()
    monkeypatch.setattr(overlap, "WEIGHTS_FILE", tmp_path / "absent.npz")
    with pytest.raises(EngineError, match="damaged"):
        OverlapClassifier()
