"""Whom this server may call: destinations in one way of writing, and the patterns that allow them.

Whoever can have this server call can spend its owner's money. So what is to be called is taken apart, what is
not understood is refused, and what is left is put together anew before it is compared: the dialler never sees
what a client wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote

from pydantic import AfterValidator

from media.errors import CallerError

MAX_CHARS: Final = 256
_SEPARATORS = str.maketrans("", "", " -.()/\u00a0")
"""Visual separators of numbers (RFC 3966, section 5.1.1, and what people write besides)."""
_NUMBER = re.compile(r"\+[1-9][0-9]{2,14}")
"""E.164: at most 15 figures, the country's code first."""
_SIP = re.compile(
    r"(?P<scheme>sips?):(?P<user>[A-Za-z0-9%_.+*-]+)@"
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<parameters>(?:;[A-Za-z0-9=_-]+)*)",
    re.ASCII,
)
"""RFC 3261, section 25.1, without passwords and headers."""
_USER = re.compile(r"[A-Za-z0-9_.+*-]+", re.ASCII)
"""What is left of the user part: nobody needs more, and none of it can be read in two ways."""
_PARAMETERS: Final = frozenset({"transport=udp", "transport=tcp", "transport=tls", "user=phone", "user=ip"})
_PATTERN = re.compile(r"\*|\+[0-9?]*\*?|sips?:[A-Za-z0-9_.+*?-]+@[A-Za-z0-9.*?:\[\]-]+", re.ASCII)
_PREFIX = re.compile(r"\+|00|011")
"""By these a PBX, and the public network behind it, may know a number in a SIP address's user part."""
_PORT = re.compile(r":[0-9]+$")


@dataclass(frozen=True, slots=True)
class Destination:
    """Somebody who can be called.

    Attributes:
        name: compared with patterns: `+49…`, `sip:user@host` or `sip:user@host:port`.
        parameters: of a SIP URI: `;transport=tcp`.
    """

    name: str
    parameters: str = ""

    def __str__(self) -> str:
        return self.name + self.parameters


def destination(text: str, param: str = "to") -> Destination:
    """What a client, or the configuration, wrote.

    Args:
        text: a number with its country's code (`+49 30 1234`, `tel:+49-30-1234`), or a `sip:` or `sips:` URI.
        param: the field's name.

    Raises:
        CallerError: `invalid_destination`.
    """
    try:
        return _parsed(text)
    except ValueError as error:
        raise CallerError(
            f"This cannot be called: {error}.", code="invalid_destination", param=param
        ) from None


def _parsed(text: str) -> Destination:
    """Raises: ValueError: why not."""
    if len(text) > MAX_CHARS:
        raise ValueError("it is too long")
    if text[:4].lower() == "tel:" or text.lstrip().startswith("+"):
        return Destination(_number(text[4:] if text[:4].lower() == "tel:" else text))
    scheme, separator, rest = text.partition(":")
    match = _SIP.fullmatch(f"{scheme.lower()}{separator}{rest}")
    if match is None:
        raise ValueError("give a number with + and its country's code, or sip:user@host")
    user = unquote(match["user"])
    if not _USER.fullmatch(user):
        raise ValueError("the user part may have letters, figures and + - _ . *")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError("a port lies between 1 and 65535")
    parameters = match["parameters"].lower()
    if not set(parameters.split(";")[1:]) <= _PARAMETERS:
        raise ValueError("of parameters, only transport and user are taken")
    place = match["host"].lower() + (f":{port}" if port is not None else "")
    return Destination(f"{match['scheme']}:{user}@{place}", parameters)


def is_allowed(wanted: Destination, allowed: Iterable[str], denied: Iterable[str] = ()) -> bool:
    """Whether one of the patterns allows it, and none forbids it, however else it could be written.

    Somebody's PBX may lead to the whole world: a pattern allows no number within a SIP address (`+49…@pbx`,
    `0049…@pbx`) unless it begins as a number does. One that forbids a number does so within any address.
    """
    may = any(_allows(pattern, wanted.name) for pattern in allowed)
    return may and not any(
        _matches(pattern.lower(), name) for pattern in denied for name in _readings(wanted.name)
    )


def _allows(pattern: str, name: str) -> bool:
    number = _PREFIX.match(_user_of(name))
    wild = pattern != "*" and not _user_of(pattern).startswith(number[0] if number else "")
    return _matches(pattern, name) and not wild


def _matches(pattern: str, name: str) -> bool:
    """`*` alone is everything; elsewhere it stands for any characters but `@`, and `?` for one."""
    if pattern == "*":
        return True
    written = re.escape(pattern).replace(r"\*", "[^@]*").replace(r"\?", "[^@]")
    return re.fullmatch(written, name) is not None


def _user_of(name: str) -> str:
    """Of a SIP address or its pattern; empty for a number."""
    return name.partition(":")[2].partition("@")[0] if "@" in name else ""


def _readings(name: str) -> set[str]:
    """All that who is called by this may be called by: with `sips`, at another port, as a number."""
    if "@" not in name:
        return {name}
    user, _, place = name.partition(":")[2].lower().partition("@")
    places = {place, _PORT.sub("", place)}
    readings = {f"{scheme}:{user}@{one}" for scheme in ("sip", "sips") for one in places}
    figures = user.translate(_SEPARATORS)
    if (prefix := _PREFIX.match(figures)) is not None:
        readings.add(f"+{figures[prefix.end() :]}")
    return readings


def _number(text: str) -> str:
    number = text.strip().translate(_SEPARATORS)
    if not _NUMBER.fullmatch(number):
        raise ValueError("a number has + and its country's code first, and 3 to 15 figures")
    return number


def _pattern(text: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise ValueError('a pattern is written as "+4930*", "sip:2??@pbx.example.org", or "*" for everybody')
    scheme, at, place = text.partition("@")
    return scheme + at + place.lower()


def _written_destination(text: str) -> str:
    try:
        return str(destination(text))
    except CallerError as error:
        raise ValueError(str(error)) from None


DestinationPattern = Annotated[str, AfterValidator(_pattern)]
DestinationText = Annotated[str, AfterValidator(_written_destination)]
