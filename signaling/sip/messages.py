"""SIP messages: read with care, and made from one another as RFC 3261 says.

`parse` looks at everything that the transport and transaction layers rely on, so that what it returns can be
answered. Header fields that only a user agent needs are read by the accessors here when it needs them: they
raise `BadMessage` and nothing else, which `sipmessage`'s own do not promise.
"""

from __future__ import annotations

import re
import secrets

from sipmessage import URI, Address, CSeq, Request, Response, Via
from sipmessage.message import COMPACT_FORMS

from signaling.sip.errors import BadMessage
from signaling.sip.fields import format_uri, parse_address, parse_cseq, parse_uri, parse_via, split_list

Message = Request | Response

MAX_MESSAGE_BYTES = 65_535
MAX_HEADER_BYTES = 16_384
MAX_HEADERS = 128

BRANCH_COOKIE = "z9hG4bK"
"""RFC 3261, section 8.1.1.7: branches that begin so name their transaction."""

_FOLD = re.compile(r"\r\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_METHOD = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}", re.ASCII)
_NAME = _METHOD
_RECEIVED = re.compile(r";\s*received\s*=[^;]*", re.IGNORECASE)
_RPORT = re.compile(r";\s*rport(?:\s*=[^;]*)?(?=\s*(?:;|$))", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_SINGLE = ("From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards")
"""May stand once at most. Two of them mean two things to two readers."""

_PHRASES = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    603: "Decline",
}


def parse(data: bytes) -> Message:
    """The message of a datagram, or of a piece of a stream that holds exactly one.

    Raises:
        BadMessage: it is none, or it lacks what every message must have.
    """
    data = data.lstrip(b"\r\n")
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage("A message is too long.")
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        raise BadMessage("A message has no empty line after its header fields.")
    lines = _lines(head)
    message = _first_line(lines[0])
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.rstrip()
        if not colon or not _NAME.fullmatch(name):
            raise BadMessage("A header field has no name.")
        message.headers.add(COMPACT_FORMS.get(name.lower(), name), value.strip())
    message.body = _checked_body(message, body)
    _check(message)
    return message


def _lines(head: bytes) -> list[str]:
    if len(head) > MAX_HEADER_BYTES:
        raise BadMessage("A message's header fields are too long.")
    try:
        text = head.decode()
    except UnicodeDecodeError:
        raise BadMessage("A message's header fields are not UTF-8.") from None
    lines = _FOLD.sub(" ", text).split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise BadMessage("A message has too many header fields.")
    if any(_CONTROL.search(line) for line in lines):
        raise BadMessage("A message's header fields hold control characters.")
    return lines


def _first_line(line: str) -> Message:
    first, _, rest = line.partition(" ")
    second, _, third = rest.partition(" ")
    if first == "SIP/2.0":
        if not re.fullmatch(r"[1-6][0-9]{2}", second, re.ASCII):
            raise BadMessage("A response has no status code.")
        return Response(int(second), third)
    if third == "SIP/2.0" and _METHOD.fullmatch(first):
        return Request(first, parse_uri(second))
    raise BadMessage("A message is neither request nor response.")


def _checked_body(message: Message, body: bytes) -> bytes:
    """RFC 3261, section 18.3: what a datagram has beyond its Content-Length is left out."""
    length = message.headers.get("Content-Length")
    if length is None:
        return body
    if not _NUMBER.fullmatch(length) or int(length) > len(body):
        raise BadMessage("A message is shorter than its Content-Length.")
    return body[: int(length)]


def _check(message: Message) -> None:
    for name in _SINGLE:
        if len(message.headers.getlist(name)) > 1:
            raise BadMessage(f"A message has more than one {name}.")
    top_via(message)
    call_id(message)
    from_address(message)
    to_address(message)
    if isinstance(message, Request) and cseq(message).method != message.method:
        raise BadMessage("A request's CSeq names another method.")
    cseq(message)


def serialise(message: Message) -> bytes:
    """What goes over the wire. Sets Content-Length.

    Raises:
        BadMessage: a header field would break the message.
    """
    message.headers.set("Content-Length", str(len(message.body)))
    if isinstance(message, Request):
        first = f"{message.method} {format_uri(message.uri)} SIP/2.0"
    else:
        first = f"SIP/2.0 {message.code} {message.phrase}"
    lines = [first]
    for name in message.headers.keys():  # noqa: SIM118 - these are no mapping
        lines += [f"{name}: {value}" for value in message.headers.getlist(name)]
    if any(_CONTROL.search(line) for line in lines):
        raise BadMessage("A header field that was to be sent holds control characters.")
    return "\r\n".join([*lines, "", ""]).encode() + message.body


# What messages hold


def _field(message: Message, name: str) -> str:
    value = message.headers.get(name)
    if not value:
        raise BadMessage(f"A message has no {name}.")
    return value


