"""SIP messages for tests, as they come over the wire."""

from __future__ import annotations

from sipmessage import Request, Response

from signaling.sip.fields import parse_uri
from signaling.sip.messages import cseq, new_call_id, new_tag


def request_text(
    method: str = "OPTIONS",
    *,
    branch: str = "z9hG4bKbranch1",
    sent_by: str = "192.0.2.7:5070",
    via: str = ";rport",
    to_tag: str = "",
    number: int = 1,
    call_id: str = "call-1",
    transport: str = "UDP",
    headers: tuple[str, ...] = (),
    body: str = "",
) -> bytes:
    """A request as a telephone sends it."""
    lines = [
        f"{method} sip:assistant@127.0.0.1:5060 SIP/2.0",
        f"Via: SIP/2.0/{transport} {sent_by};branch={branch}{via}",
        "Max-Forwards: 70",
        "From: Alice <sip:alice@192.0.2.7>;tag=alice-1",
        f"To: <sip:assistant@127.0.0.1>{f';tag={to_tag}' if to_tag else ''}",
        f"Call-ID: {call_id}",
        f"CSeq: {number} {method}",
        "Contact: <sip:alice@192.0.2.7:5070>",
        *headers,
        f"Content-Length: {len(body.encode())}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def new_request(method: str, uri: str) -> Request:
    """A request of this side, without a Via."""
    request = Request(method, parse_uri(uri))
    request.headers.set("From", f"<sip:assistant@127.0.0.1>;tag={new_tag()}")
    request.headers.set("To", f"<{uri}>")
    request.headers.set("Call-ID", new_call_id())
    request.headers.set("CSeq", f"1 {method}")
    return request


def ack_of(invite: Request, response: Response) -> Request:
    """The ACK to a 2xx, without a Via: of the dialog."""
    ack = Request("ACK", invite.uri)
    for name, source in (("From", invite), ("To", response), ("Call-ID", invite)):
        ack.headers.set(name, source.headers[name])
    ack.headers.set("CSeq", f"{cseq(invite).sequence} ACK")
    return ack
