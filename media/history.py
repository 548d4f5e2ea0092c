"""The conversation so far: items in order, and the messages that an LLM is shown of them."""

from __future__ import annotations

from dataclasses import replace

from media.engines.protocols import ChatMessage
from media.errors import CallerError
from media.items import Item

ROOT = "root"
"""As `previous_item_id`: before everything else."""


class History:
    """Items in order. An item's id is its identity; what is put again replaces it in place."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items.values())

    def add(self, item: Item, previous_item_id: str | None = None) -> str | None:
        """Enters an item: at the end, after another, or before all (`ROOT`). Returns the id before it.

        Raises:
            CallerError: its id is taken, or the previous item is unknown.
        """
        if item.id in self._items:
            raise CallerError(
                f"the conversation has an item {item.id} already",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        order = list(self._items)
        if previous_item_id is None:
            at = len(order)
        elif previous_item_id == ROOT:
            at = 0
        elif previous_item_id in self._items:
            at = order.index(previous_item_id) + 1
        else:
            raise CallerError(
                f"there is no item {previous_item_id} to put this one after",
                code="item_create_invalid_previous_item_id",
                param="previous_item_id",
            )
        order.insert(at, item.id)
        self._items[item.id] = item
        self._items = {item_id: self._items[item_id] for item_id in order}
        return order[at - 1] if at else None

    def put(self, item: Item) -> None:
        """Replaces an item. One that was deleted meanwhile stays deleted."""
        if item.id in self._items:
            self._items[item.id] = item

    def get(self, item_id: str) -> Item:
        """The item.

        Raises:
            CallerError: there is none of that id.
        """
        try:
            return self._items[item_id]
        except KeyError:
            raise CallerError(
                f"there is no item {item_id}", code="item_retrieve_invalid_item_id", param="item_id"
            ) from None

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one."""
        order = list(self._items)
        at = order.index(item_id) if item_id in self._items else 0
        return order[at - 1] if at else None

    def delete(self, item_id: str) -> None:
        """Takes the item out.

        Raises:
            CallerError: there is none of that id.
        """
        if self._items.pop(item_id, None) is None:
            raise CallerError(
                f"there is no item {item_id}", code="item_delete_invalid_item_id", param="item_id"
            )

    def clear(self) -> tuple[str, ...]:
        """Forgets everything; returns the ids of what was there."""
        gone = tuple(self._items)
        self._items = {}
        return gone


def prompt(instructions: str, items: tuple[Item, ...], max_chars: int) -> tuple[ChatMessage, ...]:
    """The messages for the LLM: the persona, then the newest items that fit in `max_chars`.

    Chat templates want the roles to alternate, beginning with the user's: consecutive messages of one role
    are joined. Old items go in halves of the budget, not one by one: the prefix that a cache holds then
    changes rarely. The last item is always there, its end at least.
    """
    said = [ChatMessage(item.role, item.text) for item in items if item.text.strip()]
    if said and len(said[-1].text) > max_chars:
        said[-1] = replace(said[-1], text=said[-1].text[-max_chars:])
    surplus = sum(len(message.text) for message in said) - max_chars
    if surplus > 0:
        step = max(1, max_chars // 2)
        to_drop = min(-(-surplus // step) * step, surplus + max_chars - len(said[-1].text))
        while len(said) > 1 and to_drop > 0:
            to_drop -= len(said.pop(0).text)
    while len(said) > 1 and said[0].role == "assistant" and surplus > 0:
        said.pop(0)
    merged: list[ChatMessage] = []
    for message in said:
        if merged and merged[-1].role == message.role:
            merged[-1] = replace(message, text=f"{merged[-1].text} {message.text}")
        else:
            merged.append(message)
    return (ChatMessage("system", instructions), *merged)
