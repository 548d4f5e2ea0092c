"""Finds the transaction that a message belongs to, or begins one (RFC 3261, sections 17.1.3 and 17.2.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from sipmessage import Request, Response

from signaling.sip.counts import SipCounts
from signaling.sip.hop import Hop
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import (
    BRANCH_COOKIE,
    Message,
    call_id,
    copy_of,
    cseq,
    from_tag,
    mark_source,
    new_branch,
    raw_list,
    response_to,
    serialise,
    to_tag,
    top_via,
)
from signaling.sip.outgoing import ClientTransaction, add_via
from signaling.sip.transactions import Timers
from signaling.sip.wire import Wire

log = logging.getLogger(__name__)

_ServerKey: TypeAlias = tuple[str, str, int | None, str]
"""Branch, host and port of the sender, method."""
_DialogKey: TypeAlias = tuple[str, str, str, int]
"""Call-ID, the far side's tag, ours, and the number of the INVITE."""


class TransactionLayer:
    """All transactions of an endpoint.

    Args:
        wire: what carries messages.
        on_request: told of every new request, from within `receive`, but ACK and the CANCEL of an INVITE that
            there is. Must not raise.
        timers: how long what lasts.
        max_transactions: requests of far sides that may be under way at once.
        counts: where what is dropped is counted.
    """

    def __init__(
        self,
        wire: Wire,
        on_request: Callable[[ServerTransaction], None],
        timers: Timers,
        max_transactions: int,
        counts: SipCounts,
    ) -> None:
        self._wire = wire
        self._on_request = on_request
        self._timers = timers
        self._max_transactions = max_transactions
        self._counts = counts
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        """By branch and method."""
        self._servers: dict[_ServerKey, ServerTransaction] = {}
        self._accepted: dict[_DialogKey, ServerTransaction] = {}
        """INVITEs that were answered with 2xx: the ACK is found by its dialog."""

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def begin(self, request: Request, hop: Hop) -> ClientTransaction:
        """Sends a request.

        Args:
            request: stays as it is: a Via is put on a copy.
            hop: where it goes.

        Raises:
            BadMessage: it cannot be written.
            SipTransportFailed: this side does not speak the hop's transport.
        """
        sent = copy_of(request)
        add_via(sent, self._wire, hop, new_branch())
        return self._begin(sent, hop)

    def receive(self, message: Message, source: Hop) -> None:
        """A message came that `messages.parse` has looked at."""
        if isinstance(message, Response):
            self._response(message)
        elif message.method == "ACK":
            self._ack(message)
        else:
            self._request(message, source)

    def lose_transport(self, hop: Hop) -> None:
        """A connection is gone."""
        for client in [client for client in self._clients.values() if client.hop == hop]:
            client.lose_transport()

    def close(self) -> None:
        """Whoever waits for something of a transaction waits no more."""
        for client in self._clients.values():
            client.abandon()
        for server in self._servers.values():
            server.abandon()
        self._clients.clear()
        self._servers.clear()
        self._accepted.clear()

    def _begin(self, request: Request, hop: Hop) -> ClientTransaction:
        key = (str(top_via(request).parameters["branch"]), request.method)

        def end(_: ClientTransaction) -> None:
            del self._clients[key]

        client = ClientTransaction(request, hop, self._wire, self._timers, self._begin_cancel, end)
        self._clients[key] = client
        client.start()
        return client

    def _begin_cancel(self, cancel: Request, hop: Hop) -> None:
        self._begin(cancel, hop)

    def _response(self, response: Response) -> None:
        branch = top_via(response).parameters.get("branch")
        client = self._clients.get((branch or "", cseq(response).method))
        # More than one Via: it went astray on its way to somebody before us (section 8.1.3.3).
        if client is None or len(raw_list(response, "Via")) > 1:
            self._counts.stray += 1
            return
        client.receive(response)

    def _ack(self, ack: Request) -> None:
        dialog = (call_id(ack), from_tag(ack) or "", to_tag(ack) or "", cseq(ack).sequence)
        server = self._servers.get(_server_key(ack, "INVITE")) or self._accepted.get(dialog)
        if server is None:
            self._counts.stray += 1
        else:
            server.acknowledge(ack)

    def _request(self, request: Request, source: Hop) -> None:
        key = _server_key(request, request.method)
        if (server := self._servers.get(key)) is not None:
            server.repeat()
            return
        invite = self._servers.get(_server_key(request, "INVITE")) if request.method == "CANCEL" else None
        mark_source(request, source.ip, source.port)
        reply_to, otherwise = _return_path(request, source)
        if len(self._servers) >= self._max_transactions:
            self._counts.overloaded += 1
            refusal = response_to(request, 503)
            refusal.headers.set("Retry-After", "5")
            self._wire.send(serialise(refusal), reply_to, otherwise)
            return
        server = self._new_server(key, request, source, reply_to, otherwise)
        if invite is None:
            self._on_request(server)
        else:
            server.tag = invite.tag
            server.respond(server.response(200))
            invite.cancel()

    def _new_server(
        self, key: _ServerKey, request: Request, source: Hop, reply_to: Hop, otherwise: Hop | None
    ) -> ServerTransaction:
        dialogs: list[_DialogKey] = []

        def accepted(server: ServerTransaction, tag: str) -> None:
            dialog = (call_id(request), from_tag(request) or "", tag, cseq(request).sequence)
            dialogs.append(dialog)
            self._accepted[dialog] = server

        def end(_: ServerTransaction) -> None:
            del self._servers[key]
            for dialog in dialogs:
                self._accepted.pop(dialog, None)

        server = ServerTransaction(
            request, source, reply_to, otherwise, self._wire, self._timers, accepted, end
        )
        self._servers[key] = server
        server.start()
        return server


def _server_key(request: Request, method: str) -> _ServerKey:
    via = top_via(request)
    branch = via.parameters.get("branch") or ""
    if not branch.startswith(BRANCH_COOKIE):
        # RFC 2543: what its section on matching asks for, Request-URI and To aside, which an ACK may change.
        branch = f"{branch} {call_id(request)} {from_tag(request)} {cseq(request).sequence}"
    return branch, via.host, via.port, method


def _return_path(request: Request, source: Hop) -> tuple[Hop, Hop | None]:
    """Where responses go (RFC 3261, section 18.2.2; RFC 3581, section 4), and where if that is gone."""
    via = top_via(request)
    port = via.port or source.transport.default_port
    if source.transport.reliable:
        return source, Hop(source.transport, source.ip, port, name=via.host)
    return (source if "rport" in via.parameters else Hop(source.transport, source.ip, port)), None
