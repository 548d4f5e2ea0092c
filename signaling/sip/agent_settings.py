"""Who this server is to other telephones, who may call it, how its calls behave. Part of section `sip`."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from media.section import Section
from signaling.sip.errors import BadMessage
from signaling.sip.fields import parse_uri
from signaling.sip.session_timer import SMALLEST_INTERVAL_S


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError("a network is an IP address, or a range of them: 192.0.2.0/24") from None


def _sip_uri(text: str) -> str:
    try:
        uri = parse_uri(text)
    except BadMessage:
        raise ValueError("a SIP address is sip:name@host, or sip:host:port;transport=tcp") from None
    if uri.scheme == "tel":
        raise ValueError("a telephone number alone is no SIP address: sip:+49…@host")
    return text


def _with_user(text: str) -> str:
    if parse_uri(text).user is None:
        raise ValueError("an account's address has a name: sip:name@host")
    return text


Network = Annotated[str, AfterValidator(_network)]
SipUri = Annotated[str, AfterValidator(_sip_uri)]
AccountUri = Annotated[str, AfterValidator(_sip_uri), AfterValidator(_with_user)]


class SipAccount(Section):
    """An account at a PBX or a trunk: this server registers there, and calls through it.

    Attributes:
        uri: its address: `sip:100@pbx.example.org`.
        user: the user name of its password, where that is not the address's name.
        password: none where the far side knows this server by its IP address.
        registers: so that calls to the account come here. A trunk that sends its calls to a fixed address
            needs no registration.
        registrar: where to register; empty: at the address's host.
        outbound_proxy: what all requests of the account go through; empty: nothing.
        expires_s: how long a registration is to last; the registrar may choose otherwise.
    """

    uri: AccountUri
    user: str = ""
    password: SecretStr | None = None
    registers: bool = True
    registrar: Annotated[str, AfterValidator(lambda text: _sip_uri(text) if text else text)] = ""
    outbound_proxy: Annotated[str, AfterValidator(lambda text: _sip_uri(text) if text else text)] = ""
    expires_s: int = Field(default=600, ge=30, le=86_400)


class SipUser(Section):
    """Somebody who may call.

    Attributes:
        name: in From, and in the credentials.
        password: theirs.
    """

    name: str = Field(min_length=1, pattern=r"^[^\s\"\\]+$")
    password: SecretStr


class SipAccessSettings(Section):
    """Who may call. Nobody else gets an answer; the PBXs of `accounts` that registered always may.

    Attributes:
        networks: IP addresses and ranges that may call without a password.
        users: who may call from elsewhere, by their password.
        needs_both: a password is asked for in `networks`, too, and nobody else is asked.
        realm: what telephones choose their password by.
        algorithms: of the challenges, the preferred one first. Many telephones know MD5 alone, and some of
            them call nobody who offers SHA-256 as well.
    """

    networks: tuple[Network, ...] = ()
    users: tuple[SipUser, ...] = ()
    needs_both: bool = False
    realm: str = Field(default="voxtral-kokoro", min_length=1, pattern=r"^[^\"\\]+$")
    algorithms: tuple[Literal["SHA-256", "MD5"], ...] = Field(default=("MD5",), min_length=1)

    @model_validator(mode="after")
    def _both_are_given(self) -> SipAccessSettings:
        if self.needs_both and not (self.networks and self.users):
            raise ValueError("sip.access.needs_both needs networks and users")
        return self


class SipAgentSettings(Section):
    """What the user agent adds to section `sip`.

    Attributes:
        accounts: where this server is registered. Numbers are called through the first.
        access: who may call.
        answer_after_s: how long a call rings here before it is answered.
        max_redirects: how often a call that is placed is sent elsewhere by the far side (3xx); 0: never.
        session_expires_s: a call whose far side does not answer within this time ends (RFC 4028); 0: this
            server asks for no such timer, and accepts the far side's.
        min_session_expires_s: the smallest such time that the far side may choose; below 90 s, which is what
            RFC 4028 allows, for tests only.
    """

    accounts: tuple[SipAccount, ...] = ()
    access: SipAccessSettings = SipAccessSettings()
    answer_after_s: float = Field(default=0.0, ge=0, le=60)
    max_redirects: int = Field(default=0, ge=0, le=5)
    session_expires_s: int = Field(default=1800, ge=0, le=86_400)
    min_session_expires_s: int = Field(default=SMALLEST_INTERVAL_S, ge=2, le=3600)

    @model_validator(mode="after")
    def _timers_fit(self) -> SipAgentSettings:
        if 0 < self.session_expires_s < self.min_session_expires_s:
            raise ValueError("sip.session_expires_s is 0, or min_session_expires_s at least")
        return self
