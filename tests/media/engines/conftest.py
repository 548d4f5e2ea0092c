"""Speech for the engines that listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.audio import Audio
from tests.media.engines.speech import QUESTION
from tests.peers.voices import spoken


@pytest.fixture(scope="session")
def question(models_dir: Path) -> Audio:
    """Some 3 s at 16 kHz that say `QUESTION`, without silence around them."""
    return spoken(models_dir, QUESTION)