def raw_list(message: Message, name: str) -> list[str]:
    """A header field's values, one after the other and as they came, however many lines they fill.

    Raises:
        BadMessage: a quote or a bracket is not closed.
    """
    return [value for line in message.headers.getlist(name) for value in split_list(line)]


def top_via(message: Message) -> Via:
    """The first hop: of a request, who sent it. Raises: BadMessage."""
    vias = split_list(_field(message, "Via"))
    if not vias:
        raise BadMessage("A message has no Via.")
    return parse_via(vias[0])


def cseq(message: Message) -> CSeq:
    """Raises: BadMessage."""
    return parse_cseq(_field(message, "CSeq"))


def call_id(message: Message) -> str:
    """Raises: BadMessage."""
    return _field(message, "Call-ID")


def from_address(message: Message) -> Address:
    """Raises: BadMessage."""
    return parse_address(_field(message, "From"))


def to_address(message: Message) -> Address:
    """Raises: BadMessage."""
    return parse_address(_field(message, "To"))


def from_tag(message: Message) -> str | None:
    """Raises: BadMessage."""
    return from_address(message).parameters.get("tag")


def to_tag(message: Message) -> str | None:
    """Raises: BadMessage."""
    return to_address(message).parameters.get("tag")


def contact(message: Message) -> Address | None:
    """The first Contact; None where there is none, or `*`.

    Raises:
        BadMessage: it is no address.
    """
    contacts = raw_list(message, "Contact")
    return parse_address(contacts[0]) if contacts and contacts[0] != "*" else None


def first_route(request: Request) -> URI | None:
    """Where a request with a route set goes first (RFC 3261, section 8.1.2).

    Raises:
        BadMessage: it is no address.
    """
    routes = raw_list(request, "Route")
    return parse_address(routes[0]).uri if routes else None


def mark_source(request: Request, ip: str, port: int) -> None:
    """Notes in the top Via where a request came from (RFC 3261, section 18.2.1; RFC 3581, section 4).

    Raises:
        BadMessage: it has no Via.
    """
    lines = request.headers.getlist("Via")
    values = split_list(_field(request, "Via"))
    via = parse_via(values[0])
    wants_port = "rport" in via.parameters
    text = _RECEIVED.sub("", values[0])
    if wants_port or via.host.strip("[]") != ip:
        text += f";received={ip}"
    if wants_port:
        text = _RPORT.sub(f";rport={port}", text)
    request.headers.setlist("Via", [", ".join([text, *values[1:]]), *lines[1:]])


# What is made


def new_tag() -> str:
    """RFC 3261, section 19.3: at least 32 random bits."""
    return secrets.token_hex(6)


def new_branch() -> str:
    return f"{BRANCH_COOKIE}{secrets.token_hex(10)}"


def new_call_id() -> str:
    return secrets.token_hex(12)


def response_to(
    request: Request, code: int, phrase: str | None = None, to_tag: str | None = None
) -> Response:
    """A response without a body (RFC 3261, section 8.2.6.2).

    Args:
        request: what it answers: one that was parsed.
        code: 100 to 699.
        phrase: None takes the usual one.
        to_tag: put into To, where the request's has no tag.
    """
    response = Response(code, phrase if phrase is not None else _PHRASES.get(code, ""))
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, list(request.headers.getlist(name)))
    if to_tag is not None and to_address(request).parameters.get("tag") is None:
        response.headers.set("To", f"{_field(request, 'To')};tag={to_tag}")
    if code == 100 and (timestamp := request.headers.get("Timestamp")):
        response.headers.set("Timestamp", timestamp)
    if request.method == "INVITE" and 101 <= code <= 299:
        routes = request.headers.getlist("Record-Route")
        if routes:
            response.headers.setlist("Record-Route", list(routes))
    return response


def ack_to(invite: Request, response: Response) -> Request:
    """The ACK to a final response other than 2xx: of the same transaction (RFC 3261, section 17.1.1.3)."""
    ack = _of_the_same_transaction(invite, "ACK")
    ack.headers.set("To", _field(response, "To"))
    return ack


def cancel_of(invite: Request) -> Request:
    """The CANCEL of an INVITE, as it was sent (RFC 3261, section 9.1)."""
    return _of_the_same_transaction(invite, "CANCEL")


def _of_the_same_transaction(invite: Request, method: str) -> Request:
    request = Request(method, invite.uri)
    request.headers.set("Via", split_list(_field(invite, "Via"))[0])
    for name in ("Route", "From", "To", "Call-ID"):
        values = invite.headers.getlist(name)
        if values:
            request.headers.setlist(name, list(values))
    request.headers.set("CSeq", f"{cseq(invite).sequence} {method}")
    request.headers.set("Max-Forwards", "70")
    return request


def copy_of(request: Request) -> Request:
    """One whose header fields can be changed without changing the other's."""
    copied = Request(request.method, request.uri, request.body)
    for name in request.headers.keys():  # noqa: SIM118 - these are no mapping
        copied.headers.setlist(name, list(request.headers.getlist(name)))
    return copied
