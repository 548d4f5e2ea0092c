"""Tool calls that a model writes into its reply: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

That is how Qwen, Hermes, SmolLM2's larger ones and many more are taught to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping

from media.engines.protocols import LlmDelta, ToolCallDelta

OPEN = "<tool_call>"
CLOSE = "</tool_call>"

log = logging.getLogger(__name__)


class ToolCallText:
    """A reply's text, taken apart as it comes. After its first call nothing more is said."""

    def __init__(self) -> None:
        self._held = ""
        self._in_call = False
        self._calls = 0

    @property
    def has_called(self) -> bool:
        return self._calls > 0

    def push(self, text: str) -> Iterator[LlmDelta]:
        """More of the reply: what it says, and calls that are whole."""
        self._held += text
        while True:
            mark = CLOSE if self._in_call else OPEN
            before, found, after = self._held.partition(mark)
            if not found:
                break
            self._held = after
            yield from self._call(before) if self._in_call else self._say(before)
            self._in_call = not self._in_call
        if not self._in_call:
            held = _begun(self._held)
            said, self._held = self._held[: len(self._held) - held], self._held[len(self._held) - held :]
            yield from self._say(said)

    def finish(self) -> Iterator[LlmDelta]:
        """The reply has ended; some models leave the last mark to their end."""
        held, self._held = self._held, ""
        yield from self._call(held) if self._in_call else self._say(held)

    def _say(self, text: str) -> Iterator[LlmDelta]:
        if text and not self.has_called:
            yield LlmDelta(text)

    def _call(self, text: str) -> Iterator[LlmDelta]:
        """The call; nothing where it is none: nobody wants it read out."""
        try:
            call = json.loads(text)
        except ValueError:
            call = None
        if not isinstance(call, Mapping) or not isinstance(name := call.get("name"), str):
            log.warning("the language model called a tool in a form that nobody can read")
            return
        arguments = call.get("arguments", call.get("parameters")) or {}
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        yield LlmDelta("", tool_calls=(ToolCallDelta(self._calls, "", name, arguments),))
        self._calls += 1


def _begun(text: str) -> int:
    """How many of the last letters may be the beginning of a mark."""
    for length in range(min(len(text), len(OPEN) - 1), 0, -1):
        if OPEN.startswith(text[-length:]):
            return length
    return 0
