"""Server-sent events (WHATWG HTML, 9.2.6), read from pieces of bytes that end anywhere."""

from __future__ import annotations

import re

from media.errors import EngineError

EVENT_LIMIT_BYTES = 4 * 1024 * 1024
"""No event is longer: a peer that sends no end of one is not read for ever."""

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A CR at the end of what came may be half of a CR LF: it waits for the next byte."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Gives the data of one stream's events. Names, ids and retry times are nothing that we need."""

    def __init__(self) -> None:
        self._unread = b""
        self._at_start = True
        self._data: list[str] = []
        self._data_bytes = 0

    def push(self, piece: bytes) -> list[str]:
        """Takes the next bytes; gives the data of the events that they complete.

        Raises:
            EngineError: an event without end.
        """
        self._unread += piece
        if self._at_start:
            if len(self._unread) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(self._unread):
                return []
            self._unread = self._unread.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        *lines, self._unread = _LINE_END.split(self._unread)
        events = [event for line in lines if (event := self._take(line)) is not None]
        if self._data_bytes + len(self._unread) > EVENT_LIMIT_BYTES:
            raise EngineError(f"An event of more than {EVENT_LIMIT_BYTES} bytes was sent.")
        return events

    def finish(self) -> list[str]:
        """What the stream's end completes. The standard drops an event that no empty line ended; peers that
        leave out the last one mean it all the same."""
        lines = [self._unread.removesuffix(b"\r"), b""]
        self._unread = b""
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> str | None:
        """One line, whole: so a character that came in two pieces is whole here, too."""
        if not line:
            data, self._data, self._data_bytes = self._data, [], 0
            return "\n".join(data) or None
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
            self._data_bytes += len(value)
        return None
