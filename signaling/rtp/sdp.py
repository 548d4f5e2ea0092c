"""Session descriptions as telephones write them (RFC 8866): read, and taken apart. Pure.

Only what an offer and an answer of audio need is looked at; all else is skipped. Whatever is wrong with a
text, it is `NotAcceptable`, with a sentence.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from media.errors import CallerError

LARGEST_BYTES: Final = 65_536
MOST_MEDIA: Final = 32
"""Sections of a description; more are no call's."""

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_DIRECTIONS: Final[tuple[Direction, ...]] = ("sendrecv", "sendonly", "recvonly", "inactive")

SrtpSuite = Literal["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
SRTP_SUITES: Final[tuple[SrtpSuite, ...]] = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
SRTP_KEY_BYTES: Final = 30
"""A master key of 128 bits and a salt of 112 (RFC 4568, section 6.2)."""

_MEDIA: Final = re.compile(r"(\S+) (\d{1,5})(?:/\d+)? (\S+)((?: \S+)+)")
_RTPMAP: Final = re.compile(r"(\d{1,3}) +([^\s/]+)/(\d{1,6})(?:/(\d{1,2}))?")
_CRYPTO: Final = re.compile(r"(\d{1,9}) +(\S+) +(\S+)((?: +\S+)*)")


class NotAcceptable(CallerError):
    """An offer or an answer that cannot be used: SIP's 488."""

    code = "not_acceptable"


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type of a section.

    Attributes:
        payload_type: 0 to 127.
        encoding: its name, in lower case.
        clock_rate_hz: of its timestamps.
        channels: 1 where nothing is said.
        parameters: as in `fmtp`; "" where there are none.
    """

    payload_type: int
    encoding: str
    clock_rate_hz: int
    channels: int = 1
    parameters: str = ""


STATIC_FORMATS: Final = {
    0: Format(0, "pcmu", 8_000),
    8: Format(8, "pcma", 8_000),
    9: Format(9, "g722", 8_000),
    13: Format(13, "cn", 8_000),
}
"""Those of RFC 3551, table 4, that are of use here: they need no `rtpmap`."""


@dataclass(frozen=True, slots=True)
class Crypto:
    """One way to encrypt a section, of those that are of use here (RFC 4568).

    Attributes:
        tag: its number among the others.
        suite: the transforms.
        key: master key and salt, 30 bytes. A secret.
    """

    tag: int
    suite: SrtpSuite
    key: bytes = field(repr=False)

    @property
    def line(self) -> str:
        """As it stands in a description."""
        return f"a=crypto:{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


@dataclass(frozen=True, slots=True)
class MediaSection:
    """One `m=` line, and what belongs to it.

    Attributes:
        kind: `audio`, `video`…
        port: 0: it is refused, or has ended.
        profile: `RTP/AVP`…
        format_names: as in the line.
        formats: those of them that are understood, in the line's order, where the profile is of RTP.
        address: where media goes to, its own or the session's; "" where none is said or it is no IP address.
        direction: its own or the session's.
        rtcp: port and address, where `rtcp` says one ("" for `address`).
        rtcp_mux: whether RTCP may come on RTP's port.
        longest_packet_ms: `maxptime`, else None.
        cryptos: in the description's order.
    """

    kind: str
    port: int
    profile: str
    format_names: tuple[str, ...]
    formats: tuple[Format, ...]
    address: str
    direction: Direction
    rtcp: tuple[int, str] | None
    rtcp_mux: bool
    longest_packet_ms: int | None
    cryptos: tuple[Crypto, ...]


def parse_sdp(text: str) -> tuple[MediaSection, ...]:
    """The media that a description has.

    Raises:
        NotAcceptable: it is no session description.
    """
    if len(text) > LARGEST_BYTES:
        raise NotAcceptable("The session description is too long.")
    blocks: list[list[tuple[str, str]]] = [[]]
    for line in text.replace("\r\n", "\n").split("\n"):
        kind, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals or len(kind) != 1:
            raise NotAcceptable("The session description has a line that is none: a letter and = begin one.")
        if kind == "m":
            blocks.append([])
        blocks[-1].append((kind, value.strip()))
    session, *sections = blocks
    if not session or session[0] != ("v", "0"):
        raise NotAcceptable("The session description does not begin with v=0.")
    if not sections:
        raise NotAcceptable("The session description has no media.")
    if len(sections) > MOST_MEDIA:
        raise NotAcceptable("The session description has too many media.")
    return tuple(_section(lines, session) for lines in sections)


def _section(lines: list[tuple[str, str]], session: list[tuple[str, str]]) -> MediaSection:
    match = _MEDIA.fullmatch(lines[0][1])
    if match is None or int(match[2]) > 65_535:
        raise NotAcceptable("An m= line is wrong: it says kind, port, profile and formats.")
    names = tuple(match[4].split())
    own, shared = list(_attributes(lines)), list(_attributes(session))
    # What is refused is named in the answer as it was offered: `udptl`, not `UDPTL`.
    profile = match[3].upper() if "RTP/" in match[3].upper() else match[3]
    formats = tuple(_formats(names, own)) if "RTP/" in profile else ()
    address = _address(lines)
    return MediaSection(
        kind=match[1].lower(),
        port=int(match[2]),
        profile=profile,
        format_names=names,
        formats=formats,
        address=_address(session) or "" if address is None else address,
        direction=_direction(own) or _direction(shared) or "sendrecv",
        rtcp=_rtcp(own),
        rtcp_mux=any(name == "rtcp-mux" for name, _ in own),
        longest_packet_ms=_longest_packet_ms(own),
        cryptos=tuple(_cryptos(own)) or tuple(_cryptos(shared)),
    )


def _attributes(lines: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for kind, value in lines:
        if kind == "a":
            name, _, rest = value.partition(":")
            yield name.strip().lower(), rest.strip()


def _address(lines: list[tuple[str, str]]) -> str | None:
    """Of the first `c=` line: an IP address, "" where it is none (no name is resolved), None without one."""
    for kind, value in lines:
        if kind == "c":
            parts = value.split()
            return _ip_address(parts[2].partition("/")[0]) if len(parts) == 3 else ""
    return None


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _formats(names: tuple[str, ...], attributes: list[tuple[str, str]]) -> Iterator[Format]:
    mapped: dict[int, tuple[str, int, int]] = {}
    parameters: dict[str, str] = {}
    for name, value in attributes:
        if name == "rtpmap" and (match := _RTPMAP.fullmatch(value)) is not None:
            mapped[int(match[1])] = match[2].lower(), int(match[3]), int(match[4] or 1)
        elif name == "fmtp":
            of, _, rest = value.partition(" ")
            parameters[of] = rest.strip()
    seen: set[int] = set()
    for text in names:
        if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 127 or int(text) in seen:
            continue
        payload_type = int(text)
        seen.add(payload_type)
        if payload_type in mapped:
            yield Format(payload_type, *mapped[payload_type], parameters.get(text, ""))
        elif payload_type in STATIC_FORMATS:
            yield STATIC_FORMATS[payload_type]


def _direction(attributes: list[tuple[str, str]]) -> Direction | None:
    for name, _ in attributes:
        for direction in _DIRECTIONS:
            if name == direction:
                return direction
    return None


def _rtcp(attributes: list[tuple[str, str]]) -> tuple[int, str] | None:
    """RFC 3605: a port, and an address if it is another."""
    for name, value in attributes:
        parts = value.split()
        if name == "rtcp" and parts and parts[0].isascii() and parts[0].isdigit() and len(parts[0]) <= 5:
            port = int(parts[0])
            if 0 < port <= 65_535:
                return port, _ip_address(parts[3]) if len(parts) == 4 else ""
    return None


def _longest_packet_ms(attributes: list[tuple[str, str]]) -> int | None:
    for name, value in attributes:
        if name == "maxptime" and value.isascii() and value.isdigit() and 0 < len(value) <= 4:
            return int(value)
    return None


def _cryptos(attributes: list[tuple[str, str]]) -> Iterator[Crypto]:
    """Those that can be used: no key identifier, and no session parameter that changes the packets."""
    for name, value in attributes:
        match = _CRYPTO.fullmatch(value) if name == "crypto" else None
        if match is None or any(not word.upper().startswith("WSH=") for word in match[4].split()):
            continue
        key = _inline_key(match[3])
        for suite in SRTP_SUITES:
            if key is not None and match[2].upper() == suite:
                yield Crypto(int(match[1]), suite, key)


def _inline_key(text: str) -> bytes | None:
    """RFC 4568, section 6.1: `inline:key|lifetime|MKI:length`. A lifetime is longer than any call."""
    method, _, rest = text.partition(":")
    encoded, *more = rest.split("|")
    if method.lower() != "inline" or any(":" in part for part in more):
        return None
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == SRTP_KEY_BYTES else None
