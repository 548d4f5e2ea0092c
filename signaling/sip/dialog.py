"""Dialogs (RFC 3261, section 12): what two user agents remember of each other between requests.

State only: whoever has a dialog sends its requests and keeps its time. A dialog begins where the call is
answered, by either side; forks of one INVITE that are answered, too, are dialogs of their own, told apart by
their To tags.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from sipmessage import URI, Address, Request, Response

from signaling.sip.errors import BadMessage
from signaling.sip.fields import format_uri, parse_address
from signaling.sip.messages import call_id, contact, cseq, from_tag, raw_list, to_tag

_HIGHEST_FIRST_CSEQ: Final = 2**16
"""Far below 2**31, which a sequence must not begin above (RFC 3261, 8.1.1.5)."""

_REFRESH_TARGET: Final = frozenset({"INVITE", "UPDATE"})
"""The requests whose Contact replaces the one that was known (RFC 3261, 12.2; RFC 3311, 5.1)."""


class OutOfOrder(Exception):
    """A request is older than one that came before: answer it with 500 (RFC 3261, 12.2.2)."""


@dataclass(frozen=True, slots=True)
class DialogId:
    """What tells a dialog from all others, seen from this side (RFC 3261, 12)."""

    call_id: str
    local_tag: str
    remote_tag: str


def dialog_id(request: Request) -> DialogId:
    """The dialog that an incoming request belongs to, if there is one.

    A far side without a tag is of RFC 2543's time: its tag counts as empty.
    """
    return DialogId(call_id(request), to_tag(request) or "", from_tag(request) or "")


def glare_wait_s(owns_call_id: bool, rng: random.Random) -> float:
    """How long to wait after a 491 until an offer is tried again (RFC 3261, 14.1), in steps of 10 ms.

    Args:
        owns_call_id: this side made the Call-ID: it waits longer, so that both are not at it again.
        rng: makes the choice.
    """
    hundredths = rng.randint(210, 400) if owns_call_id else rng.randint(0, 200)
    return hundredths / 100


class Dialog:
    """One dialog, from when it is established.

    Args:
        call_id: of both sides' requests.
        local: this side's From in its requests, with its tag; as it is written in headers.
        remote: likewise the To.
        local_tag: this side's.
        remote_tag: the far side's; empty if it has none.
        target: the far side's Contact.
        route_set: what requests pass on their way, as Route headers have it; the nearest first.
        local_cseq: of this side's last request.
        remote_cseq: of the far side's last; None: none came yet.
        owns_call_id: this side sent the INVITE.
    """

    def __init__(
        self,
        call_id: str,
        local: str,
        remote: str,
        local_tag: str,
        remote_tag: str,
        target: URI,
        route_set: tuple[str, ...],
        local_cseq: int,
        remote_cseq: int | None,
        *,
        owns_call_id: bool,
    ) -> None:
        self.id = DialogId(call_id, local_tag, remote_tag)
        self.target = target
        self.route_set = route_set
        self.owns_call_id = owns_call_id
        self._local = local
        self._remote = remote
        self._local_cseq = local_cseq
        self._remote_cseq = remote_cseq

    @classmethod
    def called(cls, invite: Request, local_tag: str, rng: random.Random) -> Dialog:
        """The dialog of an INVITE that came (RFC 3261, 12.1.1).

        Raises:
            BadMessage: it names no Contact.
        """
        target = contact(invite)
        if target is None:
            raise BadMessage("An INVITE needs a Contact.")
        local = invite.headers["To"]
        return cls(
            call_id(invite),
            local if to_tag(invite) else f"{local};tag={local_tag}",
            invite.headers["From"],
            local_tag,
            from_tag(invite) or "",
            target.uri,
            tuple(raw_list(invite, "Record-Route")),
            rng.randint(1, _HIGHEST_FIRST_CSEQ),
            cseq(invite).sequence,
            owns_call_id=False,
        )

    @classmethod
    def calling(cls, invite: Request, answer: Response) -> Dialog:
        """The dialog of an INVITE that was sent, by one of the answers to it (RFC 3261, 12.1.2).

        Raises:
            BadMessage: the answer names no Contact.
        """
        target = contact(answer)
        if target is None:
            raise BadMessage("An answer to an INVITE needs a Contact.")
        return cls(
            call_id(invite),
            invite.headers["From"],
            answer.headers["To"],
            from_tag(invite) or "",
            to_tag(answer) or "",
            target.uri,
            tuple(reversed(raw_list(answer, "Record-Route"))),
            cseq(invite).sequence,
            None,
            owns_call_id=True,
        )

    @property
    def next_hop(self) -> URI:
        """Where this side's requests go first: the first proxy of the route set, or the far side itself."""
        return parse_address(self.route_set[0]).uri if self.route_set else self.target

    def request(self, method: str, body: bytes = b"") -> Request:
        """This side's next request. Via and Contact are still to be added."""
        self._local_cseq += 1
        return self._request(method, self._local_cseq, body)

    def ack(self, invite: Request, body: bytes = b"") -> Request:
        """The ACK for a 2xx to this side's INVITE (RFC 3261, 13.2.2.4), with the same credentials."""
        ack = self._request("ACK", cseq(invite).sequence, body)
        for name in ("Authorization", "Proxy-Authorization"):
            for value in invite.headers.getlist(name):
                ack.headers.add(name, value)
        return ack

    def received(self, request: Request) -> None:
        """Takes note of a request of the far side.

        Raises:
            OutOfOrder: it is older than one that came before.
            BadMessage: its Contact cannot be read.
        """
        number = cseq(request).sequence
        if self._remote_cseq is not None and number < self._remote_cseq:
            raise OutOfOrder
        self._remote_cseq = number
        if request.method in _REFRESH_TARGET:
            self._refresh(contact(request))

    def answered(self, request: Request, response: Response) -> None:
        """Takes note of a 2xx to this side's request: the far side may have moved.

        Raises:
            BadMessage: its Contact cannot be read.
        """
        if request.method in _REFRESH_TARGET:
            self._refresh(contact(response))

    def _refresh(self, address: Address | None) -> None:
        if address is not None:
            self.target = address.uri

    def _request(self, method: str, number: int, body: bytes) -> Request:
        """RFC 3261, 12.2.1.1."""
        target, routes = self.target, list(self.route_set)
        if routes:
            first = parse_address(routes[0]).uri
            if "lr" not in first.parameters:
                # A strict router wants to be the Request-URI, and finds the true one at the routes' end.
                routes = [*routes[1:], f"<{format_uri(target)}>"]
                target = first
        request = Request(method, target, body)
        for route in routes:
            request.headers.add("Route", route)
        request.headers.add("From", self._local)
        request.headers.add("To", self._remote)
        request.headers.add("Call-ID", self.id.call_id)
        request.headers.add("CSeq", f"{number} {method}")
        return request
