"""The keys by which clients prove that they may call: where a request has its key, and whether it is one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import SecretStr

SUBPROTOCOL: Final = "realtime"
_KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."
"""Browsers can give a WebSocket no headers, but names of subprotocols."""


def given_subprotocols(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The WebSocket subprotocols that a request offers."""
    names = headers.get("Sec-WebSocket-Protocol", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def given_key(headers: Mapping[str, str]) -> str | None:
    """The key that a request comes with: as a bearer (RFC 6750), or among a WebSocket's subprotocols."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for name in given_subprotocols(headers):
        if name.startswith(_KEY_SUBPROTOCOL):
            return name.removeprefix(_KEY_SUBPROTOCOL)
    return None


def digest(key: str) -> bytes:
    """What is compared and looked up instead of the key: equally long for all of them."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def is_key(given: str, keys: Iterable[SecretStr]) -> bool:
    """Whether it is one of the keys. How long this takes says nothing of how much of it is right."""
    wanted = digest(given)
    matches = [hmac.compare_digest(wanted, digest(key.get_secret_value())) for key in keys]
    return any(matches)
