"""Cuts a stream into SIP messages (RFC 3261, section 18.3) and keepalives (RFC 5626, section 3.5.1)."""

from __future__ import annotations

import re
from typing import Final

from signaling.sip.errors import BadMessage
from signaling.sip.messages import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES

PING: Final = b"\r\n\r\n"
"""Between messages: the far side asks whether we are there."""
PONG: Final = b"\r\n"
"""What answers it."""

_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE
)


class Framer:
    """One stream's. No I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0
        """So much of the buffer was searched for the end of the header fields."""
        self._length: int | None = None
        """Of the message that the buffer begins with, once its header fields are whole."""

    def feed(self, data: bytes) -> list[bytes]:
        """What is whole now: messages, and `PING`s between them.

        Raises:
            BadMessage: the stream holds no messages, or too long ones; nothing more can be told apart in it.
        """
        self._buffer += data
        whole: list[bytes] = []
        while (piece := self._next()) is not None:
            if piece != PONG:
                whole.append(piece)
        return whole

    def _next(self) -> bytes | None:
        if self._length is None and self._buffer.startswith(b"\r"):
            return self._keepalive()
        if self._length is None:
            self._length = self._message_length()
        if self._length is None or len(self._buffer) < self._length:
            return None
        return self._take(self._length)

    def _keepalive(self) -> bytes | None:
        if self._buffer.startswith(PING):
            return self._take(len(PING))
        if PING.startswith(self._buffer):
            return None  # half of a ping, or a pong: the next bytes tell
        if self._buffer.startswith(PONG):
            return self._take(len(PONG))
        raise BadMessage("A stream holds something else than SIP messages.")

    def _message_length(self) -> int | None:
        end = self._buffer.find(_END, max(0, self._seen - len(_END) + 1))
        self._seen = len(self._buffer)
        if end > MAX_HEADER_BYTES or (end < 0 and self._seen > MAX_HEADER_BYTES):
            raise BadMessage("A message's header fields are too long.")
        if end < 0:
            return None
        lengths = {int(length) for length in _CONTENT_LENGTH.findall(self._buffer[: end + 2])}
        if len(lengths) > 1:
            raise BadMessage("A message has more than one Content-Length.")
        length = end + len(_END) + (lengths.pop() if lengths else 0)
        if length > MAX_MESSAGE_BYTES:
            raise BadMessage("A message is too long.")
        return length

    def _take(self, length: int) -> bytes:
        piece = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._seen = 0
        self._length = None
        return piece
