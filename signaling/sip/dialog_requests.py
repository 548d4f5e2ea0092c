"""This side's requests within a dialog: where they go, and with which credentials."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from typing import Final

from sipmessage import URI, Request, Response

from signaling.sip.dialog import Dialog
from signaling.sip.digest import AuthenticationFailed, DigestClient
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage, SipTimeout, SipTransportFailed
from signaling.sip.hop import Hop, literal_ip
from signaling.sip.identity import describe
from signaling.sip.outgoing import ClientTransaction

_TRIES: Final = 3
"""Of one request: a challenge each of a proxy and the far side."""


class DialogGone(Exception):
    """The far side knows the dialog no longer, or is not there: the call is over (RFC 5057, 5.1)."""


def flow_to(contact: URI, seen: Hop, *, connected: bool) -> Hop | None:
    """Where requests to a far side go that cannot be reached at its Contact; None: they go there.

    Whoever is behind a NAT names an address that leads nowhere from here, and is reached where its messages
    come from (RFC 3581 has the same for responses); whoever connected is reached over that connection
    (RFC 5923).

    Args:
        contact: what the far side says.
        seen: where its INVITE came from, or where ours went.
        connected: whether it has come to us.
    """
    if connected and seen.transport.reliable:
        return seen
    named = literal_ip(contact.host)
    if named is None or named == seen.ip:
        return None
    hidden = not ipaddress.ip_address(named).is_global and ipaddress.ip_address(seen.ip).is_global
    return seen if hidden else None


class DialogRequests:
    """Sends a dialog's requests.

    Args:
        endpoint: open.
        dialog: whose.
        contact: this side's, as it is written in headers.
        digest: answers challenges; None: they are refusals.
        seen: where the far side's INVITE came from, or where ours went. Requests go there, or where a later
            one came from, where the far side is hidden (`flow_to`), or names a host that there is not.
        connected: whether it has come to us.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        dialog: Dialog,
        contact: str,
        digest: DigestClient | None,
        seen: Hop,
        *,
        connected: bool,
    ) -> None:
        self.dialog = dialog
        self.contact = contact
        self._endpoint = endpoint
        self._digest = digest
        self._seen = seen
        self._connected = connected
        self._flow_lost = False
        self._hops: set[str] = set()
        if dialog.route_set:
            with contextlib.suppress(BadMessage):
                self._hops |= {ip for ip in [literal_ip(dialog.next_hop.host)] if ip}

    @property
    def addresses(self) -> set[str]:
        """Where the far side is, or what is before it, as far as it is known: in figures."""
        named = literal_ip(self.dialog.target.host)
        return self._hops | ({named} if named else set())

    def came_from(self, source: Hop) -> None:
        """A request of the far side came: from a new connection, or a NAT's new port, perhaps."""
        self._seen, self._flow_lost = source, False

    @property
    def _flow(self) -> Hop | None:
        if self._flow_lost or self.dialog.route_set:
            return None
        return flow_to(self.dialog.target, self._seen, connected=self._connected)

    async def hop(self) -> Hop:
        """Where the next request goes first.

        Raises:
            SipTransportFailed, BadMessage: it leads nowhere.
        """
        if (flow := self._flow) is not None:
            return flow
        try:
            hop = await self._endpoint.resolve(self.dialog.next_hop)
        except SipTransportFailed:
            if self.dialog.route_set:
                raise
            return self._seen
        self._hops.add(hop.ip)
        return hop

    async def send(
        self, method: str, fill: Callable[[Request], None] = lambda request: None
    ) -> tuple[ClientTransaction, Response]:
        """Sends a request; returns what carries it and the final response, which may be a refusal.

        Args:
            method: the request's.
            fill: adds to each try of it.

        Raises:
            DialogGone: the call is over.
            BadMessage: the route that the far side gave cannot be read.
        """
        for left in reversed(range(_TRIES)):
            request = self.dialog.request(method)
            describe(request)
            if method in ("INVITE", "UPDATE", "REFER"):
                request.headers.set("Contact", self.contact)
            fill(request)
            if self._digest is not None:
                self._digest.authorize(request)
            try:
                transaction = await self._endpoint.request(request, await self.hop())
                response = await transaction.final_response()
            except SipTransportFailed as error:
                if self._flow is None:
                    raise DialogGone(str(error)) from error
                self._flow_lost = True  # the connection is gone: perhaps the far side is where it says
                continue
            except SipTimeout as error:
                raise DialogGone(str(error)) from error
            if response.code in (408, 481):
                raise DialogGone(f"The far side answers {response.code}.")
            if response.code not in (401, 407) or self._digest is None or not left:
                return transaction, response
            try:
                self._digest.challenged(response)
            except AuthenticationFailed:
                return transaction, response
        raise DialogGone("The far side asks again and again for other credentials.")

    async def acknowledge(self, transaction: ClientTransaction, response: Response) -> None:
        """Sends the ACK for a 2xx to an INVITE of this dialog.

        Raises:
            DialogGone: it cannot be sent.
        """
        try:
            transaction.acknowledge(response, self.dialog.ack(transaction.request), await self.hop())
        except SipTransportFailed as error:
            raise DialogGone(str(error)) from error
