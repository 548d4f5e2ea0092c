"""The probe is recognised, and its delay is what it is."""

from __future__ import annotations

import numpy as np
import pytest

from bench.delay_probe import Piece, probe, sightings
from media.audio import SPEECH_RATE_HZ, Audio

FRAME = 320
BEGAN_S = 100.0


def handed_over(signal: Audio, delay_s: float) -> list[Piece]:
    """In frames of 20 ms, each so long after its last sample was spoken."""
    frames = range(0, len(signal) - FRAME + 1, FRAME)
    return [
        Piece(
            BEGAN_S + (start + FRAME) / SPEECH_RATE_HZ + delay_s,
            Audio(signal.samples[start : start + FRAME], SPEECH_RATE_HZ),
        )
        for start in frames
    ]


@pytest.mark.parametrize("delay_s", [0.0, 0.013, 0.3, 1.2])
def test_a_delay_is_found(delay_s: float) -> None:
    sent = probe(2.0)
    found = sightings(sent, BEGAN_S, handed_over(sent, delay_s))
    assert len(found) > 90
    assert [sighting.delay_s for sighting in found] == pytest.approx([delay_s] * len(found), abs=1e-3)


def test_a_delay_that_grows_is_seen_growing() -> None:
    sent = probe(2.0)
    pieces = handed_over(sent, 0.01)
    late = [*pieces[:50], *(Piece(piece.at_s + 0.1, piece.audio) for piece in pieces[50:])]
    found = sightings(sent, BEGAN_S, late)
    assert found[10].delay_s == pytest.approx(0.01, abs=1e-3)
    assert found[-1].delay_s == pytest.approx(0.11, abs=1e-3)


def test_what_is_not_the_probe_is_not_seen() -> None:
    other = probe(2.0, seed=1)
    assert sightings(probe(2.0, seed=0), BEGAN_S, handed_over(other, 0.01)) == []
    silent = Audio(np.zeros(len(other), np.float32), SPEECH_RATE_HZ)
    assert sightings(probe(2.0), BEGAN_S, handed_over(silent, 0.01)) == []
