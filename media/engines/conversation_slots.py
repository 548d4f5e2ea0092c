"""Which of a language model's slots each conversation has.

A slot keeps what it read last. A conversation that always comes back to its own has only its newest words
read; in another's, or left to llama.cpp's choice beside other calls of the same persona, all of it is read
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """The slots, shared by all conversations; used from one thread.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._conversations = [""] * count
        self._under_way = [0] * count
        self._order = list(range(count))
        """Least recently used first."""

    @contextmanager
    def of(self, conversation: str) -> Iterator[int]:
        """The conversation's slot, for one request. A new conversation takes over the one that was unused
        for longest, preferably one where nothing is under way. Requests to one slot follow each other.
        """
        slot = self._find(conversation)
        self._conversations[slot] = conversation
        self._order.remove(slot)
        self._order.append(slot)
        self._under_way[slot] += 1
        try:
            yield slot
        finally:
            self._under_way[slot] -= 1

    def _find(self, conversation: str) -> int:
        if conversation and conversation in self._conversations:
            return self._conversations.index(conversation)
        idle = (slot for slot in self._order if not self._under_way[slot])
        return next(idle, self._order[0])
