"""The measurements of the barge-in bench, on made-up calls."""

from __future__ import annotations

import numpy as np
import pytest

from bench.barge_in import quiet_stretches
from bench.history_check import words_off
from media.audio import Audio
from signaling.heard import FRAME_S, HeardFrame

ONSET_S = 10.0


def frames(levels_db: list[tuple[float, float, float]]) -> list[HeardFrame]:
    """Frames of a steady level from one time to another."""
    found = []
    for start_s, end_s, level_db in levels_db:
        sound = np.full(960, round(32767 * 10 ** (level_db / 20)), np.int16)
        for at_s in np.arange(start_s, end_s - 1e-6, FRAME_S):
            found.append(HeardFrame(float(at_s) + 0.003, round(at_s * 48_000), Audio(sound, 48_000)))
    return found


def test_a_voice_that_goes_on_is_never_down() -> None:
    assert quiet_stretches(frames([(9, 12, -20)]), ONSET_S, 12) == []


def test_a_voice_that_is_held_is_down_for_a_while() -> None:
    ((start_s, end_s),) = quiet_stretches(
        frames([(9, 10.1, -20), (10.1, 10.5, -45), (10.5, 12, -20)]), ONSET_S, 12
    )
    assert (start_s, end_s) == (pytest.approx(10.1, abs=FRAME_S), pytest.approx(10.5, abs=FRAME_S))


def test_packets_that_do_not_come_are_silence() -> None:
    ((start_s, end_s),) = quiet_stretches(frames([(9, 10.2, -20)]), ONSET_S, 12)
    assert (start_s, end_s) == (pytest.approx(10.2, abs=FRAME_S), pytest.approx(12, abs=FRAME_S))


def test_a_stop_between_two_words_is_no_yielding() -> None:
    assert quiet_stretches(frames([(9, 10.1, -20), (10.1, 10.16, -60), (10.16, 12, -20)]), ONSET_S, 12) == []


@pytest.mark.parametrize(
    ("heard", "kept", "off"),
    [
        ("once upon a time", "once upon a time", 0),
        ("once upon a time", "once upon a", 1),
        ("once upon a tie", "once upon a time", 1),
        ("once upon a", "once upon a time there was", 3),
        ("one upon a time", "once upon a time", 0),
        ("", "once", 1),
    ],
)
def test_the_end_of_the_history_is_compared_with_what_was_heard(heard: str, kept: str, off: int) -> None:
    assert words_off(heard.split(), kept.split()) == off
