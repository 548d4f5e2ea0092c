"""From a long call's turns to its figures and its verdict."""

from __future__ import annotations

import numpy as np
import pytest

from bench.long_call import Turn, bars, onset_s, parts, table
from media.audio import Audio, concatenate, silence


def turns(count: int, *, slower_ms: float = 0.0, grown_mb: float = 0.0, later_ms: float = 0.0) -> list[Turn]:
    """Every other one spoken; what gets worse does so evenly, the first turn is slow."""

    def one(number: int) -> Turn:
        share = number / count
        answered_ms = 2000.0 if number == 1 else 500 + share * slower_ms
        if number % 2:
            return Turn(number, "spoken", answered_ms, 130 + share * later_ms, 900 + share * grown_mb)
        return Turn(number, "typed", answered_ms, None, 900 + share * grown_mb, {"llm": 200.0})

    return [one(number) for number in range(1, count + 1)]


def test_the_first_turn_is_left_out_and_the_edges_are_alike() -> None:
    found = parts(turns(200))
    assert [(each.first, each.last) for each in found] == [(2, 20), (21, 181), (182, 200)]
    assert found[0].spoken is not None
    assert (found[0].spoken.count, found[0].spoken.max) == (9, 500)
    assert found[-1].typed is not None
    assert found[-1].typed.count == 10
    assert all(met for _, met in bars(found))
    assert "| turns | 2–20 | 21–181 | 182–200 |" in table(found)
    assert [(each.first, each.last) for each in parts(turns(7))] == [(2, 4), (5, 7)]


@pytest.mark.parametrize(
    ("worse", "label"),
    [
        ({"slower_ms": 150.0}, "p50 of spoken turns: +135 ms, at most +100 ms"),
        ({"later_ms": 40.0}, "p50 of inbound delay: +36 ms, at most +20 ms"),
        ({"grown_mb": 100.0}, "memory: +90 MB, at most +60 MB"),
    ],
)
def test_a_call_that_does_not_stay_as_it_began_is_told(worse: dict[str, float], label: str) -> None:
    found = parts(turns(200, **worse))
    assert (label, False) in bars(found)


def test_a_turn_without_an_answer_is_told() -> None:
    some = turns(60)
    some[29] = Turn(30, "typed", None, None, 900)
    assert ("every turn is answered", False) in bars(parts(some))


def test_where_a_question_begins() -> None:
    tone = Audio((8000 * np.sin(np.arange(3200) / 5)).astype(np.int16), 16_000)
    assert onset_s(concatenate([silence(0.3, 16_000), tone], 16_000)) == pytest.approx(0.3)
    assert onset_s(silence(1.0, 16_000)) == 0.0
