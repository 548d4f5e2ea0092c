"""What carries the messages of transactions: sockets, or in tests a network that loses what it is told to."""

from __future__ import annotations

from typing import Protocol

from signaling.sip.hop import Hop


class Wire(Protocol):
    """Sends what it is given. Nothing here blocks, and nothing raises for want of a connection."""

    def send(self, data: bytes, hop: Hop, otherwise: Hop | None = None) -> None:
        """Sends one message.

        Args:
            hop: over a reliable transport: the connection that goes there, made anew if it is gone.
            otherwise: where a new connection goes to, if not there (RFC 3261, section 18.2.2).
        """

    def sent_by(self, hop: Hop) -> str:
        """Host and port that this side is reached at by who is there, as in a Via.

        Raises:
            SipTransportFailed: this side does not speak the transport.
        """
