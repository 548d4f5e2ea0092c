"""Words are compared, not how they are written."""

from __future__ import annotations

import pytest

from bench.word_errors import WordErrors, total, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Go forward ten meters", "Go forward 10 meters.", 0),
        ("Mr. Quilter is here", "mister quilter, is here", 0),
        ("a b c", "a c", 1),
        ("a b c", "a x c d", 2),
        ("a b c", "", 3),
        ("", "you", 1),
        ("it's", "It’s", 0),
    ],
)
def test_errors_are_counted(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard).errors == errors


def test_texts_are_counted_together_by_their_words() -> None:
    together = total([WordErrors(1, 2), WordErrors(0, 6)])
    assert together == WordErrors(1, 8)
    assert together.percent == pytest.approx(12.5)
    assert total([]).percent == 0.0
