"""What of a conversation an LLM is shown, and when that changes."""

from __future__ import annotations

import itertools

from media.engines.protocols import ChatMessage
from media.items import Message, Part, Role
from media.prompt_window import PromptWindow
from media.session import HALF, Retention


def item(item_id: str, text: str, role: Role = "user") -> Message:
    return Message(item_id, role, (Part("input_text" if role == "user" else "output_text", text),))


def texts(messages: tuple[ChatMessage, ...]) -> list[str]:
    return [message.text for message in messages]


def test_roles_alternate() -> None:
    said = (
        item("1", "I would like"),
        item("2", "a table"),
        item("3", "Sure.", "assistant"),
        item("4", "Now."),
    )
    assert PromptWindow(1000).messages("Be brief.", said) == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "I would like a table"),
        ChatMessage("assistant", "Sure."),
        ChatMessage("user", "Now."),
    )


def test_a_question_only_adds_to_what_was_read_before_it() -> None:
    window = PromptWindow(2000)
    said: list[Message] = []
    compactions = 0
    last_read = window.messages("Be brief.", ())
    for turn in range(200):
        said.append(item(f"u{turn}", f"question {turn:03} " + "x" * (turn * 7 % 180)))
        asked = window.messages("Be brief.", tuple(said))
        # Now and then an answer is broken off before a word of it is heard.
        answer = f"answer {turn:03} " + "y" * (turn * 11 % 180)
        said.append(item(f"a{turn}", answer if turn % 5 else "", "assistant"))
        before = window.messages("Be brief.", tuple(said))
        window.compact(tuple(said))
        read = window.messages("Be brief.", tuple(said))
        compactions += read != before
        assert before[-len(read) + 1 :] == read[1:], "what stays is not as it was read"
        assert read[1].role == "user"
        assert read[-1].text.endswith(said[-1].text)
        # An answer of which nothing was heard is still due: nothing is left out before it.
        assert sum(map(len, texts(read)[1:])) <= 1500 or not turn % 5
        assert asked[: len(last_read) - 1] == last_read[:-1]
        assert asked[len(last_read) - 1].text.startswith(last_read[-1].text)
        last_read = read
    # Each of them makes room for a quarter of what is shown, at least.
    assert 1 <= compactions <= sum(len(entry.text) for entry in said) / 500


def test_what_was_left_out_stays_out_when_a_reply_is_cut() -> None:
    window = PromptWindow(400)
    said = [item("u0", "x" * 150), item("a0", "y" * 60, "assistant"), item("u1", "z" * 50)]
    said.append(item("a1", "w" * 150, "assistant"))
    window.compact(tuple(said))
    assert texts(window.messages("", tuple(said))) == ["", "z" * 50, "w" * 150]
    said[-1] = item("a1", "w", "assistant")
    window.compact(tuple(said))
    assert texts(window.messages("", tuple(said))) == ["", "z" * 50, "w"]


def test_a_turn_beyond_the_room_for_it_is_shown_whole_for_once() -> None:
    window = PromptWindow(1000)
    said = [item("u0", "x" * 300), item("a0", "y" * 300, "assistant"), item("u1", "z" * 700)]
    assert texts(window.messages("", tuple(said))) == ["", "z" * 700]
    said[-1] = item("u1", "z" * 100)
    assert len(window.messages("", tuple(said))) == 4


def test_a_session_may_keep_another_share() -> None:
    said = tuple(item(f"{n}", f"{n}" * 100, "assistant" if n % 2 else "user") for n in range(8))
    asked = (*said, item("8", "8" * 300))
    for retention, kept_when_asked, kept in (
        (HALF, 500, 400),
        (Retention(0.9), 900, 800),
        (Retention(0.0), 300, 200),
        (Retention(0.5, max_chars=400), 300, 200),
        (Retention(0.5, max_chars=5000), 500, 400),
    ):
        window = PromptWindow(1000)
        assert sum(map(len, texts(window.messages("", asked, retention)))) == kept_when_asked
        window.compact(said, retention)
        assert sum(map(len, texts(window.messages("", said, retention)))) == kept


def test_nothing_is_left_out_where_nothing_may_be() -> None:
    whole = Retention(share=None)
    window = PromptWindow(1000)
    said = tuple(item(f"{n}", f"{n}" * 800, "assistant" if n % 2 else "user") for n in range(8))
    window.compact(said, whole)
    assert sum(map(len, texts(window.messages("", said, whole)))) == 6400
    assert sum(map(len, texts(window.messages("", said)))) == 800, "and elsewhere it is"


def test_the_last_message_is_cut_at_its_beginning_and_does_not_stay() -> None:
    window = PromptWindow(1000)
    said = [item("1", "x" * 20_000 + " end")]
    assert window.messages("", tuple(said))[1].text.endswith("x end")
    assert len(window.messages("", tuple(said))[1].text) == 1000
    said += [item("2", "Are you there?"), item("3", "Hello?")]
    assert texts(window.messages("", tuple(said)))[1:] == ["Are you there? Hello?"]


def test_what_is_left_begins_with_the_caller() -> None:
    said = (item("1", "a" * 600), item("2", "b" * 600, "assistant"), item("3", "c"))
    assert [message.role for message in PromptWindow(1000).messages("", said)] == ["system", "user"]


def test_everything_is_shown_again_where_its_beginning_was_deleted() -> None:
    window = PromptWindow(400)
    said = [item("u0", "x" * 150), item("a0", "y" * 100, "assistant")]
    said += [item("u1", "z" * 50), item("a1", "w" * 50, "assistant")]
    window.compact(tuple(said))
    assert len(window.messages("", tuple(said))) == 3
    assert texts(window.messages("", tuple(said[:2]))) == ["", "x" * 150, "y" * 100]


def test_an_engine_that_takes_less_is_shown_less() -> None:
    window = PromptWindow(1000)
    said = tuple(item(f"{n}", f"{n}" * 100, "assistant" if n % 2 else "user") for n in range(8))
    assert len(window.messages("", said)) == 9
    window.tighten()
    window.compact(said)
    shown = window.messages("", said)
    assert sum(map(len, texts(shown))) <= 250
    assert shown[-1].text == "7" * 100
    assert all(a.role != b.role for a, b in itertools.pairwise(shown))
