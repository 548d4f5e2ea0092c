"""A conversation's items as an LLM is shown them: messages, and calls of tools beside what they brought.

A call and its output may lie apart in the history: meanwhile the assistant has said something, or the
caller. Every chat template wants the output right after the call. So a call is shown where its output came
in: what was asked and said before is then read as it was before, and what the assistant said meanwhile is
said with the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pydantic_core import from_json

from media.engines.protocols import ChatMessage, ToolCall
from media.items import FunctionCall, FunctionCallOutput, Item, Message, answered_calls

NO_OUTPUT = "There is no result yet."
"""Shown as the output of a call where the caller has said something since, and the output is not there."""
CUT = " … (cut)"


@dataclass(frozen=True, slots=True)
class Entry:
    """What belongs together in a prompt: a message, or calls made together and their outputs.

    Attributes:
        at: the place of its item among the items; of calls, that of the first output.
        messages: one that was said; or an assistant's with the calls, and a `tool` for each.
    """

    at: int
    messages: tuple[ChatMessage, ...]

    @property
    def role(self) -> str:
        """Whose it is."""
        return self.messages[0].role

    @property
    def calls(self) -> bool:
        """Whether it is of calls."""
        return bool(self.messages[0].tool_calls)

    @property
    def chars(self) -> int:
        """How much there is to read."""
        return sum(
            len(message.text) + sum(len(call.arguments) for call in message.tool_calls)
            for message in self.messages
        )

    def fitted(self, max_chars: int) -> Entry:
        """The same; of too long a message its end, of too long calls and outputs their beginnings."""
        if self.chars <= max_chars:
            return self
        if not self.calls:
            (message,) = self.messages
            return replace(self, messages=(replace(message, text=message.text[-max_chars:]),))
        asking, *outputs = self.messages
        each_chars = max_chars // (2 * len(outputs))
        calls = tuple(
            call if len(call.arguments) <= each_chars else replace(call, arguments="{}")
            for call in asking.tool_calls
        )
        shorter = (replace(output, text=beginning(output.text, each_chars)) for output in outputs)
        return replace(self, messages=(replace(asking, tool_calls=calls), *shorter))


def beginning(text: str, max_chars: int) -> str:
    """The text, or as much of its beginning as that, which then says that it is cut."""
    if len(text) <= max_chars:
        return text
    return text[: max(0, max_chars - len(CUT))] + CUT


def entries_of(items: Sequence[Item], first: int = 0) -> list[Entry]:
    """The items that have something to say, from the one at `first` on, in order."""
    calls = {item.call_id: (at, item) for at, item in enumerate(items) if isinstance(item, FunctionCall)}
    answered = answered_calls(items)
    last_said = next((at for at in reversed(range(len(items))) if _is_said_by_caller(items[at])), -1)
    entries: list[Entry] = []
    for at, item in islice(enumerate(items), first, None):
        match item:
            case Message():
                if item.text.strip():
                    entries.append(Entry(at, (ChatMessage(item.role, item.text),)))
            case FunctionCallOutput():
                call_at, call = calls.pop(item.call_id, (at, None))
                if call is not None and call_at < at:
                    _add_call(entries, at, call_at, call, item.output)
            case FunctionCall():
                if item.call_id not in answered and item.status == "completed" and at < last_said:
                    _add_call(entries, at, at, item, NO_OUTPUT)
    return entries


def awaits_output(items: Sequence[Item]) -> bool:
    """Whether tools were called since the caller said something, and not all outputs are there."""
    answered = answered_calls(items)
    for item in reversed(items):
        if _is_said_by_caller(item):
            return False
        if isinstance(item, FunctionCall) and item.status == "completed" and item.call_id not in answered:
            return True
    return False


def joined(entries: Iterable[Entry]) -> list[ChatMessage]:
    """The entries' messages, those of one role that follow each other in one: chat templates want the roles
    to alternate."""
    messages: list[ChatMessage] = []
    for message in (message for entry in entries for message in entry.messages):
        last = messages[-1] if messages else None
        if last is None or last.role != message.role or message.role == "tool":
            messages.append(message)
        else:
            messages[-1] = replace(message, text=" ".join(filter(None, (last.text, message.text))))
    return messages


def _is_said_by_caller(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "user" and bool(item.text.strip())


def _add_call(entries: list[Entry], at: int, call_at: int, call: FunctionCall, output: str) -> None:
    """Shows a call and its output: with those before it, where the calls were made together."""
    asked = ToolCall(call.call_id, call.name, _json_object(call.arguments))
    brought = ChatMessage("tool", output, call_id=call.call_id)
    if entries and entries[-1].calls and call_at < entries[-1].at:
        asking, *outputs = entries[-1].messages
        asking = replace(asking, tool_calls=(*asking.tool_calls, asked))
        entries[-1] = replace(entries[-1], messages=(asking, *outputs, brought))
    else:
        entries.append(Entry(at, (ChatMessage("assistant", "", (asked,)), brought)))


def _json_object(arguments: str) -> str:
    """The arguments, where they are what chat templates take apart; else none."""
    try:
        value = from_json(arguments)
    except ValueError:
        return "{}"
    return arguments if isinstance(value, dict) else "{}"
