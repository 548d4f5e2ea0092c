"""Asterisk's AudioSocket: its frames, and what they mean.

https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket: a kind (u8), a length (u16, big-endian),
a payload. Asterisk calls; its first frame is the call's UUID. Sound is signed, little-endian, and its rate
stands in the kind; it is sent in the rate in which it comes.
"""

from __future__ import annotations

import uuid
from typing import Final

from signaling.streams.wire import BadMessage, Began, Ended, Heard, Pressed, StreamEvent, StreamFormat

HEADER_BYTES: Final = 3
HANG_UP: Final = 0x00
UUID: Final = 0x01
DTMF: Final = 0x03
ERROR: Final = 0xFF
RATES_HZ: Final = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
}
"""By the kind of sound."""
_KINDS: Final = {rate_hz: kind for kind, rate_hz in RATES_HZ.items()}

FORMAT_AT_FIRST: Final = StreamFormat("l16-little", RATES_HZ[0x10])
"""Until sound comes that says otherwise."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent, header and payload in one."""
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


def payload_bytes(header: bytes) -> int:
    """How much follows a header."""
    return int.from_bytes(header[1:HEADER_BYTES], "big")


class AudioSocketWire:
    """`signaling.streams.wire.Wire`; its messages are whole frames."""

    carrier = "audiosocket"
    clears = False
    most_ahead_s = 0.06
    """What is sent cannot be taken back."""

    def read(self, message: str | bytes) -> StreamEvent | None:
        assert isinstance(message, bytes)
        kind, payload = message[0], message[HEADER_BYTES:]
        match kind:
            case 0x00:
                return Ended("the far side hung up")
            case 0x01:
                if len(payload) != 16:
                    raise BadMessage("A UUID has 16 bytes.")
                return Began(str(uuid.UUID(bytes=payload)), FORMAT_AT_FIRST)
            case 0x03:
                if len(payload) != 1:
                    raise BadMessage("A key is one byte.")
                return Pressed(payload.decode("latin-1"))
            case 0xFF:
                return Ended("Asterisk told of an error")
            case _ if kind in RATES_HZ:
                return Heard(payload, format=StreamFormat("l16-little", RATES_HZ[kind]))
            case _:
                return None

    def voice(self, payload: bytes, format: StreamFormat) -> bytes:
        return frame(_KINDS[format.rate_hz], payload)

    def mark(self, name: str) -> None:
        return None

    def clear(self) -> None:
        return None

    def digits(self, digits: str) -> None:
        return None

    def hang_up(self) -> bytes:
        return frame(HANG_UP)
