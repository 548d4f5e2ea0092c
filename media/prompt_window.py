"""How much of the conversation an LLM is shown, and where that begins.

An LLM reads some ninety tokens a second on one core, and reads only what differs from what it read last: a
prompt should grow at its end and keep its beginning. So nothing is left out when a question is asked. It is
left out when an answer is complete, to half of what may be shown, and there is time to read the rest anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from media.engines.protocols import ChatMessage
from media.items import Item, Message

ROOM_FOR_A_TURN = 4
"""A quarter of what may be shown is kept for what the caller says next."""
SMALLEST_CHARS = 200

Said: TypeAlias = ChatMessage | Message
SaidT = TypeVar("SaidT", ChatMessage, Message)


class PromptWindow:
    """The end of one conversation that its LLM is shown.

    Args:
        max_chars: of all messages together, the instructions not counted.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._first_id: str | None = None
        """The item that it begins with; None: the conversation's first."""

    def messages(self, instructions: str, items: tuple[Item, ...]) -> tuple[ChatMessage, ...]:
        """The messages for the LLM: the persona, then the items of the window.

        Chat templates want the roles to alternate, beginning with the user's: consecutive messages of one
        role are joined. The last item is always there, its end at least; what else is too much for now is
        left out from its beginning.
        """
        said = [ChatMessage(item.role, item.text) for item in self._shown(items) if item.text.strip()]
        if said and len(said[-1].text) > self._max_chars:
            said[-1] = replace(said[-1], text=said[-1].text[-self._max_chars :])
        surplus = _chars(said) - self._max_chars
        if surplus > 0:
            said = _without_oldest(said, surplus + self._max_chars // 2)
        merged: list[ChatMessage] = []
        for message in said:
            if merged and merged[-1].role == message.role:
                merged[-1] = replace(message, text=f"{merged[-1].text} {message.text}")
            else:
                merged.append(message)
        return (ChatMessage("system", instructions), *merged)

    def compact(self, items: tuple[Item, ...]) -> None:
        """Leaves out the oldest exchanges for good, where too little room is left for another turn.

        For a moment when nobody waits for an answer: the next prompt has another beginning. Where the caller
        has said something last, an answer is due, and nothing is left out.
        """
        shown = self._shown(items)
        if not shown or shown[-1].role != "assistant":
            return
        if _chars(shown) <= self._max_chars - self._max_chars // ROOM_FOR_A_TURN:
            return
        kept = _without_oldest(shown, _chars(shown) - self._max_chars // 2)
        self._first_id = kept[0].id

    def tighten(self) -> None:
        """Shows half as much from now on: the engine took no more."""
        self._max_chars = max(SMALLEST_CHARS, self._max_chars // 2)

    def _shown(self, items: tuple[Item, ...]) -> list[Message]:
        """Where the item that it begins with was deleted, everything is shown until it is compacted again."""
        ids = [item.id for item in items]
        first = ids.index(self._first_id) if self._first_id in ids else 0
        return [item for item in items[first:] if isinstance(item, Message)]


def _chars(said: Sequence[Said]) -> int:
    return sum(len(entry.text) for entry in said)


def _without_oldest(said: list[SaidT], chars: int) -> list[SaidT]:
    """The same without its first `chars` or more, whole entries; what is left begins with the caller's."""
    at = 0
    while at < len(said) - 1 and (chars > 0 or said[at].role == "assistant"):
        chars -= len(said[at].text)
        at += 1
    return said[at:]
