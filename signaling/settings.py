"""What an operator can set about how calls are set up. The server composes these into `config.yaml`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from media.section import Section

_ICE_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


def _ice_url(url: str) -> str:
    if not url.startswith(_ICE_SCHEMES):
        raise ValueError(f"an ICE server's address begins with one of {', '.join(_ICE_SCHEMES)}")
    return url


IceUrl = Annotated[str, AfterValidator(_ice_url)]


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
        gather_loopback: offer 127.0.0.1 too, so that a laptop without a network can call itself.
        connect_timeout_s: a call that is not connected by then is given up.
        data_channel_wait_s: how long a connected call waits for its offered data channel before it begins.
    """

    servers: tuple[IceServer, ...] = ()
    gather_loopback: bool = True
    connect_timeout_s: float = Field(default=15.0, gt=0, le=120)
    data_channel_wait_s: float = Field(default=2.0, ge=0, le=30)


class AccessSettings(Section):
    """Who may reach the HTTP interface. Part of section `server`.

    Attributes:
        allowed_hosts: names in the `Host` header, besides loopback's and the address bound to; `*` for any.
        allowed_origins: web pages of other origins that may call, as `https://example.org`; `*` for any.
        max_body_bytes: a larger request is refused with 413.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = Field(default=262_144, ge=16_384)


class SignalingSettings(Section):
    """All that signalling is told."""

    ice: IceSettings = IceSettings()
    access: AccessSettings = AccessSettings()
