"""The room of the barge-in bench: what was heard comes back later and weaker."""

from __future__ import annotations

import numpy as np
import pytest

from bench.barge_in_echo import EchoingRoom
from media.audio import Audio
from signaling.heard import FRAME_S, HeardFrame

ARRIVED_S = 5.0
DELAY_S = 0.15


def heard_noise(frames: int) -> list[HeardFrame]:
    """Noise below 4 kHz that arrived from `ARRIVED_S` on, on a timeline that began earlier."""
    noise = np.repeat(np.random.default_rng(4).normal(size=frames * 160), 6) * 0.1
    return [
        HeardFrame(
            ARRIVED_S + number * FRAME_S,
            48_000 + number * 960,
            Audio(noise[number * 960 : (number + 1) * 960].astype(np.float32), 48_000),
        )
        for number in range(frames)
    ]


def levels_db(room: EchoingRoom) -> list[tuple[float, float]]:
    """Of each frame that comes back, with its time."""
    times_s = [4.8 + number * FRAME_S for number in range(60)]
    return [(at_s, Audio(room(at_s), 48_000).level_dbfs()) for at_s in times_s]


def test_an_echo_comes_after_its_delay_and_fades() -> None:
    levels = levels_db(EchoingRoom(heard_noise(20), DELAY_S, -10, seed=1))
    loud = [at_s for at_s, level in levels if level > -40]
    assert loud[0] == pytest.approx(ARRIVED_S + DELAY_S, abs=FRAME_S)
    assert ARRIVED_S + DELAY_S + 0.4 - FRAME_S <= loud[-1] < ARRIVED_S + DELAY_S + 0.4 + 0.3
    assert levels[-1][1] < -60


@pytest.mark.parametrize("gain_db", [-6, -20])
def test_an_echo_is_as_much_weaker_as_it_is_to_be(gain_db: float) -> None:
    levels = levels_db(EchoingRoom(heard_noise(20), DELAY_S, gain_db, seed=2))
    sent_db = heard_noise(1)[0].audio.level_dbfs()
    assert max(level for _, level in levels) == pytest.approx(sent_db + gain_db, abs=4)


def test_where_nothing_was_heard_the_room_is_all_but_silent() -> None:
    assert Audio(EchoingRoom([], DELAY_S, -6, seed=3)(1.0), 48_000).level_dbfs() < -60
