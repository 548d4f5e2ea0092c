"""Texts over a data channel that are no UTF-8.

RFC 8831 wants UTF-8. aiortc 1.16 decodes texts where it reads packets, and what that raises would end the
whole connection.
"""

from __future__ import annotations

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import WEBRTC_STRING

NO_TEXT = "\ufffd"
"""Comes in the place of such a text: the sign for what could not be decoded. It is no JSON."""


def take_any_text(transport: RTCSctpTransport) -> None:
    """Lets a connection live on after a text that is none."""
    receive = transport._data_channel_receive

    async def receive_any(stream_id: int, pp_id: int, data: bytes) -> None:
        try:
            await receive(stream_id, pp_id, data)
        except UnicodeDecodeError:
            if pp_id == WEBRTC_STRING:
                await receive(stream_id, pp_id, NO_TEXT.encode())

    transport._data_channel_receive = receive_any  # type: ignore[method-assign]
