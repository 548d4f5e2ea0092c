"""The conversation so far: items in order."""

from __future__ import annotations

from media.errors import CallerError
from media.items import FunctionCall, Item, Message

ROOT = "root"
"""As `previous_item_id`: before everything else."""


class History:
    """Items in order. An item's id is its identity; what is put again replaces it in place."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items.values())

    @property
    def transcribing(self) -> bool:
        """Whether something that the caller said has no words yet."""
        return any(
            isinstance(item, Message) and item.role == "user" and item.status == "in_progress"
            for item in self._items.values()
        )

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

    def get(self, item_id: str, code: str = "item_retrieve_invalid_item_id") -> Item:
        """The item.

        Raises:
            CallerError: there is none of that id; of this code.
        """
        try:
            return self._items[item_id]
        except KeyError:
            raise CallerError(f"there is no item {item_id}", code=code, param="item_id") from None

    def latest(self, item: Item) -> Item:
        """The item as it is now, if it is one of the history's; else as it is given."""
        return self._items.get(item.id, item)

    def require_call(self, call_id: str) -> None:
        """Checks that a tool was called under that id.

        Raises:
            CallerError: none was.
        """
        if not any(
            isinstance(item, FunctionCall) and item.call_id == call_id for item in self._items.values()
        ):
            raise CallerError(
                f"Tool call ID {call_id!r} not found in conversation.",
                code="invalid_tool_call_id",
                param="item.call_id",
            )

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
