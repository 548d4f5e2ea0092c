"""The data channel that carries a session's events."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from aiortc import RTCDataChannel

LABEL = "oai-events"

MAX_WAITING_EVENTS = 512
"""Before the channel opens; beyond it the oldest is dropped. It opens within a round trip or never."""
MAX_BUFFERED_BYTES = 4 * 1024 * 1024
"""What a caller who no longer reads may let pile up."""

log = logging.getLogger(__name__)


class EventChannel:
    """Sends text over the caller's data channel, once there is one.

    Args:
        expected: the offer has a data channel; events wait for it. Otherwise they go nowhere.
        stalled: called when the caller has stopped reading.
    """

    def __init__(self, expected: bool, stalled: Callable[[], None]) -> None:
        self._waiting: deque[str] | None = deque(maxlen=MAX_WAITING_EVENTS) if expected else None
        self._stalled = stalled
        self._channel: RTCDataChannel | None = None

    @property
    def is_open(self) -> bool:
        return self._channel is not None

    def open(self, channel: RTCDataChannel, first: Callable[[], None]) -> None:
        """Takes the caller's channel into use.

        Args:
            channel: open.
            first: sends what goes before the events that waited.
        """
        self._channel = channel
        waiting, self._waiting = self._waiting or deque(), None
        first()
        for text in waiting:
            self.send(text)

    def send(self, text: str) -> None:
        """Sends, or keeps for later, or drops where there is nobody to send to."""
        if self._waiting is not None:
            self._waiting.append(text)
            return
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount > MAX_BUFFERED_BYTES:
            self._stalled()
            return
        try:
            channel.send(text)
        except ValueError:
            # Larger than the caller's SDP says it can take (64 KiB where it says nothing).
            log.warning("an event is too large for the caller", extra={"bytes": len(text)})
