"""Keys that come two ways are one press each."""

from __future__ import annotations

from signaling.sip.double_keys import WINDOW_S, DoubleKeys, Way


def told(*presses: tuple[Way, str, float]) -> str:
    keys = DoubleKeys()
    return "".join(key for way, key, at_s in presses if keys.is_new(way, key, at_s))


def test_a_press_that_comes_both_ways_is_told_once_in_whichever_order() -> None:
    assert told(("rtp", "1", 0.0), ("info", "1", 0.1), ("info", "2", 1.0), ("rtp", "2", 1.3)) == "12"
    assert told(*(one for at in range(4) for one in (("rtp", "1", at), ("info", "1", at + 0.2)))) == "1111"
    assert told(("rtp", "1", 0.0), ("rtp", "1", 0.2), ("info", "1", 0.3), ("info", "1", 0.4)) == "11"


def test_a_press_that_comes_one_way_is_told_each_time() -> None:
    assert told(*(("info", "7", at / 5) for at in range(5))) == "77777"
    assert told(*(("rtp", "7", at / 5) for at in range(50))) == "7" * 50
    assert told(("rtp", "7", 0.0), ("info", "7", WINDOW_S + 0.1)) == "77"
