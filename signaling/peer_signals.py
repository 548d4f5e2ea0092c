"""aiortc's callbacks, bridged: they only enqueue, and one reader acts on them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from aiortc import RTCDataChannel, RTCDtlsTransport, RTCPeerConnection

from signaling.event_channel import LABEL

MAX_UNREAD_SIGNALS = 1000
"""Messages of the caller that wait to be acted on; one who sends more is hung up on."""


class Link(Enum):
    """Where a call's connection stands."""

    CONNECTING = auto()
    CONNECTED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class LinkChanged:
    link: Link
    why: str


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    channel: RTCDataChannel


@dataclass(frozen=True, slots=True)
class MessageCame:
    text: str


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The caller closed the channel; the connection may go on."""


Signal: TypeAlias = LinkChanged | ChannelOpened | MessageCame | ChannelClosed


class PeerSignals:
    """Puts each callback into a queue.

    Args:
        peer: the connection to listen to.
        overflowed: called when the queue is full: signals are never dropped, a caller who floods is.
    """

    def __init__(self, peer: RTCPeerConnection, overflowed: Callable[[], None]) -> None:
        self.queue: asyncio.Queue[Signal] = asyncio.Queue(MAX_UNREAD_SIGNALS)
        self._peer = peer
        self._overflowed = overflowed
        peer.on("connectionstatechange", self._connection_changed)
        peer.on("datachannel", self._channel_came)

    def watch(self, transport: RTCDtlsTransport) -> None:
        """Notices the caller's goodbye, which the peer connection's own state does not tell."""
        transport.on("statechange", lambda: self._transport_changed(transport))

    def _put(self, signal: Signal) -> None:
        try:
            self.queue.put_nowait(signal)
        except asyncio.QueueFull:
            self._overflowed()

    def _connection_changed(self) -> None:
        match self._peer.connectionState:
            case "connected":
                self._put(LinkChanged(Link.CONNECTED, "connected"))
            case "failed" | "closed" as state:
                self._put(LinkChanged(Link.ENDED, f"connection {state}"))

    def _transport_changed(self, transport: RTCDtlsTransport) -> None:
        if transport.state in ("closed", "failed"):
            self._put(LinkChanged(Link.ENDED, f"DTLS {transport.state}"))

    def _channel_came(self, channel: RTCDataChannel) -> None:
        if channel.label != LABEL:
            return
        channel.on("message", self._message_came)
        channel.on("close", lambda: self._put(ChannelClosed()))
        self._put(ChannelOpened(channel))

    def _message_came(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode(errors="replace")
        self._put(MessageCame(text))
