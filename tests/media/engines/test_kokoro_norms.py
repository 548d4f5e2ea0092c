"""The fitted statistics: of every voice, and sound whatever they are asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from media.engines import kokoro_norms
from media.engines.kokoro_norms import KokoroNorms, to_bytes
from media.engines.kokoro_parts import ClauseFeatures
from media.engines.kokoro_voices import VOICE_NAMES
from media.errors import EngineError


def clause(seed: int) -> ClauseFeatures:
    """Features as the decoder's are spread, of no clause in particular."""
    features = np.random.default_rng(seed).standard_normal((1, 512, 80)).astype(np.float32)
    pitch, phases, style = (np.zeros(shape, np.float32) for shape in ((1, 1, 80), (1, 9, 80), (1, 256)))
    return ClauseFeatures(features, pitch, phases, pitch, style, np.ones(4, np.float32))


def test_every_voice_is_in_the_file_and_has_its_own_statistics() -> None:
    norms = KokoroNorms()
    predicted = [norms.predict(voice, clause(0)) for voice in VOICE_NAMES]
    assert {len(statistics) for statistics in predicted} == {88}
    first = [statistics[0].reshape(-1) for statistics in predicted]
    assert len({tuple(values.round(6)) for values in first}) == len(VOICE_NAMES)


def test_statistics_are_plausible_whatever_the_clause() -> None:
    """A variance is positive and finite, also for features far beyond what was fitted."""
    norms = KokoroNorms()
    far = clause(1)
    wild = replace(far, features=far.features * 100)
    for voice in VOICE_NAMES[:3]:
        for one, other in zip(norms.predict(voice, far), norms.predict(voice, wild), strict=True):
            assert one.shape == other.shape == (1, one.size, 1)
            assert np.isfinite(one).all()
            assert np.isfinite(other).all()


def test_bytes_keep_what_they_stand_for() -> None:
    rows = np.random.default_rng(2).standard_normal((7, 300)).astype(np.float32)
    rows[3] *= 1000
    values, steps = to_bytes(rows)
    assert values.dtype == np.int8
    assert np.all(np.abs(values * steps - rows) <= steps * 0.5001)


def test_a_damaged_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kokoro_norms.npz"
    file.write_bytes(kokoro_norms.FITTED_FILE.read_bytes()[:5000])
    monkeypatch.setattr(kokoro_norms, "FITTED_FILE", file)
    with pytest.raises(EngineError, match="is damaged"):
        KokoroNorms()
