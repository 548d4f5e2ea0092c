"""What a transcriber said too often."""

from __future__ import annotations

import pytest

from media.engines.repetition import cut_repetition, runs_in_circles, said_once


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("10 of clubs 10 of clubs 10 of clubs 10 of clubs", "10 of clubs"),
        ("so 5 5 5 5 5 5", "so 5"),
        ("no no", "no no"),
        ("one two three", "one two three"),
        ("", ""),
    ],
)
def test_repetitions_are_cut(text: str, once: str) -> None:
    assert cut_repetition(text) == once


@pytest.mark.parametrize(
    ("text", "duration_s", "once"),
    [
        ("When does it open? When does it open?", 1.2, "When does it open?"),
        ("Please tell me when. please, tell me when", 1.0, "Please tell me when."),
        ("When does it open? When does it open? When does", 1.5, "When does it open?"),
        ("When does it open? When does it open?", 2.5, "When does it open? When does it open?"),
        ("Bye, bye bye, bye.", 0.5, "Bye, bye bye, bye."),
        ("One two three four five six seven", 1.0, "One two three four five six seven"),
        ("", 0.1, ""),
    ],
)
def test_a_sentence_that_could_not_be_said_twice_was_said_once(
    text: str, duration_s: float, once: str
) -> None:
    assert said_once(text, duration_s) == once


def test_a_decoder_in_a_loop_is_noticed_and_a_number_is_not() -> None:
    assert runs_in_circles([9, *[1, 2, 3] * 8])
    assert runs_in_circles([7] * 24)
    assert not runs_in_circles([7] * 23)
    assert not runs_in_circles([*[1, 2, 3] * 8, 4])
    assert not runs_in_circles(range(100))
