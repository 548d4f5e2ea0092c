"""How providers sign what they ask: whether a request is theirs. Pure; all comparisons take constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Fields = Iterable[tuple[str, str]]
"""A form's, in any order; a name may stand there more than once."""

TELNYX_TOLERANCE_S: Final = 300.0
"""A webhook of Telnyx that is older is one that somebody kept."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_twilios(given: str, url: str, fields: Fields, auth_token: str) -> bool:
    """Whether Twilio signed it (https://www.twilio.com/docs/usage/security#validating-requests).

    Args:
        given: `X-Twilio-Signature`.
        url: exactly as Twilio was told it, `wss://` for a stream.
        fields: of the form that was posted, or none.
        auth_token: the account's.
    """
    text = "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    key = auth_token.encode()
    signed = [
        base64.b64encode(hmac.digest(key, f"{spelt}{text}".encode(), hashlib.sha1))
        for spelt in _with_and_without_port(url)
    ]
    return _is_one_of(given, signed)


def plivo_signs(nonce: str, url: str, fields: Fields) -> bytes:
    """What Plivo signs, in the third version of its signatures.

    Args:
        nonce: `X-Plivo-Signature-V3-Nonce`.
        url: as Plivo was told it.
        fields: of the form that was posted.
    """
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, True)))
    form = "".join(f"{name}{value}" for name, value in sorted(fields))
    text = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if query or form:
        text += f"?{query}"
    if query and form:
        text += "."
    return f"{text}{form}.{nonce}".encode("utf-8", "surrogateescape")


def is_plivos(given: str, signs: bytes, auth_token: str) -> bool:
    """Whether Plivo signed it.

    Args:
        given: `X-Plivo-Signature-V3`: one signature, or several with commas between them.
        signs: `plivo_signs` of it.
        auth_token: the account's.
    """
    signed = base64.b64encode(hmac.digest(auth_token.encode(), signs, hashlib.sha256))
    matches = [_is_one_of(signature, [signed]) for signature in given.split(",")]
    return any(matches)


def telnyx_signs(timestamp: str, body: bytes) -> bytes:
    """What Telnyx signs.

    Args:
        timestamp: `telnyx-timestamp`, in seconds since the epoch.
        body: as it was posted.
    """
    return timestamp.encode("utf-8", "surrogateescape") + b"|" + body


def is_telnyxs(given: str, timestamp: str, signs: bytes, public_key: str, now_s: float) -> bool:
    """Whether Telnyx signed it, and just now.

    Args:
        given: `telnyx-signature-ed25519`, in base64.
        timestamp: `telnyx-timestamp`.
        signs: `telnyx_signs` of it.
        public_key: the account's, in base64.
        now_s: since the epoch.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(int(timestamp) - now_s) > TELNYX_TOLERANCE_S:
        return False
    try:
        signature = base64.b64decode(given, validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(signature, signs)
    except (ValueError, InvalidSignature):
        return False
    return True


def is_secret(given: str, wanted: str) -> bool:
    """Whether they are the same, without telling by the time it takes how much of them is."""
    return _is_one_of(given, [wanted.encode()])


def _is_one_of(given: str, signed: list[bytes]) -> bool:
    wanted = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
    matches = [hmac.compare_digest(wanted, hashlib.sha256(one).digest()) for one in signed]
    return any(matches)


def _with_and_without_port(url: str) -> set[str]:
    """Twilio signs now the one, now the other, whatever it was told."""
    parts = urlsplit(url)
    host, separator, port = parts.netloc.rpartition(":")
    if separator and port.isdigit():
        return {url, parts._replace(netloc=host).geturl()}
    return {url, parts._replace(netloc=f"{parts.netloc}:{_DEFAULT_PORTS.get(parts.scheme, 443)}").geturl()}
