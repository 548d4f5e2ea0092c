"""Our log-mel against the one that the Whisper models here are run with elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from media.engines.log_mel import log_mel


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("seconds", [0.5, 8.0])
def test_is_faster_whispers(bands: int, seconds: float) -> None:
    noise = np.random.default_rng(7).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    tone = 0.3 * np.sin(np.arange(len(noise)) * 2 * np.pi * 440 / 16_000).astype(np.float32)
    samples = (noise + tone) * np.linspace(0, 1, len(noise), dtype=np.float32)

    ours = log_mel(samples, bands=bands)

    assert ours.shape == (bands, round(seconds * 100))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, FeatureExtractor(feature_size=bands)(samples, padding=0), atol=1e-4)


def test_silence_is_flat() -> None:
    features = log_mel(np.zeros(16_000, np.float32))
    assert np.ptp(features) == 0
