"""Who may call. For everybody else this server is not there: what scans the net for phones gets no answer.

Not even a challenge: that would tell a scanner that there is something to guess at. Only who gives the name
of a user is asked for the password, and an address that gave wrong ones is heard no more for a while.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sipmessage import Request

from signaling.sip.agent_settings import SipAccessSettings
from signaling.sip.digest_server import DigestServer, Verdict
from signaling.sip.errors import BadMessage
from signaling.sip.fields import parse_auth
from signaling.sip.messages import from_address

_WRONG_PASSWORDS: Final = 5
_SILENCE_S: Final = 300.0
"""An address is heard no more for so long after so many wrong passwords."""

_STRANGERS_READ_PER_S: Final = 200.0
"""Of all that comes from who may prove to be a user: reading it takes the time of the calls' voices."""

_ADDRESSES_KEPT: Final = 4096
_LOG_EVERY_S: Final = 60.0
"""Scanners come by the thousand: one line says how many were ignored since the last."""

log = logging.getLogger(__name__)


class Answer(Enum):
    """What becomes of a request that belongs to no call."""

    TAKE = "it may come in"
    CHALLENGE = "it is to prove whose it is"
    CHALLENGE_STALE = "likewise; its nonce is too old, or another server's"
    IGNORE = "it is not answered"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Attributes:
    answer: what becomes of the request.
    username: whose it is, where a password was given.
    """

    answer: Answer
    username: str | None = None


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class Access:
    """The rules of section `sip.access`.

    Args:
        settings: who may call.
        trusted: further addresses that may, without a password: the PBXs at which this server is registered.
    """

    def __init__(self, settings: SipAccessSettings) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in settings.networks)
        self._users = {user.name: user.password for user in settings.users}
        self._both = settings.needs_both
        self._digest = DigestServer(settings.realm, self._users, settings.algorithms)
        self._trusted: dict[str, tuple[frozenset[str], float]] = {}
        self._failures: dict[str, _Failures] = {}
        self._readable = _STRANGERS_READ_PER_S
        self._readable_s = float("-inf")
        self._ignored = 0
        self._logged_s = float("-inf")

    def trust(self, whose: str, addresses: frozenset[str], until_s: float) -> None:
        """Lets a PBX call without a password, in place of the addresses that it had before.

        Args:
            whose: the account that is registered there.
            addresses: IP addresses in figures; none, where it is registered no longer.
            until_s: when the registration is over, on the clock of the other methods' `now_s`.
        """
        self._trusted[whose] = addresses, until_s

    def may_knock(self, ip: str, now_s: float) -> bool:
        """Whether what comes from there is read at all: by itself, or since it may prove to be a user's.

        Args:
            ip: in figures.
            now_s: on a clock that does not go back.
        """
        if self._is_near(ip) or self._is_trusted(ip, now_s):
            return True
        by_password = bool(self._users) and not self._both and not self._is_silenced(ip, now_s)
        if by_password and self._is_readable(now_s):
            return True
        self._count_ignored(ip, now_s)
        return False

    def judge(self, request: Request, ip: str, now_s: float) -> Judgement:
        """What becomes of a request from there. Never raises.

        Args:
            request: belongs to no call.
            ip: where it came from, in figures.
            now_s: on a clock that does not go back.
        """
        judgement = self._judge(request, ip, now_s)
        if judgement.answer is Answer.IGNORE:
            self._count_ignored(ip, now_s)
        return judgement

    def challenges(self, answer: Answer, now_s: float) -> list[str]:
        """The `WWW-Authenticate` headers of a challenge."""
        return self._digest.challenges(now_s, stale=answer is Answer.CHALLENGE_STALE)

    def _judge(self, request: Request, ip: str, now_s: float) -> Judgement:
        if self._is_trusted(ip, now_s):
            return Judgement(Answer.TAKE)
        near = self._is_near(ip)
        if near and not self._both:
            return Judgement(Answer.TAKE)
        if not self._users or (self._both and not near) or self._is_silenced(ip, now_s):
            return Judgement(Answer.IGNORE)
        verdict, username = self._digest.check(request, now_s)
        match verdict:
            case Verdict.GOOD:
                self._failures.pop(ip, None)
                return Judgement(Answer.TAKE, username)
            case Verdict.STALE:
                return Judgement(Answer.CHALLENGE_STALE)
            case Verdict.NONE if self._names_a_user(request):
                return Judgement(Answer.CHALLENGE)
            case Verdict.FOREIGN if self._names_a_user(request):
                return Judgement(Answer.CHALLENGE_STALE)
            case Verdict.WRONG:
                self._failed(ip, now_s)
                return Judgement(Answer.CHALLENGE if self._names_a_user(request) else Answer.IGNORE)
            case _:
                return Judgement(Answer.IGNORE)

    def _is_readable(self, now_s: float) -> bool:
        """Whether one more message of a stranger's is read; counts it."""
        more = (now_s - self._readable_s) * _STRANGERS_READ_PER_S
        self._readable, self._readable_s = min(self._readable + more, _STRANGERS_READ_PER_S), now_s
        if self._readable < 1:
            return False
        self._readable -= 1
        return True

    def _is_trusted(self, ip: str, now_s: float) -> bool:
        return any(ip in addresses and now_s < until_s for addresses, until_s in self._trusted.values())

    def _is_near(self, ip: str) -> bool:
        try:
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)

    def _names_a_user(self, request: Request) -> bool:
        """Whether From or the credentials have a user's name."""
        for header in request.headers.getlist("Authorization"):
            try:
                if parse_auth(header)[1].get("username") in self._users:
                    return True
            except BadMessage:
                continue
        return from_address(request).uri.user in self._users

    def _is_silenced(self, ip: str, now_s: float) -> bool:
        failures = self._failures.get(ip)
        if failures is None:
            return False
        if now_s - failures.last_s > _SILENCE_S:
            del self._failures[ip]
            return False
        return failures.count >= _WRONG_PASSWORDS

    def _failed(self, ip: str, now_s: float) -> None:
        failures = self._failures.pop(ip, None) or _Failures(0, now_s)
        failures.count, failures.last_s = failures.count + 1, now_s
        self._failures[ip] = failures  # the last place: the first is the one whose failure is longest past
        if len(self._failures) > _ADDRESSES_KEPT:
            del self._failures[next(iter(self._failures))]
        if failures.count == _WRONG_PASSWORDS:
            log.warning("an address gave wrong passwords; it is heard no more", extra={"ip": ip})

    def _count_ignored(self, ip: str, now_s: float) -> None:
        self._ignored += 1
        if now_s - self._logged_s >= _LOG_EVERY_S:
            log.info("SIP requests of strangers ignored", extra={"latest": ip, "ignored": self._ignored})
            self._ignored, self._logged_s = 0, now_s
