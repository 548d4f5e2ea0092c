"""What an operator can set about how calls are set up. The server composes these into `config.yaml`."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from media.opus import OpusSettings
from media.section import Section
from signaling.phone.settings import TelephoneSettings

_ICE_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


def _ice_url(url: str) -> str:
    if not url.startswith(_ICE_SCHEMES):
        raise ValueError(f"an ICE server's address begins with one of {', '.join(_ICE_SCHEMES)}")
    return url


IceUrl = Annotated[str, AfterValidator(_ice_url)]

ANY = "*"
"""Lets every host, or every origin, in."""

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _host_name(text: str) -> str:
    """As it is compared with: in lower case."""
    name = text.lower().rstrip(".")
    if text != ANY and not _HOST_NAME.fullmatch(name):
        raise ValueError("a host is a bare name, without scheme, port or path: voice.example.org")
    return text if text == ANY else name


def _origin(text: str) -> str:
    """As browsers send it: in lower case, without the scheme's own port and without a slash at the end."""
    if text == ANY:
        return text
    mistaken = ValueError("an origin is scheme, host and, if need be, port: https://example.org")
    try:
        parts = urlsplit(text.lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise mistaken from None
    if not parts.scheme or not host or "@" in parts.netloc or "*" in host:
        raise mistaken
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise mistaken
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        place += f":{port}"
    return f"{parts.scheme}://{place}"


HostName = Annotated[str, AfterValidator(_host_name)]
Origin = Annotated[str, AfterValidator(_origin)]


_KEY = re.compile(r"[A-Za-z0-9._~-]{16,256}")
"""What may stand in a header, in the name of a subprotocol, and in an address."""


def _api_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if not _KEY.fullmatch(text):
        raise ValueError("a key has 16 to 256 letters, figures and . _ ~ -")
    if text.startswith("ek_"):
        raise ValueError("a key that begins with ek_ would be taken for a client secret")
    return key


ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]


_UDP_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def _port_range(text: str) -> range:
    """Raises: ValueError."""
    match = _UDP_PORTS.fullmatch(text)
    if match is None:
        raise ValueError(
            'UDP ports are one port ("40000"), a range ("40000-40100"), or "" for the system\'s choice'
        )
    first = int(match[1])
    last = int(match[2] or first)
    if not 1 <= first <= 65_535 or not 1 <= last <= 65_535:
        raise ValueError("a UDP port lies between 1 and 65535")
    if match[2] and last <= first:
        raise ValueError(
            "a range of UDP ports ends above where it begins; one port for all calls is written alone"
        )
    return range(first, last + 1)


def _figures_as_text(value: object) -> object:
    """YAML reads a port alone as a number."""
    return str(value) if type(value) is int else value


def _udp_ports(text: str) -> str:
    text = text.replace(" ", "")
    if text:
        _port_range(text)
    return text


def _advertised_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("an advertised address is an IP address in figures, without a port") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError("an advertised address is one that callers can send to")
    return str(address)


UdpPortsText = Annotated[str, BeforeValidator(_figures_as_text), AfterValidator(_udp_ports)]
AdvertisedAddress = Annotated[str, AfterValidator(_advertised_address)]


class IceServer(Section):
    """A STUN or TURN server, given to the page as well: its credential is no secret to callers.

    Attributes:
        urls: `stun:host:port`, or `turn:host:port?transport=udp`.
        username: TURN only.
        credential: TURN only.
    """

    urls: tuple[IceUrl, ...] = Field(min_length=1)
    username: str | None = None
    credential: SecretStr | None = None


class IceSettings(Section):
    """Section `ice`: how a call's media finds its way.

    Attributes:
        servers: none are needed on one machine or one network.
        udp_ports: where media comes in: `40000` is one port for all calls, `40000-40100` a port of these for
            each call; empty lets the system choose.
        advertised_addresses: what callers reach this machine by, where it does not have the address itself
            (a container, a 1:1 NAT). Callers are offered them besides its own.
        gather_loopback: offer 127.0.0.1 too, so that a laptop without a network can call itself.
        connect_timeout_s: a call that is not connected by then is given up.
        data_channel_wait_s: how long a connected call waits for its offered data channel before it begins.
    """

    servers: tuple[IceServer, ...] = ()
    udp_ports: UdpPortsText = ""
    advertised_addresses: tuple[AdvertisedAddress, ...] = ()
    gather_loopback: bool = True
    connect_timeout_s: float = Field(default=15.0, gt=0, le=120)
    data_channel_wait_s: float = Field(default=1.5, ge=0, le=30)

    @property
    def udp_port_range(self) -> range | None:
        """The ports, of which there may be one; None where the system chooses."""
        return _port_range(self.udp_ports) if self.udp_ports else None


class AccessSettings(Section):
    """Who may reach the HTTP interface. Part of section `server`.

    Attributes:
        allowed_hosts: names in the `Host` header; `*` for any. Always allowed are loopback's names and
            addresses in figures, and the machine's own names where the server listens beyond loopback.
        api_keys: whoever calls must have one of these; where there are none, anybody may call.
        allowed_origins: web pages of other origins that may call, as `https://example.org`; `*` for any.
        max_body_bytes: a larger request is refused with 413.
    """

    allowed_hosts: tuple[HostName, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    max_body_bytes: int = Field(default=262_144, ge=16_384)


class SignalingSettings(Section):
    """All that signalling is told."""

    ice: IceSettings = IceSettings()
    access: AccessSettings = AccessSettings()
    opus: OpusSettings = OpusSettings()
    telephone: TelephoneSettings = TelephoneSettings()
