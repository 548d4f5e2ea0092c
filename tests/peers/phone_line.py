"""A server that telephones reach on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.peers.phone_programs import free_sip_port
from tests.peers.spoken_server import KEY, SpokenServer, spoken_server

LOOPBACK = {"networks": ["127.0.0.0/8"]}
RTP_PORTS = range(35_000, 36_000)


@dataclass(frozen=True, slots=True)
class Line:
    """A server, and where it is called.

    Attributes:
        server: that answers.
        port: of its SIP, over UDP and TCP.
        tls_port: likewise, where it has a certificate.
    """

    server: SpokenServer
    port: int
    tls_port: int

    def uri(self, by: str = "udp") -> str:
        """Where it is called over a transport."""
        if by == "tls":
            return f"sip:assistant@127.0.0.1:{self.tls_port};transport=tls"
        return f"sip:assistant@127.0.0.1:{self.port}{'' if by == 'udp' else f';transport={by}'}"


@contextmanager
def answering(
    *, scripted: bool = True, telephone: dict[str, Any] | None = None, port: int | None = None, **sip: Any
) -> Iterator[Line]:
    """Starts one. Whoever calls from this machine may, and is answered at once.

    Args:
        scripted: with engines that hear and speak nothing real.
        telephone: of that section.
        port: of its SIP; a free one by default.
        sip: of section `sip`.
    """
    port = port or free_sip_port()
    common = {
        "udp_port": port,
        "tcp_port": port,
        "access": LOOPBACK,
        "min_session_expires_s": 4,
        "rtp": {"ports": f"{RTP_PORTS[0]}-{RTP_PORTS[-1]}"},
    }
    telephones = {
        "greeting": "Good day.",
        # SIPp says nothing: a conversation that waits for that is late for keys.
        "greeting_wait_s": 0,
        "greeting_delay_s": 0,
        "allowed_destinations": ["sip:*@127.0.0.1*"],
        "transfer_targets": [{"name": "colleague", "to": "sip:colleague@127.0.0.1:9"}],
        "max_outbound_per_minute": 1000,
        "max_outbound_calls": 100,
        "answering_machines": {"detect": False},
    }
    if "tls_certificate" in sip:
        common["tls_port"] = port + 1
    with spoken_server(
        scripted=scripted,
        server={"api_keys": [KEY], "max_calls": 60},
        telephone=telephones | (telephone or {}),
        sip=common | sip,
    ) as server:
        yield Line(server, port, port + 1)
