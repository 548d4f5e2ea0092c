"""This side's place in SIP: its ports, its transactions, and how it is reached."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from sipmessage import URI, Parameters, Request

from media.clock import loop_time_s
from signaling.sip.counts import SipCounts
from signaling.sip.errors import BadMessage, SipTransportFailed
from signaling.sip.hop import Hop, Transport, literal_ip
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import copy_of, first_route, parse, serialise
from signaling.sip.outgoing import ClientTransaction
from signaling.sip.settings import SipTransportSettings
from signaling.sip.transaction_layer import TransactionLayer
from signaling.sip.transactions import Timers
from signaling.sip.transports import Transports

log = logging.getLogger(__name__)

MAX_UDP_REQUEST_BYTES = 1300
"""RFC 3261, section 18.1.1: what is longer goes over TCP. The Via that is still to come is reckoned in."""
_VIA_BYTES = 120
_TELL_AGAIN_S = 60.0
_UDP_ONLY_S = 600.0
"""Whoever takes no TCP is not asked again for so long: a silent firewall costs seconds each time."""
_MAX_UDP_ONLY = 256


class SipEndpoint:
    """Opens its ports when it is entered, and closes them when it is left: whoever waits then waits no more.

    Args:
        settings: where it listens.
        on_request: told of every new request but ACK and the CANCEL of an INVITE that there is. It must
            neither raise nor wait.
        admits: whether an address may send requests; whoever may not gets no answer. Asked before anything is
            read. Responses to this side's own requests are heard from anywhere.
        timers: how long what lasts.

    Attributes:
        counts: what came, and what was dropped.
    """

    def __init__(
        self,
        settings: SipTransportSettings,
        on_request: Callable[[ServerTransaction], None],
        *,
        admits: Callable[[str], bool],
        timers: Timers | None = None,
    ) -> None:
        self.counts = SipCounts()
        self._settings = settings
        self._told_s = float("-inf")
        self._udp_only: dict[Hop, float] = {}
        """Who takes no TCP, and until when that is believed."""
        self._transports = Transports(settings, admits, self._receive, self._lost, self.counts)
        self._layer = TransactionLayer(
            self._transports, on_request, timers or Timers(), settings.max_transactions, self.counts
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises: ConfigError: a port cannot be bound, or a certificate cannot be used."""
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(self._transports)
            undo.callback(self._layer.close)
            self._stack = undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def transactions(self) -> int:
        """How many are under way, in both directions together."""
        return len(self._layer)

    @property
    def connected(self) -> int:
        """How many connections there are, over TCP and TLS together."""
        return self._transports.connected

    # Requests

    async def request(self, request: Request, next_hop: URI | Hop | None = None) -> ClientTransaction:
        """Sends a request.

        Args:
            request: whole but for the Via, which is put on a copy. Max-Forwards is added if there is none.
            next_hop: where it goes; None takes the first Route, or the Request-URI.

        Raises:
            BadMessage: it cannot be written, or its next hop is no SIP address.
            SipTransportFailed: the next hop cannot be found or reached.
        """
        request = copy_of(request)
        if request.max_forwards is None:
            request.headers.set("Max-Forwards", "70")
        target = next_hop or first_route(request) or request.uri
        hop = target if isinstance(target, Hop) else await self.resolve(target)
        if hop.movable and hop.transport is Transport.UDP and _too_long(request):
            hop = await self._over_tcp(hop)
        return self._layer.begin(request, await self._transports.open(hop))

    async def _over_tcp(self, hop: Hop) -> Hop:
        """The hop over TCP if it takes that, as RFC 3261, section 18.1.1, has it."""
        tcp = Hop(Transport.TCP, hop.ip, hop.port)
        if self._transports.port(Transport.TCP) is None or self._udp_only.get(tcp, 0.0) > loop_time_s():
            return hop
        try:
            return await self._transports.open(tcp)
        except SipTransportFailed:
            if len(self._udp_only) >= _MAX_UDP_ONLY:
                self._udp_only.clear()
            self._udp_only[tcp] = loop_time_s() + _UDP_ONLY_S
            return hop

    async def resolve(self, uri: URI) -> Hop:
        """Where an address leads: to its host and port, by the system's resolver (no NAPTR nor SRV records).

        Raises:
            BadMessage: it is no SIP address, or names a transport that does not exist.
            SipTransportFailed: the host has no address.
        """
        transport = self._transport(uri)
        port = uri.port or transport.default_port
        name = uri.host if transport is Transport.TLS else ""
        ip = literal_ip(uri.host)
        if ip is None:
            ip = await self._look_up(uri.host, port)
        movable = uri.scheme == "sip" and uri.parameters.get("transport") is None
        return Hop(transport, ip, port, name.strip("[]"), movable)

    def _transport(self, uri: URI) -> Transport:
        if uri.scheme not in ("sip", "sips"):
            raise BadMessage("A telephone number alone has no place on the network: a SIP address has.")
        named = uri.parameters.get("transport")
        if uri.scheme == "sips":
            return Transport.TLS
        if named is not None:
            try:
                return Transport(named.upper())
            except ValueError:
                raise BadMessage("A SIP address names a transport that this side does not know.") from None
        spoken = [transport for transport in Transport if self._transports.port(transport) is not None]
        return spoken[0] if spoken else Transport.UDP

    async def _look_up(self, host: str, port: int) -> str:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=family, type=socket.SOCK_DGRAM
            )
        except (OSError, UnicodeError) as error:  # the latter: no name at all, by the rules of names
            raise SipTransportFailed(f"The host {host[:64]} is not known: {error}.") from error
        return str(found[0][4][0])

    def keep_alive(self, hop: Hop) -> None:
        """Sends what keeps a NAT's way open, and a connection from being idle.

        Raises:
            SipTransportFailed: the connection is gone.
        """
        self._transports.ping(hop)

    # Where this side is

    def contact(self, hop: Hop, user: str | None = None) -> URI:
        """How this side is reached by who is there.

        Raises:
            SipTransportFailed: this side does not speak the transport, or no network leads there.
        """
        host, _, port = self._transports.sent_by(hop).rpartition(":")
        transport = hop.transport
        parameters = (
            Parameters() if transport is Transport.UDP else Parameters(transport=transport.value.lower())
        )
        return URI(scheme="sip", user=user, host=host, port=int(port), parameters=parameters)

    def local_ip(self, hop: Hop) -> str:
        """The address of this machine that leads there, in figures: not the advertised one.

        Raises:
            SipTransportFailed: this side does not speak the transport, or no network leads there.
        """
        return self._transports.local_ip(hop)

    def port(self, transport: Transport) -> int | None:
        """Where this side listens; None where it does not speak the transport."""
        return self._transports.port(transport)

    # What comes

    def _receive(self, data: bytes, source: Hop) -> None:
        try:
            message = parse(data)
            self._layer.receive(message, source)
        except BadMessage as error:
            self.counts.malformed += 1
            self._tell_of_malformed(error)
        else:
            self.counts.understood += 1

    def _tell_of_malformed(self, error: BadMessage) -> None:
        """Once a minute: whoever sends such things sends many."""
        if loop_time_s() - self._told_s >= _TELL_AGAIN_S:
            self._told_s = loop_time_s()
            log.warning(
                "SIP messages dropped: not understood",
                extra={"latest": str(error), "so_far": self.counts.malformed},
            )

    def _lost(self, hop: Hop) -> None:
        self._layer.lose_transport(hop)


def _too_long(request: Request) -> bool:
    return len(serialise(request)) + _VIA_BYTES > MAX_UDP_REQUEST_BYTES
