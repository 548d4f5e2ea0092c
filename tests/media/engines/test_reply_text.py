"""Text and tool calls of a reply whose tokens come one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.engines.protocols import LlmDelta, ToolCallDelta
from media.engines.token_text import TokenText
from media.engines.tool_call_text import ToolCallText


def decode(tokens: Sequence[int]) -> str:
    """A token is a byte."""
    return bytes(tokens).decode("utf-8", "replace")


@given(st.text())
def test_no_letter_is_lost_or_told_before_it_is_whole(text: str) -> None:
    told = TokenText(decode)
    pieces = [told.push(token) for token in text.encode()]
    assert "".join(pieces) + told.finish() == text or "�" in text
    assert all(text.startswith("".join(pieces[:at])) for at in range(len(pieces))) or "�" in text


def test_a_character_that_stays_half_is_left_out() -> None:
    told = TokenText(decode)
    assert [told.push(token) for token in "a€".encode()[:-1]] == ["a", "", ""]
    assert told.finish() == ""


def test_spaces_that_a_token_loses_on_its_own_stay() -> None:
    words = ["▁Hello", "▁there", "."]
    told = TokenText(lambda tokens: "".join(words[at] for at in tokens).replace("▁", " ").removeprefix(" "))
    assert [told.push(at) for at in range(3)] == ["Hello", " there", "."]


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'


def parsed(pieces: Sequence[str]) -> tuple[str, list[ToolCallDelta]]:
    reply = ToolCallText()
    deltas: list[LlmDelta] = [delta for piece in pieces for delta in reply.push(piece)]
    deltas += reply.finish()
    return "".join(delta.text for delta in deltas), [call for delta in deltas for call in delta.tool_calls]


WEATHER = ToolCallDelta(0, "", "weather", '{"city": "Köln"}')


@pytest.mark.parametrize("length", range(1, 12))
def test_a_call_is_found_however_it_is_cut(length: int) -> None:
    text = f"Let me see. {CALL}\n{CALL} And more."
    pieces = [text[at : at + length] for at in range(0, len(text), length)]
    said, calls = parsed(pieces)
    assert said.strip() == "Let me see."
    assert calls == [WEATHER, ToolCallDelta(1, "", "weather", '{"city": "Köln"}')]


@pytest.mark.parametrize(
    ("text", "said", "names"),
    [
        ("2 < 3 and <b>", "2 < 3 and <b>", []),
        ("It ends with <tool", "It ends with <tool", []),
        ('<tool_call>{"name": "now"}', "", ["now"]),  # the last mark was left to the reply's end
        ('<tool_call>{"name": "now", "parameters": {}}</tool_call>', "", ["now"]),
        ("<tool_call>now()</tool_call>", "", []),
        ("<tool_call>[1]</tool_call>Well.", "Well.", []),
    ],
)
def test_what_is_no_call_is_said_and_what_nobody_can_read_is_not(
    text: str, said: str, names: list[str]
) -> None:
    assert (parsed([text])[0], [call.name for call in parsed([text])[1]]) == (said, names)
