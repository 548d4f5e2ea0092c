"""Keys of telephones as events in RTP: RFC 4733. Pure.

Coming in, a press is told once, with its first packet: it is known by its timestamp, which all its packets
share, and needs neither a marker nor an end. Going out, a press is a row of packets 20 ms apart: the first
has the marker, all have one timestamp, the duration grows, and the last is sent three times.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KEYS: Final = "0123456789*#ABCD"
"""By event code (RFC 4733, section 3.2)."""

_PAYLOAD: Final = struct.Struct("!BBH")
"""Event; end, reserved and volume; duration."""
_END: Final = 0x80
_VOLUME: Final = 10
"""-10 dBm0, as telephones have it."""
_LONGEST: Final = 0xFFFF
_SPLIT_FROM: Final = 0xF000
"""A press that lasts longer than a duration can tell goes on under another timestamp (section 2.5.1.3)."""
_SHORTEST_PRESS_S: Final = 0.05
"""Nobody presses a key again sooner than this after they pressed it: the sender renews its timestamps."""
FORGOTTEN_AFTER_S: Final = 0.2
"""A press of which nothing has come for so long is over: its end was lost."""
_REMEMBERED: Final = 8

PACKET_S: Final = 0.02
_PRESS_PACKETS: Final = 6
"""120 ms; nobody asks for more than 70 (ITU-T Q.24)."""
_END_PACKETS: Final = 3
_PAUSE_PACKETS: Final = 3
"""After the last end: with the ends, 100 ms between two keys."""


class PressedKeys:
    """The far side's presses.

    Args:
        rate_hz: of the events' timestamps.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._recent: deque[int] = deque(maxlen=_REMEMBERED)
        """Timestamps of presses that were told, so that packets that come late are not taken for new ones."""
        self._code = -1
        self._timestamp = 0
        self._duration = 0
        self._ended = True
        self._last_s = float("-inf")

    @property
    def pressed(self) -> bool:
        """Whether the last press has not ended yet, as far as is known."""
        return not self._ended

    def push(self, payload: bytes, timestamp: int, at_s: float) -> str | None:
        """An event's packet: the key, if this is the first of its press. Whatever is no key is skipped."""
        if len(payload) < _PAYLOAD.size:
            return None
        code, flags, duration = _PAYLOAD.unpack_from(payload)
        if code >= len(KEYS):
            return None
        if at_s - self._last_s > FORGOTTEN_AFTER_S:
            self._ended, self._code = True, -1
        if timestamp == self._timestamp and self._recent:
            self._note(duration, flags, at_s)
            return None
        if timestamp in self._recent:
            return None
        goes_on = self._goes_on(code, timestamp)
        self._code, self._timestamp, self._duration = code, timestamp, 0
        self._recent.append(timestamp)
        self._ended = False
        self._note(duration, flags, at_s)
        return None if goes_on else KEYS[code]

    def _note(self, duration: int, flags: int, at_s: float) -> None:
        self._duration = max(self._duration, duration)
        self._ended = self._ended or bool(flags & _END)
        self._last_s = at_s

    def _goes_on(self, code: int, timestamp: int) -> bool:
        """Whether a packet with another timestamp is of the same press."""
        if code != self._code:
            return False
        since = (timestamp - self._timestamp) & 0xFFFFFFFF
        if since < _SHORTEST_PRESS_S * self.rate_hz:
            # The ends, too, where each has a timestamp of its own.
            return True
        return not self._ended and self._duration >= _SPLIT_FROM


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What is sent of a press at one beat.

    Attributes:
        payload: of the event.
        first: whether a press begins with it: the marker is set, and the timestamp is that of its beat.
    """

    payload: bytes
    first: bool


def press_packets(digits: str, rate_hz: int) -> Iterator[EventPacket | None]:
    """What is sent for these keys, beat by beat of 20 ms; None: nothing.

    Args:
        digits: each of `KEYS`.
        rate_hz: of the durations.
    """
    tick = round(PACKET_S * rate_hz)
    for digit in digits:
        code = KEYS.index(digit)
        for at in range(1, _PRESS_PACKETS):
            yield EventPacket(_PAYLOAD.pack(code, _VOLUME, at * tick), at == 1)
        for _ in range(_END_PACKETS):
            yield EventPacket(_PAYLOAD.pack(code, _END | _VOLUME, _PRESS_PACKETS * tick), False)
        for _ in range(_PAUSE_PACKETS):
            yield None
