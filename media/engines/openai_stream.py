"""Chunks of one streamed chat completion (`chat.completion.chunk`), turned into deltas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from media.engines.openai_events import event_of
from media.engines.openai_faults import LLM, EndpointFault
from media.engines.protocols import LlmDelta, ToolCallDelta


@dataclass(slots=True)
class _Call:
    """A tool call whose pieces come in: told from its name's end on, which its first arguments show."""

    index: int
    call_id: str = ""
    name: str = ""
    told: bool = False


class CompletionStream:
    """What came of one reply so far.

    Servers differ in how they cut tool calls: an id or a name again with every piece, no index, one index for
    several calls, arguments as an object. What goes out is as `ToolCallDelta` says.
    """

    def __init__(self) -> None:
        self._finish: Literal["stop", "length", "tool_calls"] | None = None
        self._usage: Mapping[str, Any] = {}
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._done = False
        self.begun = False
        """Whether anything of the reply has come: words, or a call."""

    @property
    def done(self) -> bool:
        """Nothing more will come."""
        return self._done

    @property
    def finished(self) -> bool:
        """The reply is whole; its usage may still come."""
        return self._finish is not None

    def receive(self, data: str) -> Iterator[LlmDelta]:
        """One event's data.

        Raises:
            EndpointFault: it tells of one, or is no chunk.
        """
        chunk = event_of(LLM, data)
        if chunk is None:
            self._done = True
            return
        self._usage = _mapping(chunk.get("usage")) or self._usage
        for choice in _mappings(chunk.get("choices")):
            yield from self._receive_choice(choice)

    def last(self) -> Iterator[LlmDelta]:
        """What the stream's end adds: calls without arguments, why it ended, the usage.

        Raises:
            EndpointFault: it ended before the reply did.
        """
        if self._finish is None and not (self._done and self.begun):
            raise EndpointFault(f"{LLM.endpoint} ended the reply before its end.", retryable=True)
        yield from self._tell_open_calls()
        finish = self._finish or "stop"
        if self._calls and finish == "stop":  # not every server says so
            finish = "tool_calls"
        details = _mapping(self._usage.get("prompt_tokens_details"))
        yield LlmDelta(
            "",
            finish,
            input_tokens=_count(self._usage.get("prompt_tokens")),
            output_tokens=_count(self._usage.get("completion_tokens")),
            cached_tokens=_count(details.get("cached_tokens")),
        )

    def _receive_choice(self, choice: Mapping[str, Any]) -> Iterator[LlmDelta]:
        delta = _mapping(choice.get("delta"))
        text = delta.get("content")
        if isinstance(text, str) and text:
            self.begun = True
            yield LlmDelta(text)
        pieces = [piece for call in _mappings(delta.get("tool_calls")) for piece in self._receive_call(call)]
        if pieces:
            yield LlmDelta("", tool_calls=tuple(pieces))
        match choice.get("finish_reason"):
            case None:
                pass
            case "length" | "tool_calls" as reason:
                self._finish = reason
            case _:
                self._finish = "stop"

    def _receive_call(self, piece: Mapping[str, Any]) -> Iterator[ToolCallDelta]:
        self.begun = True
        function = _mapping(piece.get("function"))
        call_id, name, arguments = (
            piece.get("id") or "",
            function.get("name") or "",
            function.get("arguments"),
        )
        if isinstance(arguments, Mapping | list):
            arguments = json.dumps(arguments)
        call = self._call_of(piece.get("index"), str(call_id), str(name))
        if not call.told:
            call.call_id = call.call_id or str(call_id)
            if name != call.name:  # the next part of it; a name again with each piece is none
                call.name += str(name)
        if arguments:
            yield self._told(call, str(arguments))

    def _call_of(self, index: object, call_id: str, name: str) -> _Call:
        """The call that a piece belongs to. Another id is another call, whatever its index says."""
        numbered = isinstance(index, int)
        latest = self._calls[-1] if self._calls else None
        known = self._by_index.get(index) if isinstance(index, int) else latest
        if known is not None:
            another = bool(call_id and known.call_id) and call_id != known.call_id
            begins = not numbered and not call_id and bool(name) and known.told
            if not another and not begins:
                return known
        call = _Call(len(self._calls))
        self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _told(self, call: _Call, arguments: str) -> ToolCallDelta:
        if call.told:
            return ToolCallDelta(call.index, "", "", arguments)
        call.told = True
        return ToolCallDelta(call.index, call.call_id, call.name, arguments)

    def _tell_open_calls(self) -> Iterator[LlmDelta]:
        """Calls of functions that take no arguments, and got none, not even an empty object."""
        untold = tuple(self._told(call, "{}") for call in self._calls if not call.told)
        if untold:
            yield LlmDelta("", tool_calls=untold)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
