"""The calls of tools in a reply, while the LLM writes them."""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import from_json

from media.engines.protocols import ToolCallDelta
from media.items import FunctionCall, ItemStatus, new_id
from media.tool_offer import ToolOffer


class WrittenCalls:
    """The calls of one reply.

    Args:
        offer: what it may call. Of what it calls beyond that, nothing becomes.
    """

    def __init__(self, offer: ToolOffer) -> None:
        self._offer = offer
        self._calls: dict[int, FunctionCall] = {}

    @property
    def possible(self) -> bool:
        """Whether there may be any."""
        return self._offer.open

    @property
    def written(self) -> tuple[FunctionCall, ...]:
        """So far, in the order in which they were begun."""
        return tuple(self._calls.values())

    @property
    def for_server(self) -> tuple[FunctionCall, ...]:
        """Those that the server runs."""
        return tuple(call for call in self._calls.values() if call.by_server)

    def take(self, piece: ToolCallDelta) -> tuple[FunctionCall | None, bool]:
        """More of a call. Returns the call as it is now, and whether it is new; None where it may not be."""
        if not self._offer.open:
            return None, False
        call = self._calls.get(piece.index)
        is_new = call is None
        if call is None:
            if self._calls and not self._offer.parallel:
                return None, False
            by_server = self._offer.is_by_server(piece.name)
            # An id of our own: some engines count from call_1 in every reply.
            call = FunctionCall(new_id("item"), new_id("call"), piece.name, "", "in_progress", by_server)
        call = replace(call, arguments=call.arguments + piece.arguments)
        self._calls[piece.index] = call
        return call, is_new

    def finish(self, *, ended: bool, cut_off: bool) -> None:
        """No more of them is written.

        Args:
            ended: the LLM came to its end; else none of them counts.
            cut_off: its end was the token limit: a call counts only if its arguments are whole.
        """
        for index, call in self._calls.items():
            whole = ended and (not cut_off or _is_json(call.arguments))
            status: ItemStatus = "completed" if whole else "incomplete"
            self._calls[index] = replace(call, status=status)


def _is_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True
