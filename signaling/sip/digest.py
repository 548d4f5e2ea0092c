"""Digest authentication (RFC 7616, and its forerunners RFC 2617 and 2069), as SIP has it (RFC 8760).

Here is how credentials are made, and the client's side: answering the challenges of registrars and proxies.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr
from sipmessage import Request, Response

from signaling.sip.errors import BadMessage
from signaling.sip.fields import format_uri, parse_auth, quoted

HASHES: Final[Mapping[str, Callable[[bytes], str]]] = {
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
"""The best first. That MD5 is no longer safe is known; most phones have nothing else."""


class AuthenticationFailed(Exception):
    """The far side wants credentials that this side has not got, or refused the ones that it was given."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What somebody wants to be shown.

    Attributes:
        realm: whose password is asked for.
        nonce: what the answer is made for.
        algorithm: a key of `HASHES`.
        session: the `-sess` variant of it.
        qop: `auth`, `auth-int`, or empty where the server is of RFC 2069's time.
        opaque: to be given back as it is.
        stale: the credentials were right, but their nonce was too old.
        by_proxy: answered in `Proxy-Authorization`.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    session: bool = False
    qop: str = ""
    opaque: str | None = None
    stale: bool = False
    by_proxy: bool = False


def parameters(header: str) -> dict[str, str] | None:
    """The parameters of a `Digest …` header, their names in lower case; None where it is none.

    Raises:
        BadMessage: it cannot be read.
    """
    scheme, given = parse_auth(header)
    return given if scheme.lower() == "digest" else None


def challenges(response: Response) -> tuple[Challenge, ...]:
    """The challenges that can be answered: each realm's first with a known algorithm (RFC 8760, 2.4)."""
    found: dict[tuple[bool, str], Challenge] = {}
    for name, by_proxy in (("WWW-Authenticate", False), ("Proxy-Authenticate", True)):
        for header in response.headers.getlist(name):
            challenge = _challenge(header, by_proxy)
            if challenge is not None:
                found.setdefault((by_proxy, challenge.realm), challenge)
    return tuple(found.values())


def _challenge(header: str, by_proxy: bool) -> Challenge | None:
    try:
        given = parameters(header)
    except BadMessage:
        return None
    if given is None or "nonce" not in given or "realm" not in given:
        return None
    named = given.get("algorithm", "MD5").upper()
    algorithm = named.removesuffix("-SESS")
    offered = [value.strip().lower() for value in given.get("qop", "").split(",") if value.strip()]
    qop = next((value for value in ("auth", "auth-int") if value in offered), "")
    if algorithm not in HASHES or (offered and not qop):
        return None
    return Challenge(
        realm=given["realm"],
        nonce=given["nonce"],
        algorithm=algorithm,
        session=named.endswith("-SESS"),
        qop=qop,
        opaque=given.get("opaque"),
        stale=given.get("stale", "").lower() == "true",
        by_proxy=by_proxy,
    )


def digest_response(
    challenge: Challenge,
    username: str,
    password: str,
    method: str,
    uri: str,
    cnonce: str = "",
    nonce_count: int = 1,
    body: bytes = b"",
) -> str:
    """The `response` parameter (RFC 7616, 3.4.1), in hexadecimal figures."""
    digest = HASHES[challenge.algorithm]
    ha1 = digest(f"{username}:{challenge.realm}:{password}".encode())
    if challenge.session:
        ha1 = digest(f"{ha1}:{challenge.nonce}:{cnonce}".encode())
    a2 = f"{method}:{uri}"
    if challenge.qop == "auth-int":
        a2 += f":{digest(body)}"
    ha2 = digest(a2.encode())
    if not challenge.qop:
        return digest(f"{ha1}:{challenge.nonce}:{ha2}".encode())
    return digest(f"{ha1}:{challenge.nonce}:{nonce_count:08x}:{cnonce}:{challenge.qop}:{ha2}".encode())


class DigestClient:
    """One account's answers to challenges. It remembers them, so that later requests are not challenged anew.

    Args:
        username: the account's.
        password: likewise.
        cnonce: makes the client's nonce, one for each challenge.
    """

    def __init__(
        self,
        username: str,
        password: SecretStr,
        cnonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._username = username
        self._password = password
        self._cnonce = cnonce
        self._known: dict[tuple[bool, str], _Known] = {}

    def challenged(self, response: Response) -> None:
        """Takes over the challenges of a 401 or 407. The request is then to be sent again, `authorize`d.

        Raises:
            AuthenticationFailed: none can be answered, or the answer was refused already.
        """
        fresh = challenges(response)
        if not fresh:
            raise AuthenticationFailed("The far side asks for a kind of credentials that is not known here.")
        for challenge in fresh:
            place = (challenge.by_proxy, challenge.realm)
            known = self._known.get(place)
            # A nonce that was good once and is refused later has expired, whether or not it is said to be
            # stale. One that was refused when it was new comes of a wrong password.
            if known is not None and known.uses == 1 and not challenge.stale:
                del self._known[place]
                raise AuthenticationFailed("The far side refuses the account's user name or password.")
            self._known[place] = _Known(challenge, self._cnonce())

    def authorize(self, request: Request) -> None:
        """Gives the request the answers to all challenges that are known, in place of older ones."""
        for name in ("Authorization", "Proxy-Authorization"):
            request.headers.remove(name)
        for known in self._known.values():
            known.uses += 1
            name = "Proxy-Authorization" if known.challenge.by_proxy else "Authorization"
            request.headers.add(name, self._credentials(known, request))

    def _credentials(self, known: _Known, request: Request) -> str:
        challenge, uri = known.challenge, format_uri(request.uri)
        response = digest_response(
            challenge,
            self._username,
            self._password.get_secret_value(),
            request.method,
            uri,
            known.cnonce,
            known.uses,
            request.body,
        )
        algorithm = challenge.algorithm + ("-sess" if challenge.session else "")
        given = [
            f"username={quoted(self._username)}",
            f"realm={quoted(challenge.realm)}",
            f"nonce={quoted(challenge.nonce)}",
            f"uri={quoted(uri)}",
            f'response="{response}"',
            f"algorithm={algorithm}",
        ]
        if challenge.qop or challenge.session:
            given.append(f'cnonce="{known.cnonce}"')
        if challenge.qop:
            given += [f"qop={challenge.qop}", f"nc={known.uses:08x}"]
        if challenge.opaque is not None:
            given.append(f"opaque={quoted(challenge.opaque)}")
        return "Digest " + ", ".join(given)


@dataclass(slots=True)
class _Known:
    """A challenge and how often it was answered."""

    challenge: Challenge
    cnonce: str
    uses: int = 0
