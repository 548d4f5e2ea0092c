"""Calls of tools in a prompt: beside their outputs, and with what they were made for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.engines.protocols import ChatMessage
from media.items import FunctionCall, FunctionCallOutput, Item, ItemStatus, Message, Part, Role
from media.prompt_entries import NO_OUTPUT, awaits_output, entries_of
from media.prompt_window import PromptWindow


def said(text: str, role: Role = "user") -> Message:
    return Message(f"item_{role}_{text[:9]}", role, (Part("input_text", text),))


def called(call_id: str, arguments: str = "{}", status: ItemStatus = "completed") -> FunctionCall:
    return FunctionCall(f"item_{call_id}", call_id, "look", arguments, status)


def brought(call_id: str, output: str = "found") -> FunctionCallOutput:
    return FunctionCallOutput(f"item_{call_id}_output", call_id, output)


def outline(messages: tuple[ChatMessage, ...]) -> list[str]:
    """`user: hello`, `assistant: One moment. (a, b)`, `tool a: found`; without the system's."""
    lines = []
    for message in messages[1:]:
        asked = ", ".join(call.call_id for call in message.tool_calls)
        lines.append(
            f"{message.role}{f' {message.call_id}' if message.call_id else ''}: {message.text}"
            + (f" ({asked})" if asked else "")
        )
    return lines


WHO = said("who?")
MOMENT = said("One moment.", "assistant")
WELL = said("well?")


@pytest.mark.parametrize(
    ("items", "shown"),
    [
        ((WHO, called("a"), brought("a")), ["user: who?", "assistant:  (a)", "tool a: found"]),
        # What was said with the call, before it or while it was at work, is of its message.
        (
            (WHO, MOMENT, called("a"), brought("a")),
            ["user: who?", "assistant: One moment. (a)", "tool a: found"],
        ),
        (
            (WHO, called("a"), MOMENT, brought("a")),
            ["user: who?", "assistant: One moment. (a)", "tool a: found"],
        ),
        # Calls made together, in the order of their outputs; and one after the other.
        (
            (WHO, called("a"), called("b"), brought("b"), brought("a")),
            ["user: who?", "assistant:  (b, a)", "tool b: found", "tool a: found"],
        ),
        (
            (WHO, called("a"), brought("a"), called("b"), brought("b")),
            ["user: who?", "assistant:  (a)", "tool a: found", "assistant:  (b)", "tool b: found"],
        ),
        # Without an output: not shown, until the caller says something more.
        ((WHO, called("a")), ["user: who?"]),
        ((WHO, called("a"), MOMENT), ["user: who?", "assistant: One moment."]),
        (
            (WHO, called("a"), WELL),
            ["user: who?", "assistant:  (a)", f"tool a: {NO_OUTPUT}", "user: well?"],
        ),
        ((WHO, called("a"), WELL, brought("a")), ["user: who? well?", "assistant:  (a)", "tool a: found"]),
        # What cannot be.
        ((WHO, brought("a")), ["user: who?"]),
        ((WHO, brought("a"), called("a")), ["user: who?"]),
        ((WHO, called("a", status="incomplete"), WELL), ["user: who? well?"]),
        (
            (WHO, called("a"), brought("a"), brought("a", "again")),
            ["user: who?", "assistant:  (a)", "tool a: found"],
        ),
    ],
)
def test_where_a_call_is_shown(items: tuple[Item, ...], shown: list[str]) -> None:
    assert outline(PromptWindow(1000).messages("", items)) == shown


@pytest.mark.parametrize("arguments", ["", "nonsense", "[1]", '{"city": "Ber', "null"])
def test_arguments_that_no_template_could_take_apart_are_not_shown(arguments: str) -> None:
    items = (WHO, called("a", arguments), brought("a"))
    assert PromptWindow(1000).messages("", items)[2].tool_calls[0].arguments == "{}"


def test_calls_go_with_their_outputs_and_what_they_were_made_for() -> None:
    window = PromptWindow(1000)
    items: list[Item] = [said("x" * 300), said("y" * 300, "assistant"), said("z" * 100)]
    for number in range(6):
        items += [called(f"{number}"), brought(f"{number}", f"{number}" * 200)]
    shown = window.messages("", tuple(items))
    assert shown[1].text == "z" * 100, "the question"
    assert shown[-1].text == "5" * 200, "the latest output"
    assert sum(len(message.text) for message in shown) <= 600
    for asking, output in itertools.pairwise(shown[2:]):
        if asking.tool_calls:
            assert output.call_id == asking.tool_calls[0].call_id


def test_calls_take_up_half_at_most_each_a_share() -> None:
    items = (WHO, called("a", '{"x": "' + "y" * 900 + '"}'), called("b"), brought("a", "1" * 900))
    shown = PromptWindow(1000).messages("", (*items, brought("b", "2" * 900)))
    asking, first, second = shown[2:]
    assert [call.arguments for call in asking.tool_calls] == ["{}", "{}"]
    assert len(first.text) == len(second.text) == 125
    assert first.text.startswith("1" * 100)
    assert first.text.endswith("(cut)")


def test_nothing_is_left_out_while_a_tool_is_at_work() -> None:
    window = PromptWindow(400)
    items: tuple[Item, ...] = (said("x" * 150), said("y" * 150, "assistant"), WHO, called("a"), MOMENT)
    assert awaits_output(items)
    window.compact(items)
    assert len(window.messages("", items)) == 5
    items = (*items, brought("a"), said("Found.", "assistant"))
    assert not awaits_output(items)
    window.compact(items)
    assert outline(window.messages("", items)) == [
        "user: who?",
        "assistant: One moment. (a)",
        "tool a: found",
        "assistant: Found.",
    ]


ITEMS = st.lists(
    st.one_of(
        st.sampled_from(("user", "assistant")).flatmap(
            lambda role: st.integers(0, 300).map(lambda size: said("x" * size, role))
        ),
        st.integers(0, 3).map(lambda number: called(f"{number}")),
        st.tuples(st.integers(0, 4), st.integers(0, 800)).map(lambda of: brought(f"{of[0]}", "y" * of[1])),
    ),
    max_size=14,
)


@given(ITEMS)
def test_whatever_happened_a_prompt_is_well_formed(items: list[Item]) -> None:
    window = PromptWindow(600)
    window.compact(tuple(items))
    shown = window.messages("Be brief.", tuple(items))
    assert [message.role == "system" for message in shown] == [True] + [False] * (len(shown) - 1)
    open_calls: list[str] = []
    for before, message in itertools.pairwise(shown):
        if message.role == "tool":
            assert open_calls.pop(0) == message.call_id
        else:
            assert not open_calls, "an output is missing"
            assert before.role != message.role
        open_calls += [call.call_id for call in message.tool_calls]
    assert not open_calls


def test_entries_from_an_item_on_are_those_of_all_from_there_on() -> None:
    items = (WHO, called("a"), MOMENT, WELL, brought("a"), said("so?"), called("b"), brought("b"))
    whole = entries_of(items)
    for first in (entry.at for entry in whole):
        assert entries_of(items, first) == [entry for entry in whole if entry.at >= first]
