"""Speech for the engines that listen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from media.audio import Audio
from tests.media.engines.speech import QUESTION
from tests.peers.voices import spoken

FAINT = 30
"""Of 32,767: the pause that follows the question is softer."""


@pytest.fixture(scope="session")
def question(models_dir: Path) -> Audio:
    """Some 3 s at 16 kHz that say `QUESTION`, without silence around them."""
    said = spoken(models_dir, QUESTION)
    loud = np.flatnonzero(np.abs(said.samples) > FAINT)
    return Audio(said.samples[: loud[-1] + 1], said.rate_hz)


@pytest.fixture(scope="session")
def tiny_voxtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a Voxtral of random weights."""
    from tests.media.engines.tiny_voxtral import write_voxtral  # torch is loaded where it is used

    return write_voxtral(tmp_path_factory.mktemp("voxtral"))


@pytest.fixture(scope="session")
def tiny_voxtral_realtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a Voxtral Realtime of random weights."""
    from tests.media.engines.tiny_voxtral import write_voxtral_realtime

    return write_voxtral_realtime(tmp_path_factory.mktemp("voxtral-realtime"))
