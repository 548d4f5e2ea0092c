"""Values of SIP header fields, read as leniently as is safe, and written as they were meant.

The types are `sipmessage`'s. Its own parsers are stricter than the world: they refuse hosts such as `pbx1`
and `my_host`, URIs with headers, and names with accents; and they write parameters with more escapes than a
peer that compares them as text can stand.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping

from sipmessage import URI, Address, CSeq, Parameters, Via

from signaling.sip.errors import BadMessage

_USER_SAFE = "-_.!~*'()&=+$,;?/"
"""RFC 3261, section 25.1: what a user part has without an escape, besides letters and figures."""
_PARAMETER_SAFE = "-_.!~*'()[]/:&+$"

_HOST = r"\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?"
_SIP_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@<>\"\s]*)@)?"
    rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<parameters>(?:;[^?<>\"\s]*)?)(?:\?[^<>\"\s]*)?",
    re.IGNORECASE | re.ASCII,
)
_TEL_URI = re.compile(
    r"tel:(?P<user>\+?[0-9A-Fa-f*#().-]+)(?P<parameters>(?:;[^?<>\"\s]*)?)", re.IGNORECASE | re.ASCII
)
_VIA = re.compile(
    r"SIP\s*/\s*2\.0\s*/\s*(?P<transport>[A-Za-z0-9-]{1,16})\s+"
    rf"(?P<host>{_HOST})(?:\s*:\s*(?P<port>[0-9]{{1,5}}))?\s*(?P<parameters>(?:;.*)?)",
    re.IGNORECASE | re.ASCII,
)
_CSEQ = re.compile(r"(?P<number>[0-9]{1,10})\s+(?P<method>[A-Za-z0-9.!%*_+`'~-]{1,64})", re.ASCII)
_QUOTED_PAIR = re.compile(r"\\(.)")
_MAX_PORT = 65_535
_CSEQ_BELOW = 2**31
"""RFC 3261, section 8.1.1.5."""


def split_list(text: str, separator: str = ",") -> list[str]:
    """The parts between separators, those within quotes and angle brackets aside. Empty parts are left out.

    Raises:
        BadMessage: a quote or a bracket is not closed.
    """
    careful = '"' in text or "<" in text
    parts = _split_with_care(text, separator) if careful else text.split(separator)
    return [part for piece in parts if (part := piece.strip())]


def _split_with_care(text: str, separator: str) -> list[str]:
    parts: list[str] = []
    start = 0
    closing = ""
    escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif closing:
            if character == closing:
                closing = ""
            elif character == "\\" and closing == '"':
                escaped = True
        elif character == '"':
            closing = '"'
        elif character == "<":
            closing = ">"
        elif character == separator:
            parts.append(text[start:at])
            start = at + 1
    if closing:
        raise BadMessage("A header field opens a quote or a bracket, and does not close it.")
    return [*parts, text[start:]]


def split_parameters(text: str) -> tuple[str, dict[str, str | None]]:
    """What stands before the parameters, and these: names in lower case, values without quotes.

    Raises:
        BadMessage: a quote or a bracket is not closed.
    """
    head, semicolon, rest = text.partition(";")
    if not semicolon:
        return text.strip(), {}
    if '"' in head or "<" in head:
        whole = _split_with_care(text, ";")
        head, rest = whole[0], ";".join(whole[1:])
    return head.strip(), dict(_pairs(split_list(rest, ";")))


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    for part in parts:
        name, equals, value = part.partition("=")
        yield name.strip().lower(), unquoted(value.strip()) if equals else None


def unquoted(text: str) -> str:
    """A quoted string's content; other text as it is."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return _QUOTED_PAIR.sub(r"\1", text[1:-1])
    return text


def quoted(text: str) -> str:
    """As a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameters(values: Mapping[str, str | None]) -> Parameters:
    """The library's mapping. It takes names as keyword arguments, of which one is its own."""
    return Parameters(**{name: value for name, value in values.items() if name != "self"})


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 0 < port <= _MAX_PORT:
        raise BadMessage(f"There is no port {port}.")
    return port


