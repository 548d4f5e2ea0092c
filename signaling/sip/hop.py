"""Where a SIP message goes to, or came from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum

from sipmessage import URI, Parameters


class Transport(Enum):
    """What carries messages. The value is its name in a Via header field."""

    UDP = "UDP"
    TCP = "TCP"
    TLS = "TLS"

    @property
    def reliable(self) -> bool:
        """Whether what is sent arrives, or the failure is told (RFC 3261, section 17.1.1.1)."""
        return self is not Transport.UDP

    @property
    def default_port(self) -> int:
        """RFC 3261, section 18.2.1."""
        return 5061 if self is Transport.TLS else 5060


def host_text(ip: str) -> str:
    """An address as it stands in a URI or a Via: of IPv6 in brackets."""
    return f"[{ip}]" if ":" in ip else ip


def literal_ip(host: str) -> str | None:
    """The address that a URI's host is in figures; None for a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Hop:
    """One far side.

    Attributes:
        ip: without brackets.
        name: TLS: who must be there, by its certificate; empty: whoever connected to us.
        movable: the address named no transport, so that a long request may go over another.
    """

    transport: Transport
    ip: str
    port: int
    name: str = ""
    movable: bool = field(default=False, compare=False)

    @property
    def uri(self) -> URI:
        """An address that leads there: of a connection, the same connection while it lasts."""
        return URI(
            scheme="sip",
            host=host_text(self.ip),
            port=self.port,
            parameters=Parameters(transport=self.transport.value.lower()),
        )
