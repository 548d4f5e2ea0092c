"""Being registered at a PBX (RFC 3261, section 10), for as long as the server runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sipmessage import URI, Parameters, Request, Response

from media.clock import loop_time_s, wall_time_s
from signaling.sip.agent_settings import SipAccount
from signaling.sip.digest import AuthenticationFailed, DigestClient
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage, SipTimeout, SipTransportFailed
from signaling.sip.fields import format_address, parse_address, parse_uri
from signaling.sip.hop import Hop, Transport
from signaling.sip.identity import USER_AGENT
from signaling.sip.messages import new_call_id, new_tag, raw_list

_FIRST_RETRY_S: Final = 5.0
_LONGEST_RETRY_S: Final = 600.0
_LONGEST_RETRY_AFTER_S: Final = 3600.0
"""A registrar that wants to be left alone for longer is asked all the same."""

_EARLIER_S: Final = 75.0
"""A registration is renewed so long before it ends, or half-way, whichever is later: one try may time out,
and there is time for another."""

_LONGEST_S: Final = 86_400.0
"""A registration is renewed once a day, however long it lasts."""

_PING_S: Final = 25.0
"""So often a sign of life goes out in between, which keeps a NAT's hole open and a connection in use."""

_TRIES: Final = 4
"""Of one registration: a challenge each of a proxy and the registrar, a stale nonce, a longer time."""

_FAREWELL_S: Final = 2.0
"""A registrar that does not answer when this side leaves is not waited for any longer."""

log = logging.getLogger(__name__)


class RegistrationState(Enum):
    TRYING = "trying"
    REGISTERED = "registered"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    """One account's, for whoever looks after the server.

    Attributes:
        uri: the account's address.
        state: present.
        until_s: wall-clock time until which it is registered; None where it is not.
        trouble: why it is not, in one sentence; "" where it is.
    """

    uri: str
    state: RegistrationState
    until_s: float | None = None
    trouble: str = ""


class NotRegistered(Exception):
    """This time it failed. `retry_after_s`: when the registrar wants to be asked again, if it said so."""

    def __init__(self, trouble: str, retry_after_s: float | None = None) -> None:
        super().__init__(trouble)
        self.retry_after_s = retry_after_s


_FAILURES: Final = (NotRegistered, AuthenticationFailed, BadMessage, SipTimeout, SipTransportFailed)
"""What may come of a try."""


class Registration:
    """One account's registration. `run` it once.

    Args:
        endpoint: open.
        account: whose.
        trust: told from which addresses the PBX calls, and until when by the event loop's clock: for as long
            as it takes this side to be registered.
        rng: spreads the tries.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        account: SipAccount,
        trust: Callable[[str, frozenset[str], float], None],
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._account = account
        self._trust = trust
        self._rng = rng
        self._digest = digest_of(account)
        self._expires_s = account.expires_s
        self._call_id = new_call_id()
        self._cseq = rng.randint(1, 2**16)
        self._hop: Hop | None = None
        self._until_s = float("-inf")
        """When what the registrar granted last is over."""
        self._stopping = asyncio.Event()
        self.status = RegistrationStatus(account.uri, RegistrationState.TRYING)

    async def run(self) -> None:
        """Registers, and renews the registration until `stop`; then ends it."""
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(), name=f"registration {self._account.uri}")
            await self._stopping.wait()
            keeping.cancel()
        self._tell(RegistrationState.ENDED)
        self._trust(self._account.uri, frozenset(), self._until_s)
        if self._until_s > loop_time_s():
            await self._leave()

    def stop(self) -> None:
        """Has `run` end soon. May be called twice."""
        self._stopping.set()

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                lasts_s = min(await self._register(self._expires_s), _LONGEST_S)
                if lasts_s < 1:
                    raise NotRegistered("The registrar ends the registration as soon as it begins.")
            except Exception as error:  # an account's boundary: what breaks one breaks no other, nor any call
                if not isinstance(error, _FAILURES):
                    log.exception("a registration failed", extra={"account": self._account.uri})
                failures += 1
                wait_s = retry_s(failures, self._rng)
                if isinstance(error, NotRegistered) and error.retry_after_s is not None:
                    wait_s = max(wait_s, error.retry_after_s)
                self._tell(RegistrationState.FAILED, trouble=str(error))
                log.warning(
                    "not registered",
                    extra={"account": self._account.uri, "why": str(error), "retry_s": round(wait_s, 1)},
                )
                await asyncio.sleep(wait_s)
            else:
                if self.status.state is not RegistrationState.REGISTERED:
                    log.info("registered", extra={"account": self._account.uri, "for_s": lasts_s})
                failures = 0
                self._until_s = loop_time_s() + lasts_s
                self._tell(RegistrationState.REGISTERED, lasts_s)
                if self._hop is not None:
                    self._trust(self._account.uri, frozenset({self._hop.ip}), self._until_s)
                await self._wait(max(lasts_s / 2, lasts_s - _EARLIER_S))

    async def _wait(self, wait_s: float) -> None:
        while wait_s > 0:
            await asyncio.sleep(min(wait_s, _PING_S))
            wait_s -= _PING_S
            if self._hop is not None and wait_s > 0:
                try:
                    self._endpoint.keep_alive(self._hop)
                except SipTransportFailed:
                    return  # the connection is gone, and calls would not come here: register anew

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._register(0)
        except (*_FAILURES, TimeoutError):
            log.info("the registrar did not hear of the end", extra={"account": self._account.uri})

    def _tell(self, state: RegistrationState, lasts_s: float | None = None, trouble: str = "") -> None:
        until_s = None if lasts_s is None else wall_time_s() + lasts_s
        self.status = RegistrationStatus(self._account.uri, state, until_s, trouble)

    async def _register(self, expires_s: int) -> float:
        """Registers for so long, 0 to end it. Returns how long the registration lasts.

        Raises:
            NotRegistered, AuthenticationFailed, BadMessage, SipTimeout, SipTransportFailed: it does not.
        """
        registrar = registrar_of(self._account)
        hop = await self._endpoint.resolve(proxy_of(self._account) or registrar)
        contact = self._endpoint.contact(hop, parse_uri(self._account.uri).user)
        for _ in range(_TRIES):
            request = self._request(registrar, contact, expires_s)
            response = await (await self._endpoint.request(request, hop)).final_response()
            if 200 <= response.code < 300:
                self._hop = hop
                return granted_s(response, contact, expires_s)
            if response.code in (401, 407):
                if self._digest is None:
                    raise NotRegistered("The registrar asks for a password, and the account has none.")
                self._digest.challenged(response)
            elif response.code == 423:
                expires_s = self._expires_s = longer_s(response, expires_s)
            else:
                raise NotRegistered(
                    f"The registrar answers {response.code} {response.phrase[:80]}.",
                    retry_after_s(response),
                )
        raise NotRegistered("The registrar asks again and again for other credentials.")

    def _request(self, registrar: URI, contact: URI, expires_s: int) -> Request:
        self._cseq += 1
        address = format_address(parse_uri(self._account.uri))
        request = Request("REGISTER", registrar)
        if proxy := proxy_of(self._account):
            request.headers.add("Route", route_to(proxy))
        request.headers.add("From", f"{address};tag={new_tag()}")
        request.headers.add("To", address)
        request.headers.add("Call-ID", self._call_id)
        request.headers.add("CSeq", f"{self._cseq} REGISTER")
        request.headers.add("Contact", f"{format_address(contact)};expires={expires_s}")
        request.headers.add("Expires", str(expires_s))
        request.headers.add("User-Agent", USER_AGENT)
        if self._digest is not None:
            self._digest.authorize(request)
        return request


def digest_of(account: SipAccount) -> DigestClient | None:
    """What answers challenges for the account; None where it has no password."""
    if account.password is None:
        return None
    return DigestClient(account.user or parse_uri(account.uri).user or "", account.password)


def registrar_of(account: SipAccount) -> URI:
    """The Request-URI of the account's REGISTER: a host without a name (RFC 3261, 10.2)."""
    if account.registrar:
        return parse_uri(account.registrar)
    uri = parse_uri(account.uri)
    return URI(scheme=uri.scheme, host=uri.host, port=uri.port, parameters=uri.parameters)


