"""A reply's pieces: its clauses, and the opening of the first one."""

from __future__ import annotations

import pytest

from media.clauses import StreamingSettings
from media.opening import Piece, PieceSplitter


def pieces_of(text: str, **settings: int) -> list[Piece]:
    """Written word by word."""
    splitter = PieceSplitter(StreamingSettings(**settings))
    words = text.split(" ")
    deltas = [words[0], *(f" {word}" for word in words[1:])]
    pieces = [piece for delta in deltas for piece in splitter.push(delta)]
    return [*pieces, *splitter.finish()]


def test_the_first_words_come_before_their_clause_is_written() -> None:
    assert pieces_of("The Brooklyn Bridge is over a hundred years old. It is long.") == [
        Piece("The Brooklyn", after="Bridge is"),
        Piece(" Bridge is over a hundred years old.", before="The Brooklyn"),
        Piece(" It is long."),
    ]


def test_they_come_with_the_second_word_after_them_which_may_go_on() -> None:
    splitter = PieceSplitter(StreamingSettings())
    for delta in ("I", "'m", " sorry", " for"):
        assert splitter.push(delta) == []
        assert not splitter.amid_clause
    assert splitter.push(" mis") == [Piece("I'm sorry", after="for mis")]
    assert splitter.amid_clause
    for delta in ("understand", "ings", ","):
        assert splitter.push(delta) == []
    assert splitter.push(" but") == [Piece(" for misunderstandings,", before="I'm sorry")]
    assert not splitter.amid_clause


@pytest.mark.parametrize(
    "text",
    [
        "Yes! That is so and will always be.",
        "In 1999 there was a party.",
        "On the 5th of May you may come.",
        "The **Brooklyn Bridge** is over a hundred years old.",
        "The NASA engineers have built it.",
        "That is fine.",
    ],
)
def test_what_is_not_spoken_as_it_is_written_waits_for_its_clause(text: str) -> None:
    first, *_ = pieces_of(text)
    assert (first.before, first.after) == ("", "")


def test_they_may_end_with_a_comma_that_ends_no_clause() -> None:
    opening, rest = pieces_of("I'm sorry, I am not available to speak right now.")
    assert opening == Piece("I'm sorry,", after="I am")
    assert rest == Piece(" I am not available to speak right now.", before="I'm sorry,")


def test_figures_that_follow_do_not_matter() -> None:
    opening, rest = pieces_of("The population of it is 1,000 people.")
    assert opening == Piece("The population", after="of it")
    assert rest == Piece(" of it is 1,000 people.", before="The population")


def test_a_clause_that_comes_at_once_is_one_piece() -> None:
    splitter = PieceSplitter(StreamingSettings())
    text = "The Brooklyn Bridge is over a hundred years old. And"
    assert splitter.push(text) == [Piece("The Brooklyn Bridge is over a hundred years old.")]
    assert splitter.finish() == [Piece(" And")]


def test_it_can_be_switched_off() -> None:
    assert pieces_of("The Brooklyn Bridge is old.", opening_letters=0) == [
        Piece("The Brooklyn Bridge is old.")
    ]


@pytest.mark.parametrize("most", [20, 30, 220])
def test_the_pieces_are_the_text(most: int) -> None:
    text = (
        "The engineers who built it had never seen a larger river before they came to this one. They stayed."
    )
    splitter_settings = {"clause_max_chars": most, "clause_min_chars": 10}
    assert "".join(piece.text for piece in pieces_of(text, **splitter_settings)) == text
