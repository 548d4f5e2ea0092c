"""The history's order and identity, and what an LLM is shown of it."""

from __future__ import annotations

import itertools

import pytest

from media.engines.protocols import ChatMessage, SpokenWord
from media.errors import CallerError
from media.heard import SpokenClause, heard_text
from media.history import ROOT, History, prompt
from media.items import Item, Part, Role


def item(item_id: str, text: str = "", role: Role = "user") -> Item:
    return Item(item_id, role, (Part("input_text" if role == "user" else "output_text", text or item_id),))


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


def test_roles_alternate_in_the_prompt() -> None:
    said = (
        item("1", "I would like"),
        item("2", "a table"),
        item("3", "Sure.", "assistant"),
        item("4", "Now."),
    )
    assert prompt("Be brief.", said, 1000) == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "I would like a table"),
        ChatMessage("assistant", "Sure."),
        ChatMessage("user", "Now."),
    )


def test_a_long_conversation_keeps_its_end_and_a_stable_beginning() -> None:
    said: list[Item] = []
    beginnings = []
    for turn in range(200):
        said.append(item(f"u{turn}", f"question {turn:03} " + "x" * 80))
        said.append(item(f"a{turn}", f"answer {turn:03} " + "y" * 80, "assistant"))
        messages = prompt("Be brief.", tuple(said), 4000)
        assert sum(len(message.text) for message in messages[1:]) <= 4000
        assert messages[-1].text == said[-1].text
        beginnings.append(messages[1].text)
    changes = sum(a != b for a, b in itertools.pairwise(beginnings))
    assert changes <= 200 * 190 / 2000 + 2


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


def test_a_message_beyond_the_budget_is_cut_and_does_not_stay() -> None:
    said = [item("1", "x" * 20_000 + " end")]
    assert prompt("Be brief.", tuple(said), 1000)[1].text.endswith("x end")
    assert len(prompt("Be brief.", tuple(said), 1000)[1].text) == 1000
    said += [item("2", "Are you there?"), item("3", "Hello?")]
    assert prompt("Be brief.", tuple(said), 1000)[1:] == (ChatMessage("user", "Are you there? Hello?"),)


def test_what_is_left_begins_with_the_caller() -> None:
    said = (item("1", "a" * 600), item("2", "b" * 600, "assistant"), item("3", "c"))
    assert [message.role for message in prompt("Be brief.", said, 1000)] == ["system", "user"]