def proxy_of(account: SipAccount) -> URI | None:
    """What the account's requests go through, if anything."""
    return parse_uri(account.outbound_proxy) if account.outbound_proxy else None


def route_to(proxy: URI) -> str:
    """A Route header field that leads through a proxy, which is no strict router."""
    loose = {**dict(proxy.parameters), "lr": None}
    return format_address(URI(proxy.scheme, proxy.host, proxy.user, None, proxy.port, Parameters(**loose)))


def retry_s(failures: int, rng: random.Random) -> float:
    """How long to wait after so many failures in a row: 5 s to 10 min, spread as RFC 5626, 4.5, has it."""
    longest = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    return rng.uniform(0.5, 1.0) * longest


def granted_s(response: Response, contact: URI, wanted_s: int) -> float:
    """How long a registration lasts, by the 2xx: this side's Contact's `expires`, Expires, the `expires` of
    the only Contact there is (a NAT's address in place of ours), or as asked for.

    What cannot be read is left out: it may be of others, who are registered for the same account.
    """
    granted: dict[tuple[str | None, str, int], float] = {}
    with contextlib.suppress(BadMessage):
        for value in raw_list(response, "Contact"):
            with contextlib.suppress(BadMessage):
                address = parse_address(value)
                granted[_place(address.uri)] = _seconds(address.parameters.get("expires") or "")
    if (ours := granted.get(_place(contact))) is not None:
        return ours
    with contextlib.suppress(BadMessage):
        return _seconds(response.headers.get("Expires") or "")
    return next(iter(granted.values())) if len(granted) == 1 else float(wanted_s)


def _place(uri: URI) -> tuple[str | None, str, int]:
    """What tells one Contact from another, whether or not the registrar writes the usual port."""
    return uri.user, uri.host.lower(), uri.port or Transport.UDP.default_port


def longer_s(refusal: Response, wanted_s: int) -> int:
    """What a 423 asks for (RFC 3261, 10.2.8).

    Raises:
        NotRegistered: it does not say, or no more than it was given.
    """
    smallest = _seconds(refusal.headers.get("Min-Expires", "0") or "0")
    if not wanted_s < smallest <= _LONGEST_S:
        raise NotRegistered("The registrar wants longer registrations, and does not say how long.")
    return int(smallest)


def retry_after_s(response: Response) -> float | None:
    """Retry-After, which may have a comment or a duration behind it (RFC 3261, 20.33)."""
    value = response.headers.get("Retry-After", "") or ""
    figures = value.partition(";")[0].partition("(")[0].strip()
    if not (figures.isascii() and figures.isdigit() and len(figures) <= 10):
        return None
    return min(float(figures), _LONGEST_RETRY_AFTER_S)


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadMessage("An expiry is a number of seconds.")
    return float(text)
