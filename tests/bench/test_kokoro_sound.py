"""What the comparison of two renderings catches, on sounds made for it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.kokoro_sound import aligned, level_difference_db, longest_quiet_s, mel_distance_db, step_db
from bench.kokoro_texts import FITTED, SENTENCES, UNFITTED
from media.engines.kokoro_clause import RATE_HZ
from media.engines.kokoro_parts import Floats
from media.engines.kokoro_voices import VOICE_NAMES, language_of
from media.engines.protocols import SpokenWord


def voiced(duration_s: float, hz: float = 140.0) -> Floats:
    """Harmonics that fall off, as a voice's do, and a little noise."""
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    tones = [np.sin(2 * np.pi * hz * n * time_s) / n for n in range(1, 20)]
    noise = np.random.default_rng(3).standard_normal(len(time_s)) * 0.002
    sound: Floats = (0.1 * np.sum(tones, axis=0) + noise).astype(np.float32)
    return sound


def test_shifted_renderings_are_laid_on_each_other() -> None:
    sound = voiced(0.5, hz=140.0) * np.linspace(0.2, 1, RATE_HZ // 2, dtype=np.float32)
    late = np.pad(sound, (700, 0))
    one, other, cut = aligned(late, sound)
    assert cut == 700
    assert np.array_equal(one, other)
    one, other, cut = aligned(sound, late)
    assert cut == 0
    assert np.array_equal(one, other)


def test_level_and_spectrum() -> None:
    sound = voiced(0.5)
    assert level_difference_db(sound * 2, sound) == pytest.approx(6.0, abs=0.1)
    assert mel_distance_db(sound, sound) == 0
    assert mel_distance_db(voiced(0.5, hz=200.0), sound) > mel_distance_db(sound * 1.1, sound) > 0


def test_a_step_is_caught_and_a_clean_seam_is_none() -> None:
    sound, seam = voiced(0.5), 6000
    assert step_db(sound, sound, seam) <= 0
    jump = sound.copy()
    jump[seam:] += 0.15
    assert step_db(jump, sound, seam) > 6
    late_jump = sound.copy()
    late_jump[seam + 120 :] += 0.15
    assert step_db(late_jump, sound, seam) > 6


def test_the_pause_in_front_of_a_word_is_measured() -> None:
    sound = np.concatenate([voiced(0.6), np.zeros(round(0.25 * RATE_HZ), np.float32), voiced(0.6)])
    words = [SpokenWord("before", 0.0, 0.6), SpokenWord("after", 0.85, 1.45)]
    assert longest_quiet_s(sound, words, 1) == pytest.approx(0.25, abs=0.01)


def test_there_are_a_hundred_sentences_and_none_was_fitted() -> None:
    assert len(set(SENTENCES)) == 100
    fitted = {text for texts in FITTED.values() for text in texts}
    assert not fitted & {*SENTENCES, *(text for texts in UNFITTED.values() for text in texts)}
    assert {language_of(voice) for voice in VOICE_NAMES} == set(FITTED) == set(UNFITTED)
