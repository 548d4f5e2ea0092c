"""Short-lived keys that a client's own server has made for it, each with a session that calls begin with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from media.errors import ServerFull
from signaling.api_keys import digest
from signaling.realtime_session_objects import SessionUpdate

PREFIX: Final = "ek_"
SHORTEST_S: Final = 10
LONGEST_S: Final = 7200
DEFAULT_S: Final = 600
MAX_SECRETS: Final = 10_000
"""At once. They are kept in memory, and with this process alone."""
_RETRY_WHEN_FULL_S: Final = 60


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A secret as it is kept: not the value itself.

    Attributes:
        session: how its calls' sessions differ from the server's defaults.
        expires_s: seconds since the epoch, after which no call begins with it. Those that began go on.
    """

    session: SessionUpdate
    expires_s: float


class ClientSecrets:
    """All secrets that are valid. A secret may be used for any number of calls until it expires."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, ClientSecret] = {}

    def create(self, session: SessionUpdate, expires_s: float, now_s: float) -> str:
        """Makes a secret. Returns its value, which is known to nobody but whoever asked for it.

        Args:
            session: what its calls begin with.
            expires_s: when, in seconds since the epoch.
            now_s: likewise.

        Raises:
            ServerFull: `too_many_secrets`.
        """
        for key, secret in list(self._secrets.items()):
            if secret.expires_s <= now_s:
                del self._secrets[key]
        if len(self._secrets) >= MAX_SECRETS:
            raise ServerFull(
                "Too many client secrets are valid at once.",
                retry_after_s=_RETRY_WHEN_FULL_S,
                code="too_many_secrets",
            )
        value = PREFIX + secrets.token_urlsafe(32).replace("-", "_")
        self._secrets[digest(value)] = ClientSecret(session, expires_s)
        return value

    def find(self, value: str | None, now_s: float) -> ClientSecret | None:
        """The secret of this value, if there is one and it has not expired."""
        secret = self._secrets.get(digest(value)) if value is not None else None
        return secret if secret is not None and secret.expires_s > now_s else None
