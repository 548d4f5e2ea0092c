"""By which names and addresses others reach this machine."""

from __future__ import annotations

import ipaddress
import socket

_SOMEWHERE_ELSE = ("192.0.2.1", 9)
"""An address of documentation (RFC 5737): the way there is the way to everywhere."""


def machine_names() -> tuple[str, ...]:
    """The host's name, with and without its domain, and as mDNS announces it; in lower case."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return tuple(dict.fromkeys((name, short, f"{short}.local")))


def own_hosts(bound_to: str) -> tuple[str, ...]:
    """Names by which a server may be called that listens on an address; none for loopback.

    Args:
        bound_to: `server.host`: an address or a name.
    """
    try:
        address = ipaddress.ip_address(bound_to)
    except ValueError:
        name = bound_to.lower()
        loopback = name == "localhost" or name.endswith(".localhost")
        return () if loopback else tuple(dict.fromkeys((*machine_names(), name)))
    return () if address.is_loopback else machine_names()


def network_address() -> str | None:
    """The IPv4 address that other devices of this machine's network can type; None without a network.

    The system says which address it would send from; nothing is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE_ELSE)
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if ipaddress.ip_address(address).is_loopback else address