def parse_uri(text: str) -> URI:
    """A `sip:`, `sips:` or `tel:` URI. Headers in it (`?…`) are left out.

    Raises:
        BadMessage: it is none of these.
    """
    text = text.strip()
    if match := _SIP_URI.fullmatch(text):
        user, password = match["user"], None
        if user is not None:
            user, colon, rest = user.partition(":")
            password = urllib.parse.unquote(rest) if colon else None
        return URI(
            scheme=match["scheme"].lower(),
            host=match["host"],
            user=urllib.parse.unquote(user) if user else None,
            password=password,
            port=_port(match["port"]),
            parameters=_uri_parameters(match["parameters"]),
        )
    if match := _TEL_URI.fullmatch(text):
        return URI(scheme="tel", host="", user=match["user"], parameters=_uri_parameters(match["parameters"]))
    raise BadMessage("An address is not a sip, sips or tel URI.")


def _uri_parameters(text: str) -> Parameters:
    pairs = _pairs(part for part in text.split(";") if part)
    return _parameters({name: urllib.parse.unquote(value) if value else value for name, value in pairs})


def format_uri(uri: URI) -> str:
    """As it stands in a request line or between angle brackets."""
    text = f"{uri.scheme}:"
    if uri.scheme == "tel":
        text += uri.user or ""
    else:
        if uri.user is not None:
            text += urllib.parse.quote(uri.user, safe=_USER_SAFE)
            if uri.password is not None:
                text += ":" + urllib.parse.quote(uri.password, safe=_USER_SAFE)
            text += "@"
        text += uri.host
        if uri.port is not None:
            text += f":{uri.port}"
    for name, value in uri.parameters.items():
        text += f";{name}" if value is None else f";{name}={urllib.parse.quote(value, safe=_PARAMETER_SAFE)}"
    return text


def parse_address(text: str) -> Address:
    """A From, To, Contact, Route, Refer-To …: `"Name" <uri>;parameters`, or a bare URI with parameters.

    Raises:
        BadMessage: it is none.
    """
    head, parameters = split_parameters(text)
    if head.endswith(">"):
        name, _, uri = head[:-1].rpartition("<")
        name = name.strip()
    else:
        name, uri = "", head
    return Address(uri=parse_uri(uri), name=unquoted(name), parameters=_parameters(parameters))


def format_address(uri: URI, name: str = "", parameters: Mapping[str, str | None] | None = None) -> str:
    """A From, To or Contact. Parameters are written as they are given: quote what needs it."""
    text = f"{quoted(name)} " if name else ""
    text += f"<{format_uri(uri)}>"
    for parameter, value in (parameters or {}).items():
        text += f";{parameter}" if value is None else f";{parameter}={value}"
    return text


def parse_via(text: str) -> Via:
    """One hop of a Via header field.

    Raises:
        BadMessage: it is none.
    """
    match = _VIA.fullmatch(text.strip())
    if match is None:
        raise BadMessage("A Via header field is not understood.")
    return Via(
        transport=match["transport"].upper(),
        host=match["host"].lower(),
        port=_port(match["port"]),
        parameters=_parameters(split_parameters(match["parameters"])[1]),
    )


def parse_cseq(text: str) -> CSeq:
    """Raises: BadMessage."""
    match = _CSEQ.fullmatch(text.strip())
    if match is None or int(match["number"]) >= _CSEQ_BELOW:
        raise BadMessage("A CSeq header field is not understood.")
    return CSeq(int(match["number"]), match["method"])


def parse_auth(text: str) -> tuple[str, dict[str, str]]:
    """A challenge or credentials (RFC 7616): the scheme, and its parameters by name in lower case.

    Raises:
        BadMessage: it is neither.
    """
    scheme, _, rest = text.strip().partition(" ")
    parameters = {name: value for name, value in _pairs(split_list(rest)) if name and value is not None}
    if not scheme or not parameters:
        raise BadMessage(
            "An authentication header field has a scheme, and parameters after it: Digest realm=…."
        )
    return scheme, parameters
