"""Transaction layers joined by a network that loses what it is told to. For virtual time: no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from signaling.sip.counts import SipCounts
from signaling.sip.errors import SipTransportFailed
from signaling.sip.hop import Hop, Transport
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import parse
from signaling.sip.transaction_layer import TransactionLayer
from signaling.sip.transactions import Timers

DELAY_S = 0.01


def keep_all(_sender: Hop, _data: bytes) -> bool:
    return False


@dataclass
class Network:
    """Carries messages between the hops that joined it.

    Attributes:
        loses: of which messages, by sender and content, nothing arrives.
        log: first lines with the time at which they were sent and by whom.
    """

    loses: Callable[[Hop, bytes], bool] = keep_all
    log: list[tuple[float, Hop, str]] = field(default_factory=list)
    layers: dict[Hop, TransactionLayer] = field(default_factory=dict)

    def join(
        self,
        ip: str,
        on_request: Callable[[ServerTransaction], None],
        transport: Transport = Transport.UDP,
        max_transactions: int = 100,
    ) -> tuple[TransactionLayer, Hop]:
        """One more endpoint."""
        hop = Hop(transport, ip, 5060)
        wire = _Wire(self, hop)
        layer = TransactionLayer(wire, on_request, Timers(), max_transactions, SipCounts())
        self.layers[hop] = layer
        return layer, hop

    def carry(self, data: bytes, sender: Hop, to: Hop) -> None:
        loop = asyncio.get_running_loop()
        self.log.append((round(loop.time(), 3), sender, data.split(b"\r\n")[0].decode()))
        layer = self.layers.get(to)
        if layer is not None and not self.loses(sender, data):
            loop.call_later(DELAY_S, layer.receive, parse(data), sender)

    def sent(self, sender: Hop, start: str) -> list[float]:
        """When messages that begin so were sent."""
        return [at_s for at_s, who, line in self.log if who == sender and line.startswith(start)]


@dataclass
class _Wire:
    network: Network
    hop: Hop

    def send(self, data: bytes, hop: Hop, otherwise: Hop | None = None) -> None:
        self.network.carry(data, self.hop, hop)

    def sent_by(self, hop: Hop) -> str:
        if hop.transport is not self.hop.transport:
            raise SipTransportFailed("not spoken")
        return f"{self.hop.ip}:{self.hop.port}"
