"""Whose calls this server places: an account's, with its proxy and password, or nobody's in particular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sipmessage import URI, Parameters

from media.errors import CallerError
from signaling.sip.agent_settings import SipAccount
from signaling.sip.digest import DigestClient
from signaling.sip.errors import BadMessage
from signaling.sip.fields import parse_uri
from signaling.sip.registration import digest_of, proxy_of, registrar_of


@dataclass(frozen=True, slots=True)
class CallerLine:
    """Attributes:
    caller: whom the far side is to see calling; None: nobody in particular.
    proxy: what the call goes through; None: it goes straight to its target.
    digest: answers challenges; None: they are refusals.
    """

    caller: URI | None
    proxy: URI | None
    digest: DigestClient | None

    def next_hop(self, target: URI) -> URI:
        """Where the INVITE goes first."""
        return self.proxy or target

    def sent_elsewhere(self, before: URI, after: URI) -> CallerLine:
        """The line of a call that the far side redirected: the password is shown at the same host only, and
        to the account's own proxy."""
        at_home = self.proxy is not None or before.host.lower() == after.host.lower()
        return self if at_home else replace(self, digest=None)


def target_of(to: str, accounts: Sequence[SipAccount], caller: str | None) -> URI:
    """Whom to call: a number is one at the caller's account, or at the first.

    Raises:
        CallerError: it is none, or there is no account for numbers.
    """
    if not to.lower().startswith(("sip:", "sips:")):
        account = _named(caller, accounts) or next(iter(accounts), None)
        if account is None:
            raise CallerError(
                "There is no trunk for telephone numbers. Name one in sip.accounts.",
                code="no_trunk",
                param="to",
            )
        home = parse_uri(account.uri)
        number = to.lower().removeprefix("tel:")
        parameters = Parameters(**(dict(home.parameters) | {"user": "phone"}))
        return URI(scheme=home.scheme, host=home.host, port=home.port, user=number, parameters=parameters)
    try:
        return parse_uri(to)
    except BadMessage as error:
        raise CallerError(f"{to[:100]} is no SIP address.", param="to") from error


def line_for(target: URI, caller: str | None, accounts: Sequence[SipAccount]) -> CallerLine:
    """Whose call it is. An account's password is used only where the account is at home, or by its own proxy.

    Args:
        target: whom it calls.
        caller: whom they are to see: an account's address or name, a number, a SIP address; None: the account
            that the call goes through.
        accounts: section `sip.accounts`.

    Raises:
        CallerError: the caller's address cannot be read.
    """
    account = (
        _named(caller, accounts)
        or next((one for one in accounts if target.host.lower() in _hosts(one)), None)
        or next((one for one in accounts if one.outbound_proxy), None)
    )
    if account is None:
        return CallerLine(_caller(caller, target.host), None, None)
    proxy = proxy_of(account)
    at_home = proxy is not None or target.host.lower() in _hosts(account)
    home = parse_uri(account.uri)
    seen = None if _named(caller, accounts) is account else _caller(caller, home.host)
    return CallerLine(seen or home, proxy, digest_of(account) if at_home else None)


def _named(caller: str | None, accounts: Sequence[SipAccount]) -> SipAccount | None:
    if caller is None:
        return None
    return next((one for one in accounts if caller in (one.uri, parse_uri(one.uri).user)), None)


def _hosts(account: SipAccount) -> set[str]:
    return {parse_uri(account.uri).host.lower(), registrar_of(account).host.lower()}


def _caller(caller: str | None, host: str) -> URI | None:
    if caller is None:
        return None
    if caller.lower().startswith(("sip:", "sips:", "tel:")):
        try:
            return parse_uri(caller)
        except BadMessage as error:
            raise CallerError(f"{caller[:100]} is no SIP address.", param="caller") from error
    return URI(scheme="sip", host=host, user=caller)
