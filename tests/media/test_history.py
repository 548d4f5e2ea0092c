"""The history's order and identity, and what was heard of a clause."""

from __future__ import annotations

import pytest

from media.engines.protocols import SpokenWord
from media.errors import CallerError
from media.heard import SpokenClause, heard_text
from media.history import ROOT, History
from media.items import Message, Part, Role


def item(item_id: str, text: str = "", role: Role = "user") -> Message:
    return Message(item_id, role, (Part("input_text" if role == "user" else "output_text", text or item_id),))


def ids(history: History) -> list[str]:
    return [entry.id for entry in history.items]


def test_items_go_where_they_are_told() -> None:
    history = History()
    assert history.add(item("a")) is None
    assert history.add(item("b")) == "a"
    assert history.add(item("first"), ROOT) is None
    assert history.add(item("between"), "a") == "a"
    assert ids(history) == ["first", "a", "between", "b"]
    assert history.before("between") == "a"
    assert history.before("first") is None


def test_identity() -> None:
    history = History()
    history.add(item("a"))
    with pytest.raises(CallerError) as duplicate:
        history.add(item("a"))
    assert duplicate.value.code == "item_create_duplicate_item_id"
    with pytest.raises(CallerError) as nowhere:
        history.add(item("b"), "nobody")
    assert nowhere.value.param == "previous_item_id"
    for ask in (history.get, history.delete):
        with pytest.raises(CallerError, match="nobody"):
            ask("nobody")
    assert ids(history) == ["a"]


def test_what_was_deleted_stays_deleted() -> None:
    history = History()
    history.add(item("a"))
    history.put(item("a", "changed"))
    assert history.get("a").text == "changed"
    history.delete("a")
    history.put(item("a"))
    assert history.items == ()


WORDS = [SpokenWord(word, n * 0.5, (n + 1) * 0.5) for n, word in enumerate(["five", "dollars", "please"])]


@pytest.mark.parametrize(
    ("heard_s", "expected"),
    [
        (0.0, ""),
        (1.2, ""),
        (1.3, "Five"),
        (1.8, "Five dollars"),
        (2.5, "Five dollars please."),
        (9, "Five dollars please."),
    ],
)
def test_words_count_as_heard_from_their_middle(heard_s: float, expected: str) -> None:
    clause = SpokenClause("Five dollars please.", 1.0, 3, list(WORDS), 2.5, complete=True)
    assert heard_text([clause], heard_s) == expected


def test_clauses_before_are_whole_and_those_after_are_not_there() -> None:
    clauses = [
        SpokenClause("Yes. ", 0.0, 1, [], 1.0, complete=True),
        SpokenClause("$5 please.", 1.0, 3, list(WORDS), 2.5, complete=True),
        SpokenClause("Bye.", 2.5, 1, [], 3.0, complete=True),
    ]
    assert heard_text(clauses, 2.0) == "Yes. $5"
    assert heard_text(clauses, 2.6) == "Yes. $5 please."
    assert heard_text(clauses, 3.0) == "Yes. $5 please. Bye."


def test_a_clause_that_is_still_made_is_not_heard_whole() -> None:
    clause = SpokenClause("Five dollars please, my friend.", 1.0, 5, list(WORDS[:2]), 2.0)
    assert clause.heard_text(1.3) == "Five"
    assert clause.heard_text(9.0) == "Five dollars"
    assert SpokenClause("Nothing yet.", 1.0, 2, [], 1.0).heard_text(1.0) == ""
