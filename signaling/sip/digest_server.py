"""Challenging whoever calls: the server's side of digest authentication (RFC 7616, RFC 8760).

Nonces are signed and carry their time, so that a challenge costs no memory: a flood of requests without
credentials leaves nothing behind. Only of nonces that were answered rightly is it kept how often, so that
what was overheard cannot be sent again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from pydantic import SecretStr
from sipmessage import Request

from signaling.sip.digest import HASHES, Challenge, digest_response, parameters
from signaling.sip.errors import BadMessage

NONCE_LIFE_S: Final = 300.0
_NONCES_KEPT: Final = 10_000
"""Beyond that, all nonces are void at once, and their clients challenged anew."""

_TAG_BYTES: Final = 16
_HEAD: Final = struct.Struct(">d8s")


class Verdict(Enum):
    """What a request's credentials are worth."""

    NONE = "there are none for this realm"
    GOOD = "they are right"
    STALE = "they are right, but for their nonce: it is old, or was used already"
    FOREIGN = "they are for a nonce that is none of this server's, perhaps since it was started anew"
    WRONG = "they are not right"


class DigestServer:
    """Who may call by a password.

    Args:
        realm: told to clients, which choose their password by it.
        users: passwords by user name.
        algorithms: keys of `HASHES`, in the order in which they are offered.
        key: signs the nonces; None takes a random one.
    """

    def __init__(
        self,
        realm: str,
        users: Mapping[str, SecretStr],
        algorithms: Sequence[str] = tuple(HASHES),
        key: bytes | None = None,
    ) -> None:
        self._realm = realm
        self._users = users
        self._algorithms = tuple(algorithms)
        self._key = key or secrets.token_bytes(32)
        self._counts: dict[str, int] = {}
        # Whoever guesses names must not learn by the time that it takes which ones there are.
        self._nobody = SecretStr(secrets.token_hex(16))

    def challenges(self, now_s: float, *, stale: bool = False) -> list[str]:
        """`WWW-Authenticate` headers, one for each algorithm (RFC 8760, 2.3).

        Args:
            now_s: on a clock that does not go back.
            stale: the password was right.
        """
        nonce = self._nonce(now_s)
        suffix = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self._realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"{suffix}'
            for algorithm in self._algorithms
        ]

    def check(self, request: Request, now_s: float) -> tuple[Verdict, str | None]:
        """What the request's credentials are worth, and whose they are if they are right.

        The `uri` parameter is not compared with the Request-URI, which proxies change on the way: what could
        be gained by another one, the nonce's count prevents.
        """
        for header in request.headers.getlist("Authorization"):
            try:
                given = parameters(header)
            except BadMessage:
                return Verdict.WRONG, None
            if given is not None and given.get("realm") == self._realm:
                return self._check(given, request, now_s)
        return Verdict.NONE, None

    def _check(self, given: Mapping[str, str], request: Request, now_s: float) -> tuple[Verdict, str | None]:
        nonce, username = given.get("nonce", ""), given.get("username", "")
        qop = given.get("qop", "").lower()
        algorithm = given.get("algorithm", "MD5").upper()
        made_s = self._made_s(nonce)
        if made_s is None:
            # Not looked at, so that nobody can guess at leisure; and nobody's failure: whoever sends under
            # another's address has seen no nonce.
            return Verdict.FOREIGN, None
        if algorithm not in self._algorithms or qop not in ("", "auth"):
            return Verdict.WRONG, None
        try:
            count = int(given.get("nc", "1"), 16) if qop else 1
        except ValueError:
            return Verdict.WRONG, None
        wanted = digest_response(
            Challenge(self._realm, nonce, algorithm, qop=qop),
            username,
            self._users.get(username, self._nobody).get_secret_value(),
            request.method,
            given.get("uri", ""),
            given.get("cnonce", ""),
            count,
        )
        right = hmac.compare_digest(wanted.encode(), given.get("response", "").lower().encode())
        if not right or username not in self._users:
            return Verdict.WRONG, None
        if not 0 <= now_s - made_s <= NONCE_LIFE_S or count <= self._counts.get(nonce, 0):
            return Verdict.STALE, username
        self._counts[nonce] = count
        if len(self._counts) > _NONCES_KEPT:
            self._forget(now_s)
        return Verdict.GOOD, username

    def _forget(self, now_s: float) -> None:
        """Makes room. What is forgotten must not be good again, so a nonce goes only when it is void."""
        for nonce in tuple(self._counts):
            made_s = self._made_s(nonce)
            if made_s is None or now_s - made_s > NONCE_LIFE_S:
                del self._counts[nonce]
        if len(self._counts) > _NONCES_KEPT // 2:
            self._counts.clear()
            self._key = secrets.token_bytes(32)

    def _nonce(self, now_s: float) -> str:
        head = _HEAD.pack(now_s, secrets.token_bytes(8))
        return base64.b64encode(head + self._signature(head)).decode()

    def _made_s(self, nonce: str) -> float | None:
        """When this server made the nonce; None if it did not."""
        try:
            raw = base64.b64decode(nonce, validate=True)
        except (binascii.Error, ValueError):
            return None
        head, signature = raw[: _HEAD.size], raw[_HEAD.size :]
        if len(head) < _HEAD.size or not hmac.compare_digest(signature, self._signature(head)):
            return None
        made_s: float = _HEAD.unpack(head)[0]
        return made_s

    def _signature(self, head: bytes) -> bytes:
        return hmac.new(self._key, head, hashlib.sha256).digest()[:_TAG_BYTES]
