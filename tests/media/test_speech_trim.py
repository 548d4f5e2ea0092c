"""Trimming synthesised speech: tones stand for speech here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from media.speech_trim import FADE_S, PAUSE_AFTER_S, pause_after_s, sound_bounds, trim_speech

RATE_HZ = 24_000


def tone(duration_s: float, level: float = 0.3) -> npt.NDArray[np.float32]:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * 200 * time_s)).astype(np.float32)


def quiet(duration_s: float) -> npt.NDArray[np.float32]:
    return np.zeros(round(duration_s * RATE_HZ), np.float32)


def test_silence_around_the_sound_is_cut_and_the_pause_put_back() -> None:
    padded = np.concatenate([quiet(0.3), tone(0.5), quiet(0.6)])
    speech = trim_speech(padded, RATE_HZ, pause_s=0.2)
    assert speech.lead_samples == pytest.approx(0.3 * RATE_HZ, abs=1)
    assert len(speech.samples) == pytest.approx((0.5 + 0.2) * RATE_HZ, abs=120)
    assert not speech.samples[-round(0.19 * RATE_HZ) :].any()


def test_a_pause_inside_is_kept() -> None:
    speech = trim_speech(np.concatenate([tone(0.2), quiet(0.4), tone(0.2)]), RATE_HZ, pause_s=0.0)
    assert len(speech.samples) == pytest.approx(0.8 * RATE_HZ, abs=120)


def test_a_soft_start_is_kept_and_noise_is_not() -> None:
    padded = np.concatenate([tone(0.2, level=0.0005), tone(0.1, level=0.01), tone(0.3)])
    speech = trim_speech(padded, RATE_HZ, pause_s=0.1)
    assert speech.lead_samples == pytest.approx(0.2 * RATE_HZ, abs=120)


def test_ends_are_faded() -> None:
    cut = trim_speech(tone(0.5), RATE_HZ, pause_s=0.0).samples
    fade = round(FADE_S * RATE_HZ)
    assert cut[0] == 0.0
    assert abs(cut[-1]) < 0.01
    assert np.abs(cut[:fade]).max() < np.abs(cut).max()


@pytest.mark.parametrize("samples", [quiet(0.5), quiet(0.0), quiet(0.001)])
def test_silence_has_no_sound(samples: npt.NDArray[np.float32]) -> None:
    assert sound_bounds(samples, RATE_HZ) is None
    assert len(trim_speech(samples, RATE_HZ, pause_s=0.3).samples) == 0


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Yes.", "."),
        ('He said "Yes?"', "?"),
        ("well...", "…"),
        ("so, ", ","),
        ("好。」", "。"),
        ("(so!)", "!"),
    ],
)
def test_the_pause_is_the_last_mark_s(text: str, mark: str) -> None:
    assert pause_after_s(text) == PAUSE_AFTER_S[mark]


def test_pauses_go_with_the_speed() -> None:
    assert pause_after_s("Yes.", speed=2.0) == pause_after_s("Yes.") / 2
    assert 0 < pause_after_s("and then") < pause_after_s("and then,") < pause_after_s("and then.")
