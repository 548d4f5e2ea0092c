"""Section `sip` of `config.yaml`: telephones that call this server, and that it calls, over SIP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from media.section import Section
from signaling.rtp.settings import RtpSettings
from signaling.settings import AdvertisedAddress
from signaling.sip.agent_settings import SipAgentSettings

SipPort = Annotated[int, Field(ge=0, le=65_535)]
"""0 lets the system choose one."""

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


class SipTransportSettings(Section):
    """Where SIP is spoken, and within which bounds. Off where no port is set.

    Attributes:
        host: address of the ports; 0.0.0.0 for all networks.
        udp_port: 5060, usually; None for no SIP over UDP, in either direction.
        tcp_port: 5060, usually; None for no SIP over TCP.
        tls_port: 5061, usually; None for no SIP over TLS.
        advertised_address: what far sides reach this machine by, where it does not have the address itself
            (a container, a 1:1 NAT). None takes the address of the interface that leads to them.
        tls_certificate: PEM chain, which this side shows.
        tls_key: PEM key of the certificate.
        tls_ca: PEM certificates of those whom this side trusts; None takes the system's.
        tls_verify: whom this side connects to must have a certificate for its name.
        tls_client_certificates: whoever connects to this side must have a certificate.
        max_connections: over TCP and TLS together; beyond, strangers' are closed, and further ones at once
            where there are none.
        connect_timeout_s: for a connection to a far side, TLS included.
        idle_timeout_s: a connection over which nothing comes for so long is closed.
        max_transactions: requests of far sides under way at once; further ones get 503.
    """

    host: str = "127.0.0.1"
    udp_port: SipPort | None = None
    tcp_port: SipPort | None = None
    tls_port: SipPort | None = None
    advertised_address: AdvertisedAddress | None = None
    tls_certificate: UserPath | None = None
    tls_key: UserPath | None = None
    tls_ca: UserPath | None = None
    tls_verify: bool = True
    tls_client_certificates: bool = False
    max_connections: int = Field(default=100, ge=1, le=10_000)
    connect_timeout_s: float = Field(default=5.0, gt=0, le=60)
    idle_timeout_s: float = Field(default=1800.0, ge=10, le=86_400)
    max_transactions: int = Field(default=1000, ge=10, le=100_000)

    @property
    def enabled(self) -> bool:
        """Whether SIP is spoken at all."""
        return not (self.udp_port is None and self.tcp_port is None and self.tls_port is None)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are given together or not at all")
        if self.tls_port is not None and self.tls_certificate is None:
            raise ValueError("tls_port needs tls_certificate and tls_key")
        if self.tls_port and self.tls_port == self.tcp_port:
            raise ValueError(f"tcp_port and tls_port are both {self.tls_port}; they must differ")
        return self


class SipSettings(SipTransportSettings, SipAgentSettings):
    """Section `sip`, whole."""

    rtp: RtpSettings = RtpSettings()

    @model_validator(mode="after")
    def _accounts_need_a_port(self) -> Self:
        if self.accounts and not self.enabled:
            raise ValueError("sip.accounts need a port for SIP: udp_port: 5060, say")
        return self
