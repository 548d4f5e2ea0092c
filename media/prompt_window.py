"""How much of the conversation an LLM is shown, and where that begins.

An LLM reads some ninety tokens a second on one core, and reads only what differs from what it read last: a
prompt should grow at its end and keep its beginning. So nothing is left out when a question is asked. It is
left out when an answer is complete, to half of what may be shown (or the share that the session wants):
rarely, at a time when the rest may be read anew, and as whole exchanges, so that an engine that can move what
it has read need not.
"""

from __future__ import annotations

from collections.abc import Sequence

from media.engines.protocols import ChatMessage
from media.items import Item
from media.prompt_entries import Entry, awaits_output, entries_of, joined
from media.session import HALF, Retention

ROOM_FOR_A_TURN = 4
"""A quarter of what may be shown is kept for what the caller says next."""
ROOM_FOR_CALLS = 2
"""Calls made together and their outputs may take up half of what may be shown."""
SMALLEST_CHARS = 200


class PromptWindow:
    """The end of one conversation that its LLM is shown.

    Args:
        max_chars: of all messages together, the instructions not counted.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._first_id: str | None = None
        """The item that it begins with; None: the conversation's first."""

    def messages(
        self, instructions: str, items: tuple[Item, ...], retention: Retention = HALF
    ) -> tuple[ChatMessage, ...]:
        """The messages for the LLM: the persona, then the items of the window.

        Chat templates want the roles to alternate, beginning with the user's: consecutive messages of one
        role are joined. The last item is always there, its end at least; what else is too much for now is
        left out from its beginning. Calls of tools go with their outputs, and with what they were made for.
        Where nothing is to be left out, nothing is, however much it is.
        """
        said, most = self._shown(items), self._most_chars(retention)
        if said and retention.share is not None:
            said[-1] = said[-1].fitted(most)
            surplus = _chars(said) - most
            if surplus > 0:
                said = _without_oldest(said, surplus + most - round(retention.share * most), _asked_at(said))
        return (ChatMessage("system", instructions), *joined(said))

    def compact(self, items: tuple[Item, ...], retention: Retention = HALF) -> None:
        """Leaves out the oldest exchanges for good, where too little room is left for another turn.

        For a moment when nobody waits for an answer: the next prompt has another beginning, and what stays
        comes sooner in it, verbatim. Where the caller has said something last, or a tool is under way, an
        answer is due, and nothing is left out.
        """
        shown, most, share = self._shown(items), self._most_chars(retention), retention.share
        if (
            share is None
            or not shown
            or shown[-1].role != "assistant"
            or shown[-1].calls
            or awaits_output(items)
        ):
            return
        if _chars(shown) <= max(most - most // ROOM_FOR_A_TURN, share * most):
            return
        cut = len(shown) - len(_without_oldest(shown, _chars(shown) - round(share * most)))
        begin = cut
        while begin > 0 and shown[begin - 1].role == "user":
            # What the caller said before it, unanswered, is of the same message. That stays whole: else
            # nothing that follows would be as it was read.
            begin -= 1
        self._first_id = items[shown[begin or cut].at].id

    def tighten(self) -> None:
        """Shows half as much from now on: the engine took no more."""
        self._max_chars = max(SMALLEST_CHARS, self._max_chars // 2)

    def _most_chars(self, retention: Retention) -> int:
        if retention.max_chars is None:
            return self._max_chars
        return min(self._max_chars, max(SMALLEST_CHARS, retention.max_chars))

    def _shown(self, items: tuple[Item, ...]) -> list[Entry]:
        """Where the item that it begins with was deleted, everything is shown until it is compacted again."""
        ids = [item.id for item in items]
        first = ids.index(self._first_id) if self._first_id in ids else 0
        calls_chars = self._max_chars // ROOM_FOR_CALLS
        entries = entries_of(items, first)
        return [entry.fitted(calls_chars) if entry.calls else entry for entry in entries]


def _chars(said: Sequence[Entry]) -> int:
    return sum(entry.chars for entry in said)


def _asked_at(said: Sequence[Entry]) -> int | None:
    """What the caller said last, where tools were called for it."""
    at = max((at for at, entry in enumerate(said) if entry.role == "user"), default=None)
    return at if at is not None and any(entry.calls for entry in said[at + 1 :]) else None


def _without_oldest(said: list[Entry], chars: int, asked_at: int | None = None) -> list[Entry]:
    """The same without its first `chars` or more, whole entries; what is left begins with the caller's.

    The last entry stays, and that at `asked_at`.
    """
    at = 0
    while at < len(said) - 1 and at != asked_at and (chars > 0 or said[at].role == "assistant"):
        chars -= said[at].chars
        at += 1
    if at != asked_at:
        return said[at:]
    kept = at + 1
    while kept < len(said) - 1 and chars > 0:
        chars -= said[kept].chars
        kept += 1
    return [said[at], *said[kept:]]
